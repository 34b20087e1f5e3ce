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
from typing import Any, Literal, NamedTuple

from ..program import Commit, Ids, Issue, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait

UNREAD = -9
"""The device form's mark of a token whose head has not been read; no prediction equals it."""


class Pipeline(NamedTuple):
    """What stands in the fixed slots of the device form: arrays [slots], the oldest token in slot 0.

    The live tokens fill the first slots. A slot's number says how old its token is, so a commit moves everything by
    one; the hidden state stays where it is, in the `seat` that moves along.
    """

    place: Any
    """0 .. slots-1, constant."""
    token: Any
    """Input of the row."""
    position: Any
    depth: Any
    """Repetitions done; 0 where the slot is empty."""
    prediction: Any
    """Of the last exit that was read, or UNREAD."""
    live: Any
    """Whether the slot holds a row."""
    seat: Any
    """Where the row's hidden state is kept, a permutation of 0 .. slots-1."""
    reads: Any
    """[G+1]: whether the head counts after so many repetitions, constant."""
    stop: Any
    """First position past the length limit."""
    last: Any
    """Position at which a recorded text ends by itself."""
    eos: Any
    """Token that ends the text."""


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

    def needs(self) -> Needs:
        """The target alone."""
        return Needs()

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """A token enters every first exit, or with the commit that makes room under the cap."""
        first, most = min(self.reads(repetitions)), self.slots(repetitions)
        rounds, place = divmod(tokens - 1, most) if most * first < repetitions else (0, tokens - 1)
        return repetitions * (rounds + 1) + place * first

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

    def unit(self, repetitions: int) -> tuple[int, ...]:
        """Repetitions of each pass between two decisions of the device form."""
        return (self.repetitions_per_pass,)

    def start(self, text: Text, token: int, eos: int, last: int) -> Pipeline:
        """The device form's state before the first pass; `token` is the prompt's last."""
        reads = self.reads(text.repetitions)
        size = self.slots(text.repetitions)
        stop = 2**62 if text.limit is None else text.first + text.limit
        rest = [0] * (size - 1)
        return Pipeline(
            list(range(size)), [token, *rest], [text.first, *rest], [0, *rest], [UNREAD] * size,
            [True, *[False] * (size - 1)], list(range(size)),
            [e in reads for e in range(text.repetitions + 1)], stop, last, eos,
        )

    def step(self, state: Pipeline, predictions: Any) -> Pipeline:
        """The state behind a pass, from the arg-max [slots] of every slot's head; array operations only.

        The turn of `program`'s loop that follows the Wait, for numpy arrays and torch tensors alike.
        """
        place, size = state.place, state.place.shape[0]
        depth = state.depth + state.live * self.repetitions_per_pass
        read = state.live & state.reads[depth]
        flipped = read & (state.prediction != UNREAD) & (predictions != state.prediction)
        prediction = _pick(read, predictions, state.prediction)
        oldest_flip = size - ((size - place) * flipped).max()
        live = state.live & (place <= oldest_flip)
        count = live.sum()
        youngest = place == count - 1
        guess = (youngest * prediction).sum()
        beyond = (youngest * state.position).sum() + 1
        commits = live[0] & (depth[0] == state.reads.shape[0] - 1)
        ended = commits & ((prediction[0] == state.eos) | (state.position[0] == state.last))
        left = count - commits * 1
        enters = (count > 0) & ~ended & (left < size) & (guess != UNREAD) & (beyond < state.stop)
        new = enters & (place == left)
        stays = ~ended & (place < left)
        behind = (place + commits * 1) % size
        return state._replace(
            token=_pick(new, guess, state.token[behind]),
            position=_pick(new, beyond, state.position[behind]),
            depth=stays * depth[behind],
            prediction=_pick(new, UNREAD, prediction[behind]),
            live=stays | new,
            seat=state.seat[behind],
        )


def _pick(mask: Any, chosen: Any, otherwise: Any) -> Any:
    """`chosen` where the mask holds, by arithmetic alone."""
    return mask * chosen + ~mask * otherwise


class _Live:
    """A token in flight and its latest prediction."""

    __slots__ = ("depth", "exit", "parent", "position", "prediction", "source", "token")

    def __init__(self, token: int, position: int, parent: int | None, source: tuple[int, int] | None) -> None:
        self.token, self.position, self.parent, self.source = token, position, parent, source
        self.depth = self.exit = 0
        self.prediction: int | None = None


NAME = "speed"
SCHEDULE = Speed
