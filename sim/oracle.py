"""Oracles: what the text did, answered when a schedule may know it.

A trace records, for every position of the committed text, what each exit predicted. A row whose input differs from that
text is off-text: nothing was recorded about it, so it keeps one guess at every exit and never flips, and so does
everything behind it. That does not change the number of passes (an off-text row is squashed before it could commit);
the rows in flight are a little fewer than live.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .program import Oracle, Pass, Row

if TYPE_CHECKING:
    from .trace import Sequence

OFF_TEXT = -1
"""The guess of a row about which nothing is recorded: no token of any vocabulary."""


class TraceOracle:
    """Answers from recorded facts. It follows every issue to know which tokens stand on wrong text."""

    def __init__(self, sequences: Mapping[int, Sequence]) -> None:
        self._exits = {s.id: s.exit_tokens.tolist() for s in sequences.values()}
        self._first = {s.id: s.first for s in sequences.values()}
        self._last = {s.id: s.first + s.count - 1 for s in sequences.values() if s.end == "eos"}
        self._on_text: dict[int, tuple[int, int]] = {}
        self._known: set[int] = set()

    def issued(self, item: Pass) -> None:
        """Place every new token: on the text (its sequence and position) or off it."""
        for row in item.rows:
            if row.depth == 0 and row.token not in self._known:
                self._known.add(row.token)
                if self._stands_on_text(row):
                    self._on_text[row.token] = (row.sequence, row.position)

    def _stands_on_text(self, row: Row) -> bool:
        index = row.position - self._first[row.sequence]
        exits = self._exits[row.sequence]
        if index >= len(exits):
            return False
        if row.source is None:
            return True
        token, exit = row.source
        return token in self._on_text and exits[index - 1][exit - 1] == exits[index - 1][-1]

    def ended(self, passes: frozenset[int]) -> None:
        """Nothing to learn: the facts were there from the start."""

    def guess(self, row: Row, exit: int) -> int:
        """The recorded prediction, or the one guess of an off-text row."""
        if row.token in self._on_text:
            prediction: int = self._exits[row.sequence][row.position - self._first[row.sequence]][exit - 1]
            return prediction
        return OFF_TEXT

    def ends(self, row: Row) -> bool:
        """Whether the recorded text ends here by itself."""
        return self._last.get(row.sequence) == row.position

    def accepted(self, proposer: str, sequence: int, position: int, k: int) -> int:
        """Not recorded in an exit trace."""
        raise LookupError(f"the trace records no proposer {proposer!r}")


class ClairvoyanceError(AssertionError):
    """A schedule asked what it could not know yet."""


class StrictOracle:
    """Another oracle that refuses to answer before a Wait has covered the pass that answers."""

    def __init__(self, inner: Oracle) -> None:
        self._inner = inner
        self._running: dict[int, Pass] = {}
        self._read: dict[int, set[int]] = {}

    def issued(self, item: Pass) -> None:
        """Remember what the pass will make known."""
        self._running[item.id] = item
        self._inner.issued(item)

    def ended(self, passes: frozenset[int]) -> None:
        """Everything these passes and those before them on their stream read is known now."""
        for number in passes:
            done = self._running[number]
            for earlier in [p for p in self._running.values() if p.id <= number and p.stream == done.stream]:
                del self._running[earlier.id]
                depth = {row.token: row.depth + earlier.repetitions for row in earlier.rows}
                for token in earlier.exits:
                    self._read.setdefault(token, set()).add(depth[token])
        self._inner.ended(passes)

    def guess(self, row: Row, exit: int) -> int:
        """The inner oracle's answer, if that exit has been read and waited for."""
        if exit not in self._read.get(row.token, ()):
            raise ClairvoyanceError(f"exit {exit} of token {row.token} is asked before a Wait covers its pass")
        return self._inner.guess(row, exit)

    def ends(self, row: Row) -> bool:
        """The inner oracle's answer, if this row's pass was read and waited for."""
        if not self._read.get(row.token):
            raise ClairvoyanceError(f"the end at token {row.token} is asked before a Wait covers its pass")
        return self._inner.ends(row)

    def accepted(self, proposer: str, sequence: int, position: int, k: int) -> int:
        """The inner oracle's answer."""
        return self._inner.accepted(proposer, sequence, position, k)
