"""What a decoder's exits predicted, position by position: the facts behind a run.

    row p:  input token p  ->  exit e = 1 .. G predicts token p + 1;   the last exit's prediction is the text

Positions before a sequence's `first` are its prompt. A trace holds what was predicted from the committed text only; a
live run also makes predictions from wrong text, and throws them away.
Files are read and written by trace_jsonl.py and trace_parquet.py, figures are made by trace_statistics.py; this module
is the door to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import trace_jsonl, trace_parquet
from .files import write_bytes
from .trace_files import ENDS, LIMIT_BYTES, SCHEMA, WHOLE, Opening, Tokens, Told, TraceError, digest, near, one_line
from .trace_statistics import draws, loops, settle, summary

__all__ = [
    "ENDS", "LIMIT_BYTES", "SCHEMA", "Sequence", "Trace", "TraceError", "check", "header", "lengths_only", "limited",
    "load", "loops", "settle", "shifted", "statistics", "synthetic", "synthetic_from", "write", "write_jsonl",
    "write_parquet",
]

Flips = list[float] | tuple[float, ...]

_FORMS = {".jsonl": trace_jsonl, ".parquet": trace_parquet}
MOST_SYNTHETIC = 100_000_000
"""Predictions of a synthetic trace at most: more would not fit an ordinary memory."""
_SYNTHETIC = ("flips", "count", "sequences", "first", "seed", "vocabulary")


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A decoded sequence: its predictions at every exit."""

    id: int
    first: int
    """Position of the first row; the prompt stands before it."""
    count: int
    """Rows: positions first .. first+count-1."""
    end: str
    """One of ENDS."""
    source_tokens: int
    """Length of what cross-attention reads; 0 without it."""
    exit_tokens: Tokens
    """[count, G]: exit_tokens[index][e-1] is what exit e predicts from position first + index on the committed text."""

    def __post_init__(self) -> None:
        given = np.asarray(self.exit_tokens)
        if given.ndim != 2 or len(given) != self.count or self.count < 1 or self.end not in ENDS:
            raise TraceError(f"sequence {self.id}: exit_tokens {given.shape} with count {self.count}, end {self.end!r}")
        if given.dtype.kind not in "iu" or not 0 <= given.min() <= given.max() < WHOLE:
            raise TraceError(f"sequence {self.id}: exit_tokens are not all whole numbers from 0 to {WHOLE - 1}")
        tokens = np.array(given, dtype=np.int32, order="C")
        tokens.setflags(write=False)
        object.__setattr__(self, "exit_tokens", tokens)

    @property
    def text(self) -> Tokens:
        """[count]: the committed tokens, those behind positions first .. first+count-1."""
        text: Tokens = self.exit_tokens[:, -1]
        return text


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Sequences of one model, in file order. Two traces with one digest say the same, whatever file they came from."""

    name: str
    """The file's name without its suffix."""
    model: str
    repetitions: int
    """G: exits per position."""
    source: dict[str, Any]
    """Where it came from, in plain JSON values."""
    sequences: tuple[Sequence, ...]
    digest: str = ""
    """sha256 over repetitions, every sequence's (first, count, end, source_tokens) and all exit tokens."""

    def __post_init__(self) -> None:
        if not self.sequences or len({s.id for s in self.sequences}) != len(self.sequences):
            raise TraceError(f"{self.name}: no sequences, or two of one id")
        if any(s.exit_tokens.shape[1] != self.repetitions for s in self.sequences):
            raise TraceError(f"{self.name}: a sequence has not {self.repetitions} exits a position")
        if not self.digest:
            object.__setattr__(self, "digest", digest(self.repetitions, self.told))

    @property
    def head(self) -> dict[str, Any]:
        """The header as files hold it."""
        return {"schema": SCHEMA, "model": self.model, "repetitions": self.repetitions, "source": self.source}

    @property
    def told(self) -> Told:
        """The sequences as files hold them."""
        return [(Opening(s.id, s.first, s.count, s.end, s.source_tokens), s.exit_tokens) for s in self.sequences]

    @property
    def tokens(self) -> int:
        """Positions of all sequences."""
        return sum(s.count for s in self.sequences)


def load(path: str | Path, limit_bytes: int = LIMIT_BYTES) -> Trace:
    """The trace in a .jsonl or .parquet file; TraceError where anything is wrong with it."""
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
    """The header of a .jsonl or .parquet file, without reading the rest: schema, model, repetitions, source."""
    with _form(Path(path), LIMIT_BYTES) as form:
        head: dict[str, Any] = form.read_header(Path(path))
    return head


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
    write_bytes(path, _FORMS[suffix].written(trace.head, trace.told))


def write_jsonl(trace: Trace, path: str | Path) -> None:
    """Write JSON lines with their checksum."""
    write_bytes(path, trace_jsonl.written(trace.head, trace.told))


