"""Record what a trained decoder's exits predict on held-out text: a trace, and a card that says what it is worth.

    python -m speedsim.workloads.record CHECKPOINT CONFIG OUT     writes OUT.parquet and OUT.card.json

A prompt has P + 1 tokens at positions 0 .. P. The last of them is the input of the first row, so the trace's `first` is
P, and the P positions before it are what a prefill would compute. Decoding is greedy in fp32, all sequences in one
batch, on weights rounded to bf16, which are those that `--weights` exports: whoever has the exported file can record
the trace again. Prompts come from modules that were not trained on, and stand nowhere in the training text as a whole;
both are checked, not assumed.

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
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from speedsim.files import to_json, whole_file, write_text
from speedsim.trace import Sequence, Trace, loops, settle, statistics, write_parquet
from speedsim.units import InputError

from . import ngram
from .corpora import SPLITS, Corpus, module_of, read, windows
from .decoder import Decoder, Shape, greedy
from .train import evaluate, restore

PER_DOCUMENT = 4
"""Prompts from one file at most."""
LEAST_GAIN = 0.05
"""Nats per token by which the last exit must be better than the first."""
BLOCK = 32
"""Tokens over which the settle repetition is averaged along the text."""
LARGEST_WEIGHTS = 8_000_000
"""Bytes of an exported file at most: it is meant to be kept beside the code."""

PAPER_TASKS = ("CNN/DM", "WikiLingua", "ParaCrawl-Paragraph", "WMT-ENDE")
PAPER_FLIPS = {
    "2x6": ((0.1464, 0.1641, 0.1349, 0.1640), (0.0563, 0.0728, 0.0459, 0.0610), (0.0284, 0.0361, 0.0235, 0.0280),
            (0.0185, 0.0231, 0.0127, 0.0180), (0.0136, 0.0178, 0.0104, 0.0120)),
    "4x3": ((0.0848, 0.1339, 0.0635, 0.0850), (0.0404, 0.0633, 0.0229, 0.0320)),
}
"""Share of predictions that change between one exit and the next, per task: SPEED (arXiv:2310.12072v2), figure 4, read
from the figure's vector coordinates."""


class Prompt(NamedTuple):
    """A piece of a held-out file."""

    path: str
    start: int
    """Its first token's place in the file."""
    ids: NDArray[np.int64]


def held_out_prompts(corpus: Corpus, count: int, length: int, seed: int) -> list[Prompt]:
    """`count` prompts of `length` tokens at seeded places, none overlapping another, at most PER_DOCUMENT of a file.

    The test split is used up before the validation split is touched. InputError where there are not enough.
    """
    trained = {module_of(file["path"]) for file in corpus.files if file["split"] == "train"}
    text = corpus.splits["train"].astype(np.uint16).tobytes()
    random = np.random.default_rng(seed)
    found: list[Prompt] = []
    for split in ("test", "validation"):
        places = [place for document in corpus.documents(split) for place in _places(*document, length, random)]
        for index in random.permutation(len(places)):
            if len(found) == count:
                return found
            if module_of(places[index].path) in trained:
                raise InputError(f"{corpus.folder}: {places[index].path} is held out, its module is trained on")
            if not _stands_in(text, places[index].ids):
                found.append(places[index])
    if len(found) < count:
        raise InputError(f"{corpus.folder}: {len(found)} prompts of {length} tokens in the held-out files, not {count}")
    return found


def _places(path: str, ids: NDArray[np.int64], length: int, random: np.random.Generator) -> Iterator[Prompt]:
    """A few pieces of a file, side by side from a drawn offset."""
    slots = len(ids) // length
    offset = random.integers(len(ids) - slots * length + 1)
    for slot in random.permutation(slots)[:PER_DOCUMENT]:
        start = int(offset + slot * length)
        yield Prompt(path, start, ids[start:start + length])


def _stands_in(text: bytes, ids: NDArray[np.int64]) -> bool:
    """Whether the ids stand one after the other in a text of 16-bit ids."""
    wanted, at = ids.astype(np.uint16).tobytes(), -1
    while (at := text.find(wanted, at + 1)) >= 0:
        if at % 2 == 0:
            return True
    return False


def record(decoder: Decoder, prompts: list[Prompt], count: int) -> tuple[Sequence, ...]:
    """Decode `count` tokens behind each prompt, all in one batch; sequence i is prompt i's."""
    tokens = torch.from_numpy(np.stack([prompt.ids for prompt in prompts]))
    exits = torch.stack(list(greedy(decoder, tokens, count)), dim=1).numpy()
    first = tokens.shape[1] - 1
    return tuple(Sequence(i, first, count, "length", 0, each) for i, each in enumerate(exits))


def round_weights(decoder: Decoder) -> None:
    """Round every weight to bf16, kept in fp32."""
    for parameter in decoder.parameters():
        parameter.data = parameter.data.bfloat16().float()


