"""Plain decoding: one token after the other, each through all G repetitions, the head read once.

    passes(n) = n * G

The G passes of a token form one launch unit: nothing is decided between them.
Source: the non-speculative baseline of SPEED (arXiv:2310.12072) and of every other schedule here.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import NOTHING, Commit, Ids, Issue, Oracle, Pass, Program, Row, Text, Wait


@dataclass(frozen=True, slots=True)
class Autoregressive:
    """Decode token by token."""

    def slots(self, repetitions: int) -> int:
        """One row stands on the device at any time."""
        return 1

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """Issue G passes, wait for the last, commit, until the limit or the end of the text."""
        last = text.repetitions - 1
        position = text.first
        parent = None
        while text.limit is None or position < text.first + text.limit:
            token = ids.token()
            for depth in range(text.repetitions):
                row = Row(token, text.sequence, position, depth, parent)
                item = Pass(ids.a_pass(), (row,), (token,) if depth == last else ())
                yield Issue(item)
            yield Wait(frozenset((item.id,)))
            yield Commit(token)
            if oracle.ends(row):
                return
            parent = token
            position += 1


NAME = "autoregressive"
SCHEDULE = Autoregressive
