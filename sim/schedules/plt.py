"""Parallel loop transformer: loop l + 1 of a token runs beside loop l of the next, by construction (arXiv:2510.24824).

The model is trained so that the next token does not wait for the loops of the one before it: nothing is guessed,
nothing is checked, and one read of the group serves G tokens at G depths.

    passes(n) = G + n - 1

For a model that was not trained so, this is the ceiling of every schedule that lets a token in at each pass.
Ignored: the gate between a loop's own keys and values and the first loop's, which the published model shares. A token
counts as committed behind its last loop, G - 1 passes after it is known; that shifts a text, it does not stretch it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Commit, Ids, Issue, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait


@dataclass(frozen=True, slots=True)
class ParallelLoops:
    """There is nothing to choose."""

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """No device form is written."""

    def needs(self) -> Needs:
        """A model that was trained for it."""
        return Needs(trained=True, sampled=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """A token leaves at every pass once the pipeline is full."""
        return repetitions + tokens - 1

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one pass: let a token in, advance everyone by one loop, commit the oldest."""
        position, parent = text.first, None
        live: list[Row] = []
        while True:
            if text.limit is None or position < text.first + text.limit:
                live.append(Row(ids.token(), text.sequence, position, 0, parent))
                parent = live[-1].token
                position += 1
            if not live:
                return
            oldest = live[0]
            full = oldest.depth == text.repetitions - 1
            item = Pass(ids.a_pass(), tuple(live), (oldest.token,) if full else ())
            yield Issue(item)
            yield Wait(frozenset((item.id,)))
            if full:
                yield Commit(oldest.token)
                del live[0]
                if oracle.ends(oldest):
                    yield Squash(tuple([row.token for row in live]))
                    return
            live = [row._replace(depth=row.depth + 1) for row in live]


NAME = "plt"
SCHEDULE = ParallelLoops
