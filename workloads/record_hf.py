"""Record a trace from a local Hugging Face causal language model: what it would have said at earlier exits.

    speedsim trace record --hf DIR --out FILE.parquet                        exits of a looped or early-exit model
    speedsim trace record --hf DIR --layers 8,16,24 --out FILE.parquet       the logit lens at these layers
    speedsim trace record --hf DIR --draft DIR2 --out FILE.jsonl             steps of assisted generation

The text is what the model generates greedily. One forward pass over that text then shows every layer's state at every
position; an exit is the model's own final norm and head on such a state. Where one layer runs several times in a
forward pass, the model is looped and its exits are the ends of the loops; otherwise they are the ends of `--layers`
(LayerSkip-style models are trained for that; on any other model it is the logit lens, which flatters nobody).
Weights are read from safetensors only and no code of the folder runs. Ignored: sampling; what a model's own early-exit
head would add where it has one apart from the shared head.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from speedsim.trace import Sequence, Trace, write
from speedsim.traces.steps import StepSequence, StepTrace
from speedsim.traces.steps import write as write_steps
from speedsim.units import InputError, NotCoveredError
from torch import Tensor, nn

NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "layer_norm", "norm_f")
MOST_DIFFERING = 0.01
"""Share of tokens that one pass over the text may predict otherwise than the step-by-step decoding did (rounding)."""


class Exit(NamedTuple):
    """The end of a layer's n-th run in a forward pass."""

    layer: int
    run: int


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The decoder's layers: the longest list of modules. NotCoveredError where there is none."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise NotCoveredError(f"--hf: {type(model).__name__} has no list of layers")
    return max(lists, key=len)


def final_norm(model: nn.Module) -> nn.Module:
    """The norm before the head. NotCoveredError where none is called as they usually are."""
    body = getattr(model, "base_model", model)
    for inner in (body, getattr(body, "decoder", None)):
        for name in NORMS:
            found = getattr(inner, name, None)
            if isinstance(found, nn.Module):
                return found
    raise NotCoveredError(f"--hf: {type(model).__name__}: no final norm is called {', '.join(NORMS)}")


