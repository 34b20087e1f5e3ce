"""Record what a trained decoder's exits predict on held-out text: a trace, and a card that says what it is worth.

    python -m speedsim.workloads.record CHECKPOINT CONFIG OUT     writes OUT.parquet and OUT.card.json

A prompt has P + 1 tokens at positions 0 .. P. The last of them is the input of the first row, so the trace's `first` is
P, and the P positions before it are what a prefill would compute. Decoding is greedy in fp32, all sequences in one
batch, on weights rounded to bf16, which are those that `--weights` exports (exported.py). Prompts are held-out text
(prompts.py); on a corpus of sources and targets a prompt is what stands before a target, and a sequence ends with it.

The decoder is called weak, in the card and in the trace's header, unless its last exit predicts held-out text better
than a 5-gram (ngram.py) and its last exit better than its first: otherwise flips say nothing about a useful decoder.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from speedsim.config import load
from speedsim.files import to_json, write_text
from speedsim.registry import find
from speedsim.suites.speed_paper import Paper
from speedsim.trace import Sequence, Trace, loops, statistics, write_parquet
from speedsim.units import InputError

from . import batches, ngram
from .batches import filled, fitting
from .corpora import SOURCE, SPLITS, TARGET, Corpus, module_of, read, windows
from .decoder import PADDING, Decoder, Shape, greedy
from .evaluation import examine
from .exported import export_weights, round_weights
from .prompts import Prompt, held_out_pairs, held_out_prompts
from .train import restore

LEAST_GAIN = 0.05
"""Nats per token by which the last exit must be better than the first."""


def record(decoder: Decoder, prompts: list[Prompt], count: int, ends: bool = False) -> tuple[Sequence, ...]:
    """Decode `count` tokens behind each prompt, prompts of one length in one batch; sequence i is prompt i's.

    With `ends`, a text is over with the end (id 0) that it commits, as a target is.
    """
    made: dict[int, Sequence] = {}
    for length in sorted({len(prompt.ids) for prompt in prompts}):
        members = [i for i, prompt in enumerate(prompts) if len(prompt.ids) == length]
        tokens = torch.from_numpy(np.stack([prompts[i].ids for i in members]))
        read = [source for i in members if (source := prompts[i].source) is not None]
        source = filled(read, PADDING) if read else None
        exits = torch.stack(list(greedy(decoder, tokens, count, source)), dim=1).numpy()
        for i, each in zip(members, exits, strict=True):
            over = np.flatnonzero(each[:, -1] == 0) if ends else []
            kept = each[:over[0] + 1] if len(over) else each
            asked = prompts[i].source
            made[i] = Sequence(i, length - 1, len(kept), "eos" if len(over) else "length",
                               0 if asked is None else len(asked), kept)
    return tuple(made[i] for i in range(len(prompts)))


def judge(exit_losses: list[float], bar: float) -> list[str]:
    """What keeps a decoder from being called ok, in words; nothing where both bars are met."""
    reasons = []
    if not exit_losses[-1] < bar:
        reasons.append(f"the last exit's held-out loss of {exit_losses[-1]:.3f} nats is not below a 5-gram's {bar:.3f}")
    if not exit_losses[-1] <= exit_losses[0] - LEAST_GAIN:
        reasons.append(f"the last exit is {exit_losses[0] - exit_losses[-1]:.3f} nats better than the first, "
                       f"less than {LEAST_GAIN}")
    return reasons


def held_out(decoder: Decoder, corpus: Corpus, length: int, most: int | None = None) -> dict[str, Any]:
    """Figures of every exit and a 5-gram's loss on the same tokens of the test split (its first `most` windows)."""
    bar = ngram.fit(corpus.splits["train"], decoder.shape.vocab)
    if corpus.paired:
        pairs = fitting(corpus.pairs("test"), length)[:most]
        texts = [np.array([0, SOURCE, *pair.source, TARGET, *pair.target, 0]) for pair in pairs]
        ends = np.cumsum([len(text) for text in texts])
        predicted = np.concatenate([np.arange(end - len(pair.target) - 1, end)
                                    for end, pair in zip(ends, pairs, strict=True)])
        ids, scored = np.concatenate(texts), {"pairs": len(pairs), "pair_tokens": length}
    else:
        ids, count = corpus.splits["test"], len(windows(corpus.splits["test"], length)[:most])
        predicted = 1 + np.arange(count * length)
        scored = {"windows": count, "window_tokens": length}
    figures = examine(decoder, batches.held_out(corpus, "test", decoder.encoder is not None, length, most))
    return {"split": "test", **scored, "unit": "nats per token", **figures,
            "five_gram_loss": ngram.loss(bar, ids, predicted),
            **({"known": corpus.known} if corpus.known else {})}


def described(corpus: Corpus) -> dict[str, Any]:
    """Which text it was: digest of the file list, and the size of each split."""
    splits = {}
    for split in SPLITS:
        paths = [file["path"] for file in corpus.files if file["split"] == split]
        splits[split] = {"files": len(paths), "modules": len({module_of(path) for path in paths}),
                         "tokens": len(corpus.splits[split])}
    return {"python": corpus.python, "files_sha256": corpus.digest(), "splits": splits}


def paper_flips(shape: Shape) -> dict[str, tuple[float, ...]]:
    """The SPEED paper's flip rates of this U x G per task, from its suite; none where the paper has none."""
    name = f"{shape.group_layers}x{shape.repetitions}"
    tasks = load(Paper, find("suites", "speed_paper")).value.tasks
    return {task: told.flips[name] for task, told in tasks.items() if name in told.flips}


