"""Plain decoding: one token after the other, each through all G repetitions, the head read once.

    passes(n) = n * G

The G passes of a token form one launch unit: nothing is decided between them.
Source: the non-speculative baseline of SPEED (arXiv:2310.12072) and of every other schedule here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..program import Commit, Ids, Issue, Needs, Oracle, Pass, Program, Row, Text, Wait


class Single(NamedTuple):
    """The one slot of the device form: arrays of length 1, then three numbers."""

    token: Any
    """Input of the row."""
    position: Any
    depth: Any
    """Always 0: a step does all repetitions."""
    live: Any
    """Whether the slot holds a row."""
    seat: Any
    """Where the row's hidden state is kept."""
    stop: Any
    """First position past the length limit."""
    last: Any
    """Position at which a recorded text ends by itself."""
    eos: Any
    """Token that ends the text."""


@dataclass(frozen=True, slots=True)
class Autoregressive:
    """Decode token by token."""

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> int:
        """One row stands on the device at any time."""
        return 1

    def needs(self) -> Needs:
        """The target alone."""
        return Needs(sampled=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Nothing is proposed: all repetitions of every token."""
        return tokens * repetitions

    def unit(self, repetitions: int) -> tuple[int, ...]:
        """Repetitions of each pass between two decisions of the device form."""
        return (1,) * repetitions

    def start(self, text: Text, token: int, eos: int, last: int) -> Single:
        """The device form's state before the first pass; `token` is the prompt's last."""
        stop = 2**62 if text.limit is None else text.first + text.limit
        return Single([token], [text.first], [0], [text.limit != 0], [0], stop, last, eos)

    def step(self, state: Single, predictions: Any) -> Single:
        """The state behind all repetitions of a token, from the last exit's prediction [1]; array operations only."""
        ended = (predictions == state.eos) | (state.position == state.last) | (state.position + 1 >= state.stop)
        return state._replace(token=predictions, position=state.position + 1, live=state.live & ~ended)

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
