"""What a decoder's exits predicted, position by position: the facts behind a run.

    row p:  input token p  ->  exit e = 1 .. G predicts token p + 1;   the last exit's prediction is the text

Positions before a sequence's `first` are its prompt. A trace holds what was predicted from the committed text only; a
live run also makes predictions from wrong text, and throws them away.
Sequences in memory are traces/data.py, files are read and written by traces/jsonl.py and traces/parquet.py, figures are
made by traces/statistics.py; this module is the door to them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .files import write_bytes
from .registry import find
from .traces import jsonl as trace_jsonl
from .traces import parquet as trace_parquet
from .traces import steps as trace_steps
from .traces.data import Sequence, Trace, lengths_only, limited, of_steps, shifted
from .traces.files import ENDS, LIMIT_BYTES, MOST_SYNTHETIC, SCHEMA, STEPS, WHOLE, TraceError, near, one_line
from .traces.statistics import draws, loops, settle, summary
from .traces.synth import bursty, enveloped

__all__ = [
    "ENDS", "LIMIT_BYTES", "SCHEMA", "Sequence", "Trace", "TraceError", "check", "header", "lengths_only", "limited",
    "load", "loops", "of_steps", "settle", "shifted", "statistics", "synthetic", "synthetic_from", "write",
    "write_jsonl", "write_parquet",
]

Flips = list[float] | tuple[float, ...]

_FORMS = {".jsonl": trace_jsonl, ".parquet": trace_parquet}


def _floats(text: str) -> tuple[float, ...]:
    return tuple([float(f) for f in text.split("+")])


_SYNTHETIC: dict[str, Callable[[str], Any]] = {
    "flips": _floats, "like": str, "burst": float, "envelope": _floats, "repetitions": int, "count": int,
    "sequences": int, "first": int, "seed": int, "vocabulary": int, "source_tokens": int,
}


def load(path: str | Path, limit_bytes: int = LIMIT_BYTES) -> Trace:
    """The trace in a .jsonl or .parquet file; TraceError where anything is wrong with it.

    A log of steps becomes a text of one repetition that carries the log.
    """
    if header(path)["kind"] == STEPS:
        with _form(Path(path), limit_bytes):
            return of_steps(trace_steps.read(Path(path))[0])
    return _load(Path(path), limit_bytes)[0]


def _load(path: Path, limit_bytes: int) -> tuple[Trace, bool]:
    with _form(path, limit_bytes) as form:
        head, told, sealed = form.read(path, limit_bytes)
    sequences = tuple(Sequence(o.sequence, o.first, o.count, o.end, o.source_tokens, tokens) for o, tokens in told)
    return Trace(path.stem, head["model"], head["repetitions"], head["source"], sequences), sealed


def check(path: str | Path, limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    """Read a file as `load` does and tell what is in it. `sealed`: it carries a checksum, which held."""
    trace, sealed = _load(Path(path), limit_bytes)
    ends = Counter(s.end for s in trace.sequences)
    return {
        "name": trace.name, "schema": SCHEMA, "model": trace.model, "repetitions": trace.repetitions,
        "sequences": len(trace.sequences), "tokens": trace.tokens, "ends": {end: ends[end] for end in ENDS},
        "first": _span([s.first for s in trace.sequences]), "count": _span([s.count for s in trace.sequences]),
        "highest_token": max(int(s.exit_tokens.max()) for s in trace.sequences),
        "sealed": sealed, "digest": trace.digest,
    }


def _span(values: list[int]) -> dict[str, int]:
    return {"lowest": min(values), "highest": max(values)}


def header(path: str | Path) -> dict[str, Any]:
    """The header of a .jsonl or .parquet file, without reading the rest: kind, schema, model, repetitions, source.

    Of a log of steps (traces/steps.py) it has draft_tokens and meaning instead of repetitions.
    """
    with _form(Path(path), LIMIT_BYTES) as form:
        head: dict[str, Any] = form.read_header(Path(path))
    return {"kind": "exits"} | head


@contextmanager
def _form(path: Path, limit_bytes: int) -> Iterator[Any]:
    """The module that reads the path's suffix; what the system refuses while it reads is a TraceError."""
    if path.suffix not in _FORMS:
        raise TraceError(f"{path}: suffix {path.suffix!r}: a trace is a .jsonl or a .parquet file")
    try:
        if not path.is_file():
            raise TraceError(f"{path}: no such file")
        size = path.stat().st_size
        if size > limit_bytes:
            raise TraceError(f"{path}: {size} bytes, more than the limit of {limit_bytes}")
        yield _FORMS[path.suffix]
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: cannot be read: {one_line(error)}") from error


def write(trace: Trace, path: str | Path) -> None:
    """Write the form of the path's suffix; the file appears whole or not at all. InputError where that fails."""
    suffix = Path(path).suffix
    if suffix not in _FORMS:
        raise TraceError(f"{path}: suffix {suffix!r}: a trace is a .jsonl or a .parquet file")
    if trace.steps is not None:
        trace_steps.write(trace.steps, path)
        return
    write_bytes(path, _FORMS[suffix].written(trace.head, trace.told))


def write_jsonl(trace: Trace, path: str | Path) -> None:
    """Write JSON lines with their checksum."""
    write_bytes(path, trace_jsonl.written(trace.head, trace.told))


def write_parquet(trace: Trace, path: str | Path) -> None:
    """Write Parquet."""
    write_bytes(path, trace_parquet.written(trace.head, trace.told))


