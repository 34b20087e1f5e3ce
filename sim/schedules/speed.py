"""SPEED: speculative pipelined execution (arXiv:2310.12072), in the general form.

Up to G tokens are in flight, each one repetition behind its parent. An exit after each repetition predicts the next
token; the first exit's guess enters the pipeline in the very next pass. When a token changes its mind at a later exit,
everything younger stands on a wrong input and is squashed, and the new prediction enters instead.

    pass:  oldest                       youngest
           [pos i, depth 3] [i+1, 2] [i+2, 1] [i+3, 0]     one read of the group serves all rows

With r_i the repetition at which token i's prediction last changed, token i+1 commits r_i passes after token i:

    passes(n) = G + sum_{i=0}^{n-2} r_i          against n * G without speculation

Ignored: confidence (every token runs all G repetitions), sampling (greedy only).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..program import Commit, Ids, Issue, Oracle, Pass, Program, Row, Squash, Text, Wait


@dataclass(frozen=True, slots=True)
class Speed:
    """The options of SPEED.

    first_exit: repetition whose guess enters the pipeline, 1 .. G.
    exits: repetitions after which the head is read, beside first_exit and G; None: all from first_exit on.
    recheck: `every_exit` compares each exit with the one before; `final` reads only first_exit and G.
    max_in_flight: most tokens between issue and commit, 1 .. G; None: G. With 1 this is plain decoding.
    repetitions_per_pass: repetitions a launch does without looking at an exit; divides G.
    """

    first_exit: int = 1
    exits: tuple[int, ...] | None = None
    recheck: Literal["every_exit", "final"] = "every_exit"
    max_in_flight: int | None = None
    repetitions_per_pass: int = 1

    def __post_init__(self) -> None:
        if self.first_exit < 1:
            raise ValueError(f"first_exit={self.first_exit} is below 1")
        if self.max_in_flight is not None and self.max_in_flight < 1:
            raise ValueError(f"max_in_flight={self.max_in_flight} is below 1")
        if self.repetitions_per_pass < 1:
            raise ValueError(f"repetitions_per_pass={self.repetitions_per_pass} is below 1")
        if self.exits is not None and min(self.exits, default=1) < 1:
            raise ValueError(f"exits={self.exits} holds a repetition below 1")
        if self.recheck not in ("every_exit", "final"):
            raise ValueError(f"recheck={self.recheck!r} is neither every_exit nor final")

    def reads(self, repetitions: int) -> frozenset[int]:
        """Repetitions after which the head is read, for a model of G repetitions."""
        last, stride = repetitions, self.repetitions_per_pass
        if self.first_exit > last:
            raise ValueError(f"first_exit={self.first_exit} is beyond the model's {last} repetitions")
        if self.exits is not None and max(self.exits, default=1) > last:
            raise ValueError(f"exits={self.exits} go beyond the model's {last} repetitions")
        if last % stride:
            raise ValueError(f"repetitions_per_pass={stride} does not divide the model's {last} repetitions")
        if self.max_in_flight == 1:
            return frozenset((last,))
        chosen = {self.first_exit, last}
        if self.recheck == "every_exit":
            chosen.update(range(self.first_exit, last) if self.exits is None else self.exits)
        return frozenset(-(-e // stride) * stride for e in chosen if e >= self.first_exit)

    def slots(self, repetitions: int) -> int:
        """Most rows in flight: children follow their parent by the first exit's repetitions, or the cap holds."""
        most = -(-repetitions // min(self.reads(repetitions)))
        return most if self.max_in_flight is None else min(self.max_in_flight, most)

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one pass: advance, read, squash behind the oldest flip, commit, let the next token in."""
        last, stride = text.repetitions, self.repetitions_per_pass
        reads = self.reads(last)
        most = self.slots(last)
        stop = None if text.limit is None else text.first + text.limit
        live: list[_Live] = [_Live(ids.token(), text.first, None, None)]
        while live:
            rows = tuple([Row(t.token, text.sequence, t.position, t.depth, t.parent, t.source) for t in live])
            read = [t for t in live if t.depth + stride in reads]
            item = Pass(ids.a_pass(), rows, tuple([t.token for t in read]), stride)
            yield Issue(item)
            for t in live:
                t.depth += stride
            if not read:
                continue
            yield Wait(frozenset((item.id,)))
            flipped = None
            for place, t in enumerate(live):
                if t.depth in reads:
                    guess = oracle.guess(rows[place], t.depth)
                    if t.prediction is not None and guess != t.prediction and flipped is None:
                        flipped = place
                    t.prediction, t.exit = guess, t.depth
            if flipped is not None and flipped + 1 < len(live):
                yield Squash(tuple([t.token for t in live[flipped + 1:]]))
                del live[flipped + 1:]
            youngest = live[-1]
            if live[0].depth == last:
                yield Commit(live[0].token)
                if oracle.ends(rows[0]):
                    if len(live) > 1:
                        yield Squash(tuple([t.token for t in live[1:]]))
                    return
                del live[0]
            if len(live) < most and youngest.prediction is not None:
                position = youngest.position + 1
                if stop is None or position < stop:
                    source = (youngest.token, youngest.exit) if youngest.exit < last else None
                    live.append(_Live(ids.token(), position, youngest.token, source))


class _Live:
    """A token in flight and its latest prediction."""

    __slots__ = ("depth", "exit", "parent", "position", "prediction", "source", "token")

    def __init__(self, token: int, position: int, parent: int | None, source: tuple[int, int] | None) -> None:
        self.token, self.position, self.parent, self.source = token, position, parent, source
        self.depth = self.exit = 0
        self.prediction: int | None = None


NAME = "speed"
SCHEDULE = Speed