@contextmanager
def watched(layers: nn.ModuleList) -> Iterator[dict[Exit, Tensor]]:
    """Every layer's states [batch, time, width] at the end of each of its runs, in the order in which they ran."""
    seen: dict[Exit, Tensor] = {}
    runs: dict[int, int] = {}
    places: dict[int, int] = {}
    for index, layer in enumerate(layers):
        places.setdefault(id(layer), index)

    def after(layer: nn.Module, _given: Any, said: Any) -> None:
        place = places[id(layer)]
        runs[place] = runs.get(place, 0) + 1
        seen[Exit(place, runs[place])] = said[0] if isinstance(said, tuple) else said

    hooks = [layers[index].register_forward_hook(after) for index in places.values()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def exits_of(seen: dict[Exit, Tensor], layers: list[int] | None, count: int) -> list[Exit]:
    """The exits to read: the ends of the loops, or of the layers asked for with the last one behind them."""
    order = list(seen)
    loops = max(at.run for at in order)
    if loops > 1:
        if layers is not None:
            raise InputError(f"--layers: the model is looped, {loops} times; its exits are the ends of its loops")
        return [max((at for at in order if at.run == run), key=order.index) for run in range(1, loops + 1)]
    if layers is None:
        raise InputError(f"--layers: the model is not looped; say at which of its {count} layers it may exit")
    if not layers or sorted(set(layers)) != layers or not 1 <= layers[0] <= layers[-1] <= count:
        raise InputError(f"--layers {','.join(map(str, layers))}: rising numbers from 1 to {count}")
    return [Exit(number - 1, 1) for number in layers if number < count] + [Exit(count - 1, 1)]


@torch.no_grad()
def record_exits(model: Any, prompts: list[Tensor], count: int, layers: list[int] | None = None
                 ) -> tuple[tuple[Sequence, ...], dict[str, Any]]:
    """What every exit predicts over `count` greedily generated tokens behind each prompt [tokens], and how it was made.

    InputError for layers that the model has not, NotCoveredError for a model whose norm or head is not found.
    """
    model.eval()
    stack, norm, head = layers_of(model), final_norm(model), model.get_output_embeddings()
    made, differing, total = [], 0, 0
    chosen: list[Exit] = []
    for number, prompt in enumerate(prompts):
        text = model.generate(prompt[None], attention_mask=torch.ones_like(prompt)[None], do_sample=False,
                              max_new_tokens=count, pad_token_id=0)[0]
        with watched(stack) as seen:
            logits = model(text[None, :-1], use_cache=False).logits[0, len(prompt) - 1:]
        chosen = chosen or exits_of(seen, layers, len(stack))
        states = [seen[at][0, len(prompt) - 1:] for at in chosen]
        said = torch.stack([head(norm(state)).argmax(-1) for state in states], dim=-1)
        if (said[:, -1] != logits.argmax(-1)).float().mean() > MOST_DIFFERING:
            raise NotCoveredError(f"--hf: {type(model).__name__}: norm and head on its last layer's states do not give "
                                  "what the model says; its exits cannot be read")
        decoded = text[len(prompt):]
        differing, total = differing + int((said[:, -1] != decoded).sum()), total + len(decoded)
        said[:, -1] = decoded
        ended = decoded[-1].item() in _ends(model)
        made.append(Sequence(number, len(prompt) - 1, len(said), "eos" if ended else "length", 0, said.cpu().numpy()))
    if differing > MOST_DIFFERING * total:
        raise NotCoveredError(f"--hf: {differing} of {total} tokens are predicted otherwise in one pass over the text; "
                              "try --dtype float32")
    looped = chosen[-1].run > 1
    return tuple(made), {
        "exits": "ends of loops" if looped else "logit lens",
        "layers": [at.run for at in chosen] if looped else [at.layer + 1 for at in chosen],
        "tokens_that_one_pass_predicts_otherwise": differing,
    }


def _ends(model: Any) -> set[int]:
    stated = model.generation_config.eos_token_id
    return set() if stated is None else {stated} if isinstance(stated, int) else set(stated)


@torch.no_grad()
def record_steps(model: Any, drafter: Any, prompts: list[Tensor], count: int) -> tuple[StepSequence, ...]:
    """The verifications of assisted generation: a hook on what the library tells its candidate generator after each."""
    from transformers.generation.candidate_generator import AssistedCandidateGenerator

    made, steps = [], []
    told = AssistedCandidateGenerator.update_candidate_strategy

    def after(self: Any, input_ids: Tensor, scores: Tensor, num_matches: int) -> Any:
        steps.append((scores.shape[1] - 1, int(num_matches)))
        return told(self, input_ids, scores, num_matches)

    AssistedCandidateGenerator.update_candidate_strategy = after
    try:
        for number, prompt in enumerate(prompts):
            steps.clear()
            text = model.generate(prompt[None], attention_mask=torch.ones_like(prompt)[None], do_sample=False,
                                  max_new_tokens=count, assistant_model=drafter, pad_token_id=0)[0]
            ended = text[-1].item() in _ends(model)
            kept = [(d, min(a, d)) for d, a in steps]
            made.append(StepSequence(number, len(prompt) - 1, "eos" if ended else "length", "",
                                     tuple(d for d, _ in kept), tuple(a for _, a in kept)))
    finally:
        AssistedCandidateGenerator.update_candidate_strategy = told
    return tuple(made)


def prompts_from(path: Path | None, folder: Path, sequences: int, tokens: int, vocabulary: int, seed: int
                 ) -> tuple[list[Tensor], str]:
    """Prompts from a text file, one a line, cut to `tokens`; random ids without one. And what to say of them."""
    if path is None:
        draw = torch.Generator().manual_seed(seed)
        return [torch.randint(vocabulary, (tokens,), generator=draw) for _ in range(sequences)], "random ids"
    from transformers import AutoTokenizer

    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()][:sequences]
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"--prompts {path}: {' '.join(str(error).split())[:200]}") from None
    if not lines:
        raise InputError(f"--prompts {path}: no line of text")
    return [torch.tensor(tokenizer(line)["input_ids"][:tokens]) for line in lines], path.name


def load(folder: str, dtype: str) -> Any:
    """A local causal language model: safetensors only, none of the folder's code. InputError where it is none."""
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise NotCoveredError("--hf: needs transformers (pip install speedsim[hf])") from None
    if not Path(folder, "config.json").is_file():
        raise InputError(f"--hf {folder}: no config.json in it")
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True,
                                                    trust_remote_code=False, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--hf {folder}: {' '.join(str(error).split())[:200]}") from None


def main(given: argparse.Namespace) -> int:
    """Record as `speedsim trace record` was asked to. Raises InputError and NotCoveredError."""
    torch.manual_seed(given.seed)
    model = load(given.hf, given.dtype)
    prompts, said = prompts_from(given.prompts and Path(given.prompts), Path(given.hf), given.sequences, given.prompt,
                                 model.config.get_text_config().vocab_size, given.seed)
    name = Path(given.hf).resolve().name
    source: dict[str, Any] = {"kind": "recorded", "from": "transformers", "class": type(model).__name__,
                              "prompts_from": said, "decoding": f"greedy, {given.dtype}", "seed": given.seed}
    if given.draft is not None:
        steps = record_steps(model, load(given.draft, given.dtype), prompts, given.count)
        source |= {"drafter": Path(given.draft).resolve().name, "order": "recorded"}
        most = max(max(s.drafted) for s in steps)
        write_steps(StepTrace(Path(given.out).stem, name, max(1, most), "accepted", source, steps), given.out)
    else:
        layers = None if given.layers is None else [int(n) for n in given.layers.split(",")]
        sequences, how = record_exits(model, prompts, given.count, layers)
        write(Trace(Path(given.out).stem, name, sequences[0].exit_tokens.shape[1], source | how, sequences), given.out)
    print(f"wrote {given.out}")
    return 0