def statistics(trace: Trace, seed: int = 0) -> dict[str, Any]:
    """What the trace says about speculation: trace_statistics.summary; the seed is the bootstrap's.

    Kinds of prompts are those that the source tells, `prompts: {sequence: kind}`.
    """
    told = trace.source.get("prompts")
    kinds = [str(told.get(str(s.id), "")) if isinstance(told, dict) else "" for s in trace.sequences]
    return summary([s.exit_tokens for s in trace.sequences], seed, kinds)


def synthetic(flips: Flips, repetitions: int, count: int, sequences: int = 1, seed: int = 0,
              *, first: int = 64, vocabulary: int = 32128, burst: float = 0.0,
              envelope: tuple[float, float] | None = None, source_tokens: int = 0) -> Trace:
    """A trace whose predictions change between exits j and j+1 with probability flips[j-1] (traces/synth.py).

    burst: correlation between neighbours of having a flip, 0 .. below 1. envelope: (beta, alpha) instead of flips.
    source_tokens: what cross-attention reads.
    Each sequence has a Philox stream of its own, keyed by (seed, sequence): more sequences or a larger count leave what
    was there before unchanged. Every flip goes to another token; a later flip may come back.
    """
    if envelope is None and len(flips) != repetitions - 1:
        raise TraceError(f"flips={list(flips)}: {repetitions} repetitions need {repetitions - 1} probabilities")
    if not all(0 <= f <= 1 for f in flips):
        raise TraceError(f"flips={list(flips)}: probabilities are numbers from 0 to 1")
    if not 0 <= burst < 1:
        raise TraceError(f"burst={burst}: a correlation from 0 to below 1 is expected")
    if envelope is not None and (flips or burst or not (0 <= envelope[0] <= 1 and 0 <= envelope[1] < math.inf)):
        raise TraceError(f"envelope={'+'.join(map(str, envelope))}: beta from 0 to 1 and alpha of 0 or more, alone")
    for name, value, low, high in (("count", count, 1, WHOLE - 1), ("sequences", sequences, 1, WHOLE - 1),
                                   ("first", first, 0, WHOLE - count), ("seed", seed, 0, 2**62 - 1),
                                   ("vocabulary", vocabulary, 2, WHOLE),
                                   ("source_tokens", source_tokens, 0, WHOLE - 1)):
        if not low <= value <= high:
            raise TraceError(f"{name}={value}: a whole number from {low} to {high} is expected")
    if count * sequences * repetitions > MOST_SYNTHETIC:
        raise TraceError(f"count={count}, sequences={sequences}: more than {MOST_SYNTHETIC:,} predictions in all")
    boundaries, made = repetitions - 1, []
    for number in range(sequences):
        raw = draws((seed, number), count * (2 * boundaries + 1)).reshape(count, -1)
        if envelope is not None:
            flipped = enveloped(*envelope, repetitions, count, (seed, number))
        elif burst:
            flipped = bursty(np.asarray(flips, dtype=np.float64), burst, count, (seed, number))
        else:
            flipped = (raw[:, :boundaries] >> np.uint64(11)) * 2.0**-53 < np.asarray(flips)
        steps = np.where(flipped, raw[:, boundaries:-1] % np.uint64(vocabulary - 1) + np.uint64(1), np.uint64(0))
        start = raw[:, -1:] % np.uint64(vocabulary)
        tokens = np.cumsum(np.hstack([start, steps]), axis=1) % np.uint64(vocabulary)
        made.append(Sequence(number, first, count, "length", source_tokens, tokens.astype(np.int32)))
    how = {"envelope": list(envelope)} if envelope else {"flips": [float(f) for f in flips], "burst": burst}
    source = {"kind": "synthetic", **how, "seed": seed, "generator": "philox"}
    return Trace("synthetic", "synthetic", repetitions, source, tuple(made))


def synthetic_from(text: str, repetitions: int | None = None) -> Trace:
    """`synthetic` from the command line's form: `flips=0.15+0.06,count=1000,sequences=4,first=64,seed=0`.

    `like=TRACE` takes the flip rates and the burstiness of a recorded trace, `burst=0.3` states the latter,
    `envelope=BETA+ALPHA` goes without flips. `repetitions` is the model's; None: what the flips need, or as stated.
    """
    given = _stated(text)
    like = given.pop("like", None)
    if like is not None:
        said = statistics(load(find("traces", like)))
        given.setdefault("flips", [rate["rate"] for rate in said["flip_rates"]])
        given.setdefault("burst", max(0.0, said["burstiness"] or 0.0))
    stated = given.pop("repetitions", None)
    if stated is not None and repetitions not in (None, stated):
        raise TraceError(f"synth: repetitions={stated}: the model has {repetitions}")
    flips = given.setdefault("flips", ())
    given.setdefault("count", 1000)
    exits = repetitions or stated or (len(flips) + 1 if "envelope" not in given else None)
    if exits is None:
        raise TraceError("synth: envelope: repetitions=G says for how many exits")
    return synthetic(repetitions=exits, **given)


def _stated(text: str) -> dict[str, Any]:
    """The keys of a synthetic trace's text and their values."""
    given: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in item.partition("="))
        if key not in _SYNTHETIC:
            raise TraceError(f"synth: {key}: unknown key{near(key, _SYNTHETIC)}")
        if key in given:
            raise TraceError(f"synth: {key}: given twice")
        try:
            given[key] = _SYNTHETIC[key](value)
        except ValueError:
            kind = {_floats: "list of numbers such as 0.15+0.06", float: "number"}.get(_SYNTHETIC[key], "whole number")
            raise TraceError(f"synth: {key}: {value!r} is no {kind}") from None
    if len(given.get("envelope", (0, 0))) != 2:
        raise TraceError("synth: envelope: BETA+ALPHA, such as 0.4+1.2")
    return given