def write_parquet(trace: Trace, path: str | Path) -> None:
    """Write Parquet."""
    write_bytes(path, trace_parquet.written(trace.head, trace.told))


def statistics(trace: Trace, seed: int = 0) -> dict[str, Any]:
    """What the trace says about speculation: trace_statistics.summary; the seed is the bootstrap's."""
    return summary([s.exit_tokens for s in trace.sequences], seed)


def synthetic(flips: Flips, repetitions: int, count: int, sequences: int = 1, seed: int = 0,
              *, first: int = 64, vocabulary: int = 32128) -> Trace:
    """A trace whose predictions change between exits j and j+1 with probability flips[j-1], independently.

    Each sequence has a Philox stream of its own, keyed by (seed, sequence): more sequences or a larger count leave what
    was there before unchanged. Every flip goes to another token; a later flip may come back. E[r] of such a trace is
    1 + sum over j of (1 - product of (1 - f_i), i >= j).
    """
    if len(flips) != repetitions - 1:
        raise TraceError(f"flips={list(flips)}: {repetitions} repetitions need {repetitions - 1} probabilities")
    if not all(0 <= f <= 1 for f in flips):
        raise TraceError(f"flips={list(flips)}: probabilities are numbers from 0 to 1")
    for name, value, low, high in (("count", count, 1, WHOLE - 1), ("sequences", sequences, 1, WHOLE - 1),
                                   ("first", first, 0, WHOLE - count), ("seed", seed, 0, 2**63 - 1),
                                   ("vocabulary", vocabulary, 2, WHOLE)):
        if not low <= value <= high:
            raise TraceError(f"{name}={value}: a whole number from {low} to {high} is expected")
    if count * sequences * repetitions > MOST_SYNTHETIC:
        raise TraceError(f"count={count}, sequences={sequences}: more than {MOST_SYNTHETIC:,} predictions in all")
    boundaries, made = repetitions - 1, []
    for number in range(sequences):
        raw = draws((seed, number), count * (2 * boundaries + 1)).reshape(count, -1)
        flipped = (raw[:, :boundaries] >> np.uint64(11)) * 2.0**-53 < np.asarray(flips)
        steps = np.where(flipped, raw[:, boundaries:-1] % np.uint64(vocabulary - 1) + np.uint64(1), np.uint64(0))
        start = raw[:, -1:] % np.uint64(vocabulary)
        tokens = np.cumsum(np.hstack([start, steps]), axis=1) % np.uint64(vocabulary)
        made.append(Sequence(number, first, count, "length", 0, tokens.astype(np.int32)))
    source = {"kind": "synthetic", "flips": [float(f) for f in flips], "seed": seed, "generator": "philox"}
    return Trace("synthetic", "synthetic", repetitions, source, tuple(made))


def synthetic_from(text: str, repetitions: int) -> Trace:
    """`synthetic` from the command line's form: `flips=0.15+0.06,count=1000,sequences=4,first=64,seed=0`."""
    given: dict[str, Any] = {"count": 1000, "flips": []}
    stated: set[str] = set()
    for item in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in item.partition("="))
        if key not in _SYNTHETIC:
            raise TraceError(f"synth: {key}: unknown key{near(key, _SYNTHETIC)}")
        if key in stated:
            raise TraceError(f"synth: {key}: given twice")
        stated.add(key)
        try:
            given[key] = [float(f) for f in value.split("+")] if key == "flips" else int(value)
        except ValueError:
            kind = "list of numbers such as 0.15+0.06" if key == "flips" else "whole number"
            raise TraceError(f"synth: {key}: {value!r} is no {kind}") from None
    return synthetic(repetitions=repetitions, **given)


def shifted(trace: Trace, prompt: int) -> Trace:
    """The same text behind a prompt of another length: every sequence starts at position `prompt`."""
    if prompt < 0 or prompt + max(s.count for s in trace.sequences) > WHOLE:
        raise TraceError(f"prompt={prompt}: positions do not fit 31 bits")
    return replace(trace, sequences=tuple(replace(s, first=prompt) for s in trace.sequences), digest="")


def lengths_only(trace: Trace) -> Trace:
    """The text alone, as a model with one exit would have written it: for rivals that take only its lengths."""
    texts = (replace(s, exit_tokens=s.exit_tokens[:, -1:]) for s in trace.sequences)
    return replace(trace, repetitions=1, sequences=tuple(texts), digest="")


def limited(trace: Trace, tokens: int) -> Trace:
    """Whole sequences in file order until at least `tokens` tokens are there; all of them where there are fewer."""
    if tokens < 1:
        raise TraceError(f"tokens={tokens}: at least 1")
    kept, total = [], 0
    for sequence in trace.sequences:
        if total >= tokens:
            break
        kept.append(sequence)
        total += sequence.count
    return replace(trace, sequences=tuple(kept), digest="")
