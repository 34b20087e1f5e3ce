"""The verb `trace`: check, convert and summarise traces, make synthetic ones, take over other tools' logs."""

from __future__ import annotations

import argparse
from collections.abc import Callable

HELP = "check, convert, summarise, import or make up a trace"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's deeds and their options."""
    deeds = parser.add_subparsers(dest="deed", metavar="check|stats|convert|import|synth|record", required=True)
    for deed, words in (("check", "read a trace and verify it"), ("stats", "flip rates, settle times, runs, bounds")):
        one = deeds.add_parser(deed, help=words)
        one.add_argument("trace", metavar="NAME|FILE")
        one.add_argument("--json", action="store_true", help="as JSON")
    convert = deeds.add_parser("convert", help="JSON lines to Parquet or back, by the target's suffix")
    convert.add_argument("trace", metavar="NAME|FILE")
    convert.add_argument("target", metavar="FILE")
    _log_options(deeds.add_parser("import", help="a log of speculative decoding as a trace of steps"))
    _record_options(deeds.add_parser("record", help="what a local Hugging Face model would say at earlier exits"))
    synth = deeds.add_parser("synth", help="a made-up trace, of stated rates")
    synth.add_argument("text", metavar="KEY=VALUE,...", help="flips=F+F+.. [burst=C], like=TRACE, envelope=BETA+ALPHA, "
                       "accepted=P+P+.. or length=L with draft=K; count=N, sequences=N, first=P, seed=N")
    synth.add_argument("target", metavar="FILE")


def _log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", metavar="LOG", help="JSON lines or JSON, as the engine or benchmark wrote it")
    parser.add_argument("target", metavar="FILE", help="the trace, a .jsonl file")
    parser.add_argument("--form", metavar="F", help="vllm, aiperf, specbench, eagle or sglang (default: by its keys)")
    parser.add_argument("--draft", type=int, metavar="K", help="tokens proposed a step, where the log does not tell")
    parser.add_argument("--model", metavar="NAME", help="the model, where the log does not tell")
    parser.add_argument("--impute", action="store_true", help="draw steps where the log has only their mean; labelled")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default 0)")


def _record_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--hf", required=True, metavar="DIR", help="a local causal language model: config.json and safetensors")
    add("--out", required=True, metavar="FILE", help="the trace (.parquet or .jsonl; steps: .jsonl)")
    add("--layers", metavar="N,N,...", help="exits of a model that is not looped, counted from 1; the last is added")
    add("--draft", metavar="DIR", help="a drafter: record the steps of assisted generation instead")
    add("--prompts", metavar="FILE", help="text, one prompt a line (default: random ids)")
    add("--sequences", type=int, default=64, metavar="N")
    add("--prompt", type=int, default=64, metavar="P", help="tokens of a prompt (default 64)")
    add("--count", type=int, default=256, metavar="N", help="tokens generated behind each (default 256)")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--seed", type=int, default=0)


def _recorder() -> Callable[[argparse.Namespace], int]:
    """What records, in a package with torch: found by entry point. NotCoveredError where speedsim is not installed."""
    from importlib.metadata import entry_points

    from ..units import NotCoveredError

    for entry in entry_points(group="speedsim.recorders", name="hf"):
        found: Callable[[argparse.Namespace], int] = entry.load()
        return found
    raise NotCoveredError("trace record: speedsim is not installed with its recorders (pip install speedsim[hf])")


def call(given: argparse.Namespace) -> int:
    """Do the deed."""
    if given.deed == "record":
        return _recorder()(given)
    from .. import trace
    from ..registry import find
    from ..traces import steps as trace_steps
    from ..traces.text import figures

    if given.deed in ("check", "stats"):
        print(figures(find("traces", given.trace), given.deed, given.json))
        return 0
    if given.deed == "convert":
        trace.write(trace.load(find("traces", given.trace)), given.target)
    elif given.deed == "synth":
        from ..traces.steps_synth import steps_from

        steps = steps_from(given.text)
        if steps is None:
            trace.write(trace.synthetic_from(given.text), given.target)
        else:
            trace_steps.write(steps, given.target)
    else:
        from ..traces.logs import Asked, import_log

        asked = Asked(given.draft, given.model, given.impute, given.seed)
        steps = import_log(given.log, given.form, asked)
        trace_steps.write(steps, given.target)
        print(f"{steps.steps:,} steps of {len(steps.sequences):,} sequences, {steps.tokens / steps.steps:.3f} tokens a "
              f"step, {steps.draft_tokens} proposed; order {steps.source['order']}")
    print(f"wrote {given.target}")
    return 0
