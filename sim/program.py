"""The waist: what a schedule says to a machine, and the three protocols that meet here.

A schedule is a generator of commands. It issues passes (rows to run through the model), waits for them, asks the oracle
what they predicted, commits and squashes. It never learns a time; a machine never learns why. Everything above this
file (schedules, oracles) and everything below it (simulated or real GPU) knows only these types.

    Row  -> Pass -> Issue | Wait | Host | Commit | Squash | Cancel | Move | Compact | Retire -> Machine -> Timeline

Standard library only: a schedule must run on a bare machine with a GPU.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from .timeline import Timeline


class Row(NamedTuple):
    """One token at one depth in a pass."""

    token: int
    """Id of this issue of a position; never used again in the run, also not by another sequence."""
    sequence: int
    position: int
    """Place of the input token in its sequence, counted from 0; the row attends to positions 0 .. position."""
    depth: int
    """Repetitions done before this pass, 0 .. G-1."""
    parent: int | None
    """Token whose prediction this row's input is; None for the first row of a sequence."""
    source: tuple[int, int] | None = None
    """(token, exit) whose arg-max is the input, still a guess; None: the input is committed text."""


class Pass(NamedTuple):
    """One sweep of the group (`repetitions` sweeps) by all its rows.

    Rows at depth 0 also run the embedding and the prelude. `exits` are the tokens whose head is read at the end:
    they run the coda, the final norm and the head.
    """

    id: int
    rows: tuple[Row, ...]
    exits: tuple[int, ...] = ()
    repetitions: int = 1
    model: str = "target"
    device: int = 0
    stream: int = 0
    after: tuple[int, ...] = ()
    """Passes of other streams that must end before this one starts."""


class Issue(NamedTuple):
    """Run a pass; the program goes on at once."""

    item: Pass


class Wait(NamedTuple):
    """Stop until these passes have ended (any of them, with `any`) and the host has seen what they predicted."""

    passes: frozenset[int]
    any: bool = False


class Host(NamedTuple):
    """Work on the processor, such as an n-gram look-up: a kind the stack has a price for, times `items`."""

    kind: str
    items: int = 1


class Commit(NamedTuple):
    """Make a token final: its prediction at the last exit is text."""

    token: int


class Squash(NamedTuple):
    """Discard tokens in flight."""

    tokens: tuple[int, ...]


class Cancel(NamedTuple):
    """Drop a pass that has not started; one that has runs on."""

    id: int


class Move(NamedTuple):
    """Carry tokens' state to another device over the link."""

    tokens: tuple[int, ...]
    device: int


class Compact(NamedTuple):
    """Copy the keys and values of accepted tokens to where their sequence expects them."""

    sequence: int
    tokens: tuple[int, ...]


class Retire(NamedTuple):
    """The sequence has ended: its place in the batch and its keys and values are free."""

    sequence: int


Command = Issue | Wait | Host | Commit | Squash | Cancel | Move | Compact | Retire
Program = Generator[Command, frozenset[int], None]
"""A Wait is answered with the ids of the passes that ended, any other command with an empty set; never with a time."""

NOTHING: frozenset[int] = frozenset()


class Text(NamedTuple):
    """What a schedule may know of a sequence before it runs."""

    sequence: int
    first: int
    """Position of the first row: the prompt's last token is its input."""
    limit: int | None
    """Positions first .. first+limit-1 are decoded at most; None: until the text ends by itself."""
    repetitions: int
    """G of the model that decodes it."""


class Oracle(Protocol):
    """What the text did: a recorded trace, or the live model's logits."""

    def guess(self, row: Row, exit: int) -> int:
        """The token that `row`'s position predicts at `exit` (1 .. G); legal once a Wait covers a pass that read it."""
        ...

    def ends(self, row: Row) -> bool:
        """Whether the text ends with what this row commits; legal once a Wait covers its last exit."""
        ...

    def accepted(self, proposer: str, sequence: int, position: int, k: int) -> int:
        """How many of k tokens proposed behind `position` agree with the text, 0 .. k."""
        ...

    def issued(self, item: Pass) -> None:
        """A pass was issued: the oracle learns who stands on what."""
        ...

    def ended(self, passes: frozenset[int]) -> None:
        """A Wait was answered with these passes."""
        ...


class Schedule(Protocol):
    """A way of decoding. Implementations are frozen dataclasses whose fields are the schedule's options."""

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """Decode one sequence."""
        ...

    def reads(self, repetitions: int) -> frozenset[int]:
        """Repetitions after which a row's head may be read, for a model of G repetitions; ValueError if the options
        do not fit the model."""
        ...

    def slots(self, repetitions: int) -> int | None:
        """Rows of the device form, where the GPU decides over fixed slots; None: there is no such form."""
        ...


class Machine(Protocol):
    """Plays a program: the simulated GPU, or CUDA."""

    def play(self, program: Program) -> Timeline:
        """Run the program to its end and return what happened when."""
        ...


class Ids:
    """Hands out token and pass numbers that no other sequence of the run uses."""

    def __init__(self) -> None:
        self._token = -1
        self._pass = -1

    def token(self) -> int:
        """A new token."""
        self._token += 1
        return self._token

    def a_pass(self) -> int:
        """A new pass."""
        self._pass += 1
        return self._pass


def watched(program: Program, oracle: Oracle) -> Program:
    """The program with its oracle told of every issue and every answered wait."""
    try:
        command = next(program)
        while True:
            if type(command) is Issue:
                oracle.issued(command.item)
            answer = yield command
            if type(command) is Wait:
                oracle.ended(answer)
            command = program.send(answer)
    except StopIteration:
        return
