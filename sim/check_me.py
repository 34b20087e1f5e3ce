"""How to check a prediction on one's own GPU: commands that make serving engines accept as many tokens as the run did.

Engines can be told what to accept, so that a bench measures the cost of speculation and not the luck of a text:

    vLLM          --speculative-config rejection_sample_method synthetic, synthetic_acceptance_length (bonus included)
    SGLang        SGLANG_SIMULATE_ACC_LEN (bonus included), SGLANG_SIMULATE_ACC_METHOD=match-expected
    TensorRT-LLM  TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS (accepted drafts alone: one less)

`speedsim gap` sets both benches' results beside the prediction.
Names as of vLLM 0.24 to 0.30, SGLang 0.5 and TensorRT-LLM 1.3 (their sources). Ignored: engines' own options for speed.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from .metrics import acceptance_length
from .units import NotCoveredError

if TYPE_CHECKING:
    from .result import Answer

METHODS = {
    "draft": ("draft_model", "STANDALONE", "DraftTarget"), "eagle": ("eagle3", "EAGLE3", "Eagle3"),
    "heads": ("medusa", None, "Medusa"), "copying": ("ngram", "NGRAM", "NGram"),
    "block": ("dflash", None, None),
}
"""What vLLM, SGLang and TensorRT-LLM call a schedule; None: that engine has no such method."""


def commands(result: Answer) -> list[str]:
    """Lines to paste, engine by engine, with the run's acceptance length, batch and prompt.

    Raises NotCoveredError for a schedule that no engine has.
    """
    mine, line = result.resolved, result.timeline(result.key)
    name = mine.schedule_name.partition(":")[0]
    if name not in METHODS:
        raise NotCoveredError(f"--check-me: no engine decodes by {name}; they have {', '.join(METHODS)}")
    length = acceptance_length(line) or 1.0
    k = int(getattr(mine.schedule, "k", 0) or getattr(mine.schedule, "depth", 0))
    sequences = mine.trace.sequences
    facts = {"length": round(length, 3), "k": k, "batch": mine.scenario.batch, "prompt": sequences[0].first + 1,
             "tokens": max(s.count for s in sequences), "drafter": dict(mine.schedule.needs().models)}
    vllm, sglang, trtllm = METHODS[name]
    told = [f"# {result.key}: {facts['length']} tokens a verification, {facts['batch']} at a time; replace MODEL"
            + (" and DRAFTER" if facts["drafter"] else ""), *_vllm(vllm, facts)]
    told += _sglang(sglang, facts) if sglang else [f"# SGLang has no {name}"]
    told += _trtllm(trtllm, facts) if trtllm else [f"# TensorRT-LLM has no {name}"]
    return [*told, "# then, with this run's --json in run.json",
            f"speedsim gap --baseline plain.json --speculative spec.json --acceptance-length {facts['length']} "
            "--prediction run.json"]


def _vllm(method: str, facts: dict[str, Any]) -> list[str]:
    config = {"method": method, **({"model": "DRAFTER"} if facts["drafter"] else {}),
              "num_speculative_tokens": facts["k"], "rejection_sample_method": "synthetic",
              "synthetic_acceptance_length": facts["length"]}
    bench = (f"vllm bench serve --model MODEL --dataset-name random --random-input-len {facts['prompt']} "
             f"--random-output-len {facts['tokens']} --ignore-eos --max-concurrency {facts['batch']} "
             f"--num-prompts {8 * facts['batch']} --save-result --result-filename")
    return ["# vLLM", "vllm serve MODEL", f"{bench} plain.json",
            f"vllm serve MODEL --speculative-config {shlex.quote(json.dumps(config))}", f"{bench} spec.json"]


def _sglang(method: str, facts: dict[str, Any]) -> list[str]:
    drafter = " --speculative-draft-model-path DRAFTER" if facts["drafter"] else ""
    bench = (f"python -m sglang.bench_serving --backend sglang --dataset-name random --random-input {facts['prompt']} "
             f"--random-output {facts['tokens']} --max-concurrency {facts['batch']} --num-prompts {8 * facts['batch']} "
             "--output-file")
    return ["# SGLang", "python -m sglang.launch_server --model-path MODEL", f"{bench} plain.json",
            f"SGLANG_SIMULATE_ACC_LEN={facts['length']} SGLANG_SIMULATE_ACC_METHOD=match-expected "
            f"python -m sglang.launch_server --model-path MODEL --speculative-algorithm {method}{drafter} "
            f"--speculative-num-steps {facts['k']} --speculative-num-draft-tokens {facts['k'] + 1}",
            f"{bench} spec.json"]


def _trtllm(method: str, facts: dict[str, Any]) -> list[str]:
    return ["# TensorRT-LLM (bench its server with vLLM's command above)", "trtllm-serve MODEL",
            f"printf 'speculative_config: {{decoding_type: {method}, max_draft_len: {facts['k']}"
            f"{', speculative_model: DRAFTER' if facts['drafter'] else ''}}}\\n' > spec.yaml",
            f"TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS={round(facts['length'] - 1, 3)} "
            "trtllm-serve MODEL --extra_llm_api_options spec.yaml"]