def beside_paper(rates: list[dict[str, Any]], shape: Shape) -> list[dict[str, Any]]:
    """Each flip rate, with the paper's tasks where the paper has this U x G."""
    paper = paper_flips(shape)
    if not paper:
        return rates
    return [rate | {"paper": {task: flips[at] for task, flips in paper.items()}} for at, rate in enumerate(rates)]


def main(arguments: list[str] | None = None) -> int:
    """The command; 2 where the input is wrong."""
    given = _parser().parse_args(arguments)
    torch.set_num_threads(given.threads)
    try:
        card = make(given)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({key: card[key] for key in ("quality", "reasons", "held_out", "mean_settle", "looping_share")}))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="record", description="Record a trace from a trained reference decoder.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint.pt of train.py")
    parser.add_argument("config", type=Path, help="the file of workloads/training that it was trained with")
    parser.add_argument("out", type=Path, help="OUT.parquet and OUT.card.json are written")
    parser.add_argument("--sequences", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=64, help="position of the first row: a prompt has one token more "
                        "(text without sources)")
    parser.add_argument("--count", type=int, default=256, help="tokens decoded per sequence")
    parser.add_argument("--seed", type=int, default=0, help="of the places that prompts are cut from")
    parser.add_argument("--corpus", type=Path, help="its folder; by default beside the checkpoint's folder")
    parser.add_argument("--weights", type=Path, help="also export the weights to this .npz file")
    parser.add_argument("--windows", type=int, help="score only so many windows of the test split")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    return parser


def make(given: argparse.Namespace) -> dict[str, Any]:
    """Do what the command line says; return the card. InputError where a file or a number is wrong."""
    import yaml

    _check(given)
    try:
        config = yaml.safe_load(given.config.read_text())
        decoder = Decoder(Shape(**config["shape"]))
        step, cpu_s = restore(given.checkpoint, decoder)
        folder = given.corpus or given.checkpoint.absolute().parent.parent / f"corpus_{config['corpus']}"
        corpus = read(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, yaml.YAMLError, pickle.UnpicklingError) as error:
        raise InputError(f"{given.checkpoint} with {given.config}: {' '.join(str(error).split())[:200]}") from error
    round_weights(decoder)
    if given.weights:
        export_weights(decoder, given.weights)
    encodes = decoder.encoder is not None
    prompts = (held_out_pairs(corpus, given.sequences, config["length"], given.seed, encodes) if corpus.paired else
               held_out_prompts(corpus, given.sequences, given.prompt + 1, given.seed))
    scores = held_out(decoder, corpus, config["length"], given.windows)
    reasons = judge(scores["exit_losses"], scores["five_gram_loss"])
    source = {
        "kind": "recorded", "decoding": "greedy, fp32, weights rounded to bf16", "steps": step,
        "corpus": config["corpus"], "corpus_sha256": corpus.digest(), "seed": given.seed,
        "quality": "weak" if reasons else "ok", "reasons": reasons,
        "prompts": {str(i): prompt.kind for i, prompt in enumerate(prompts)},
    }
    out = given.out.with_suffix("") if given.out.suffix == ".parquet" else given.out
    sequences = record(decoder, prompts, given.count, corpus.paired)
    trace = Trace(out.name, config["model"], decoder.shape.repetitions, source, sequences)
    made = {
        "training": config, "steps": step, "cpu_minutes": round(cpu_s / 60, 1),
        "looping_share_of_real_text": looping_share(corpus.splits["test"], given.count),
        "parameters": sum(p.numel() for p in decoder.parameters()), "corpus": described(corpus),
        "prompts": {"seed": given.seed, "tokens": sorted({len(p.ids) for p in prompts}),
                    "from": [[p.path, p.start] for p in prompts]},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    card = judged(trace, scores, decoder.shape) | made
    write_parquet(trace, out.with_name(out.name + ".parquet"))
    write_text(out.with_name(out.name + ".card.json"), to_json(card) + "\n")
    return card


def _check(given: argparse.Namespace) -> None:
    for name, least in (("sequences", 1), ("count", 1), ("windows", 1), ("prompt", 0), ("seed", 0), ("threads", 1)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise InputError(f"--{name} {value}: must be {least} or more")
    for path in filter(None, (given.out, given.weights)):
        if not path.absolute().parent.is_dir():
            raise InputError(f"{path}: no such folder")


def judged(trace: Trace, scores: dict[str, Any], shape: Shape) -> dict[str, Any]:
    """The card's first part: how good the decoder is and what its exits do, beside the paper's."""
    figures = statistics(trace)
    losses = scores["exit_losses"]
    straight = tuple(s for s in trace.sequences if not loops(s.text))
    settled = statistics(replace(trace, sequences=straight, digest=""))["mean_settle"] if straight else None
    return {
        "schema": "speedsim-card/1", "trace": trace.name, "digest": trace.digest, "model": trace.model,
        **{key: trace.source[key] for key in ("quality", "reasons", "decoding")},
        "held_out": scores,
        "bars": {
            "last_exit_below_five_gram": losses[-1] < scores["five_gram_loss"],
            "last_exit_better_than_first": losses[-1] <= losses[0] - LEAST_GAIN,
        },
        **figures, "flip_rates": beside_paper(figures["flip_rates"], shape),
        "without_loops": {"sequences": len(straight), "mean_settle": settled},
    }


def looping_share(ids: NDArray[np.int64], count: int) -> float | None:
    """Share of a real text's pieces of `count` tokens that count as looping, to compare a trace's with."""
    pieces = ids[:len(ids) // count * count].reshape(-1, count)
    return sum(loops(piece.astype(np.int32)) for piece in pieces) / len(pieces) if len(pieces) else None


if __name__ == "__main__":
    sys.exit(main())
