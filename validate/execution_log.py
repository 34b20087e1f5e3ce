"""What a run really did: every row of every pass, and what its head said, off-text rows included.

A trace holds what a model predicts from the committed text; a log holds what one run predicted from what it stood on.
So a log answers one schedule alone: the one that wrote it, whose rows it can be compared with one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from speedsim import trace
from speedsim.program import TARGET, Pass, Row, Tree

from .refusal import RefusedError


class Ran(NamedTuple):
    """A row of a pass that ran."""

    sequence: int
    position: int
    depth: int
    """Repetitions done before the pass."""
    prediction: int | None
    """What its head said behind the pass; None where it was not read."""


class Sweep(NamedTuple):
    """A pass that ran."""

    repetitions: int
    rows: tuple[Ran, ...]


@dataclass
class ExecutionLog:
    """The passes of a run in order."""

    repetitions: int
    """G of the model."""
    eos: int | None = None
    """Token that ends a text."""
    last: dict[int, int] = field(default_factory=dict)
    """Position at which a replayed text ends by itself, by sequence."""
    sweeps: list[Sweep] = field(default_factory=list)
    heard: dict[tuple[int, int], int] = field(default_factory=dict)
    """(token, exit): what the exit predicted."""

    def hear(self, item: Pass, predictions: Iterable[int]) -> None:
        """A pass ran; `predictions` are those of its read rows in the order of its rows."""
        said = iter(predictions)
        exits = set(item.exits)
        rows = []
        for row in item.rows:
            prediction = next(said) if row.token in exits else None
            rows.append(Ran(row.sequence, row.position, row.depth, prediction))
            if prediction is not None:
                self.heard[row.token, row.depth + item.repetitions] = prediction
        self.sweeps.append(Sweep(item.repetitions, tuple(rows)))

    def ends(self, row: Row, prediction: int) -> bool:
        """Whether the text ends with what the row commits."""
        return prediction == self.eos or self.last.get(row.sequence) == row.position


class ExitsOnly:
    """An oracle's answers about other proposers: the reference decoder runs none but its exits."""

    def accepted(self, proposer: str, sequence: int, position: int, k: int, verifier: str = TARGET) -> int:
        """Refused."""
        raise RefusedError(f"the reference decoder runs no proposer {proposer!r}")

    def path(self, proposer: str, sequence: int, position: int, tree: Tree, verifier: str = TARGET) -> tuple[int, ...]:
        """Refused."""
        raise RefusedError(f"the reference decoder runs no proposer {proposer!r}")

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """Refused."""
        raise RefusedError(f"the reference decoder runs no proposer {proposer!r}")


class LiveOracle(ExitsOnly):
    """Answers from what the machine's heads said in this very run. Nothing is off-text: every row really ran."""

    def __init__(self, log: ExecutionLog) -> None:
        self._log = log

    def issued(self, item: Pass) -> None:
        """Nothing to learn: the machine will say what the pass predicted."""

    def ended(self, passes: frozenset[int]) -> None:
        """Nothing to learn: the log has heard it."""

    def guess(self, row: Row, exit: int) -> int:
        """The row's prediction at an exit that has been read."""
        return self._log.heard[row.token, exit]

    def ends(self, row: Row) -> bool:
        """Whether the row commits the end of the text."""
        return self._log.ends(row, self._log.heard[row.token, self._log.repetitions])


class LogOracle(ExitsOnly):
    """Answers from a log, and refuses a run whose rows differ from the log's."""

    def __init__(self, log: ExecutionLog) -> None:
        self._log = log
        self._next = 0
        self.heard: dict[tuple[int, int], int] = {}
        """(token, exit): what the exit predicted, of the passes issued so far."""

    def issued(self, item: Pass) -> None:
        """Compare the pass with the log's, row by row, and learn what it said."""
        number, self._next = self._next, self._next + 1
        if number >= len(self._log.sweeps):
            raise RefusedError(f"pass {number} was issued, and the log ends before it")
        ran = self._log.sweeps[number]
        wanted = [(r.sequence, r.position, r.depth) for r in item.rows]
        if ran.repetitions != item.repetitions or [row[:3] for row in ran.rows] != wanted:
            raise RefusedError(f"pass {number}: the program issues {wanted}, the log has "
                               f"{[row[:3] for row in ran.rows]} (sequence, position, depth)")
        for row, logged in zip(item.rows, ran.rows, strict=True):
            if row.token in item.exits:
                if logged.prediction is None:
                    raise RefusedError(f"pass {number}: the log does not say what position {row.position} predicted")
                self.heard[row.token, row.depth + item.repetitions] = logged.prediction

    def ended(self, passes: frozenset[int]) -> None:
        """Nothing to learn: the log had said it."""

    def finish(self) -> None:
        """Refuse a run that stopped before its log."""
        if self._next != len(self._log.sweeps):
            raise RefusedError(f"the program stops after {self._next} passes, the log has {len(self._log.sweeps)}")

    def guess(self, row: Row, exit: int) -> int:
        """The logged prediction."""
        return self.heard[row.token, exit]

    def ends(self, row: Row) -> bool:
        """Whether the row commits the end of the text."""
        return self._log.ends(row, self.heard[row.token, self._log.repetitions])


def recorded(log: ExecutionLog, committed: Iterable[tuple[int, int, int]]) -> list[trace.Sequence]:
    """The trace that a run recorded: what every exit predicted from the committed text.

    `committed` are the (sequence, position, token) of the run's commits. Refused where a committed token has an exit
    that was not read.
    """
    lines: dict[int, list[tuple[int, list[int]]]] = {}
    for sequence, position, token in committed:
        exits = [log.heard.get((token, exit)) for exit in range(1, log.repetitions + 1)]
        if None in exits:
            raise RefusedError(f"position {position} of sequence {sequence}: exit {exits.index(None) + 1} was not "
                               "read; a trace needs every exit")
        lines.setdefault(sequence, []).append((position, [e for e in exits if e is not None]))
    return [_sequence(number, rows, log.eos) for number, rows in lines.items()]


def _sequence(number: int, rows: Sequence[tuple[int, list[int]]], eos: int | None) -> trace.Sequence:
    tokens = np.array([exits for _, exits in rows], dtype=np.int32)
    end = "eos" if eos is not None and tokens[-1, -1] == eos else "length"
    return trace.Sequence(number, rows[0][0], len(rows), end, 0, tokens)