def export_weights(decoder: Decoder, path: Path) -> None:
    """Write the weights as bf16 bit patterns (.npz, nothing pickled), readable by `load_weights`.

    InputError where the file would exceed LARGEST_WEIGHTS.
    """
    arrays = {name: tensor.bfloat16().view(torch.int16).numpy().view(np.uint16)
              for name, tensor in decoder.state_dict().items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST_WEIGHTS:
        raise InputError(f"{path}: {size} bytes of weights, more than {LARGEST_WEIGHTS}")
    shape = {field: getattr(decoder.shape, field) for field in Shape.__slots__}
    with whole_file(path) as stream:
        np.savez(stream, shape=np.frombuffer(json.dumps(shape).encode(), dtype=np.uint8), **arrays)


def load_weights(path: Path) -> Decoder:
    """The decoder in a file of `export_weights`, its weights in fp32. InputError where the file is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > 2 * LARGEST_WEIGHTS:
            raise InputError(f"{path}: {size} bytes unpacked, more than any exported decoder")
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        if any(array.dtype != np.uint16 for name, array in arrays.items() if name != "shape"):
            raise ValueError("weights are not 16-bit patterns")
        decoder = Decoder(Shape(**json.loads(arrays.pop("shape").tobytes())))
        weights = {name: torch.from_numpy((array.astype(np.uint32) << 16).view(np.float32))
                   for name, array in arrays.items()}
        decoder.load_state_dict(weights)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no exported decoder: {' '.join(str(error).split())[:120]}") from error
    return decoder


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
    """Losses of every exit and of a 5-gram on the same tokens of the test split (its first `most` windows)."""
    ids = corpus.splits["test"]
    scored = windows(ids, length)[:most]
    ids = ids[:len(scored) * length + 1]
    bar = ngram.loss(ngram.fit(corpus.splits["train"], decoder.shape.vocab), ids, length)
    return {
        "split": "test", "windows": len(scored), "window_tokens": length, "tokens": len(scored) * length,
        "unit": "nats per token", "exit_losses": evaluate(decoder, ids, length), "five_gram_loss": bar,
    }


def described(corpus: Corpus) -> dict[str, Any]:
    """Which text it was: digest of the file list, and the size of each split."""
    splits = {}
    for split in SPLITS:
        paths = [file["path"] for file in corpus.files if file["split"] == split]
        splits[split] = {"files": len(paths), "modules": len({module_of(path) for path in paths}),
                         "tokens": len(corpus.splits[split])}
    return {"python": corpus.python, "files_sha256": corpus.digest(), "splits": splits}


def beside_paper(rates: list[dict[str, Any]], shape: Shape) -> list[dict[str, Any]]:
    """Each flip rate, with the paper's four tasks where the paper has this U x G."""
    paper = PAPER_FLIPS.get(f"{shape.group_layers}x{shape.repetitions}")
    if paper is None:
        return rates
    return [rate | {"paper": dict(zip(PAPER_TASKS, row, strict=True))} for rate, row in zip(rates, paper, strict=True)]


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
    parser.add_argument("--prompt", type=int, default=64, help="position of the first row: a prompt has one token more")
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
    prompts = held_out_prompts(corpus, given.sequences, given.prompt + 1, given.seed)
    scores = held_out(decoder, corpus, config["length"], given.windows)
    reasons = judge(scores["exit_losses"], scores["five_gram_loss"])
    source = {
        "kind": "recorded", "decoding": "greedy, fp32, weights rounded to bf16", "steps": step,
        "corpus": config["corpus"], "corpus_sha256": corpus.digest(), "seed": given.seed,
        "quality": "weak" if reasons else "ok", "reasons": reasons,
    }
    out = given.out.with_suffix("") if given.out.suffix == ".parquet" else given.out
    sequences = record(decoder, prompts, given.count)
    trace = Trace(out.name, config["model"], decoder.shape.repetitions, source, sequences)
    made = {
        "training": config, "steps": step, "cpu_minutes": round(cpu_s / 60, 1),
        "looping_share_of_real_text": looping_share(corpus.splits["test"], given.count),
        "parameters": sum(p.numel() for p in decoder.parameters()), "corpus": described(corpus),
        "prompts": {"seed": given.seed, "tokens": given.prompt + 1, "from": [[p.path, p.start] for p in prompts]},
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
        "mean_settle_along_the_text": {"tokens_each": BLOCK, "means": along(trace)},
    }


def along(trace: Trace) -> list[float]:
    """Mean settle repetition of the first BLOCK tokens of all sequences, of the next, and so on.

    Text that runs in circles gets easier to predict: where the means fall, the loops flatter the trace.
    """
    longest = max(s.count for s in trace.sequences)
    pieces = ([s.exit_tokens[at:at + BLOCK] for s in trace.sequences] for at in range(0, longest, BLOCK))
    return [float(settle(np.concatenate(each)).mean()) for each in pieces]


def looping_share(ids: NDArray[np.int64], count: int) -> float | None:
    """Share of a real text's pieces of `count` tokens that count as looping, to compare a trace's with."""
    pieces = ids[:len(ids) // count * count].reshape(-1, count)
    return sum(loops(piece.astype(np.int32)) for piece in pieces) / len(pieces) if len(pieces) else None


if __name__ == "__main__":
    sys.exit(main())
