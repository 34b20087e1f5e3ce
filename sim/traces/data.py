"""Sequences of predictions in memory, and the cuts that replays make of them.

    row p:  input token p  ->  exit e = 1 .. G predicts token p + 1;   the last exit's prediction is the text
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .files import ENDS, SCHEMA, WHOLE, Opening, Tokens, Told, TraceError, digest
from .steps import StepTrace


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
    steps: StepTrace | None = None
    """The log that this is the text of, where verifications were logged and no predictions: tokens are all alike."""

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


def of_steps(steps: StepTrace) -> Trace:
    """The text of a log of steps: as many tokens, all alike, under one digest with the log."""
    sequences = (Sequence(s.id, s.first, s.count, s.end, 0, np.zeros((s.count, 1), np.int32)) for s in steps.sequences)
    return Trace(steps.name, steps.model, 1, steps.source, tuple(sequences), steps.digest, steps)


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
