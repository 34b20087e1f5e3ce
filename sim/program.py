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


TARGET = "target"
"""Name of the first model in Pass.model: the one whose text is decoded."""


class Row(NamedTuple):
    """One token at one depth in a pass."""

    token: int
    """Id of this issue of a position; never used again in the run, also not by another sequence. Every model that runs
    this issue calls it so, and two guesses at one position (siblings) are two tokens."""
    sequence: int
    position: int
    """Place of the input token in its sequence, counted from 0; the row attends to the committed text before it and to
    its own line of parents."""
    depth: int
    """Repetitions done before this pass, 0 .. G-1."""
    parent: int | None
    """Token whose prediction this row's input is; None for the first row of a sequence."""
    source: tuple[int, int] | None = None
    """(token, exit) whose arg-max is the input, still a guess; None: the input is committed text. Exit 0 stands for a
    proposer that is no exit of the target: a draft model, a head, a look-up."""


class Pass(NamedTuple):
    """One sweep of the group (`repetitions` sweeps) by all its rows.

    Rows at depth 0 also run the embedding and the prelude. `exits` are the tokens whose head is read at the end:
    they run the coda, the final norm and the head. A verification is one pass with `repetitions` = G and every proposed
    token as a row at depth 0.
    """

    id: int
    rows: tuple[Row, ...]
    exits: tuple[int, ...] = ()
    repetitions: int = 1
    model: str = TARGET
    """The target, or a name that the schedule's `needs` gives to a further model."""
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


class Needs(NamedTuple):
    """What a schedule needs beside the target on one stream of one device."""

    models: tuple[tuple[str, str], ...] = ()
    """(name in Pass.model, model): a model's name or file, or `~8l` for the target's own first 8 layers and its head,
    which share the target's weights, keys and values. Further models are not looped."""
    host: tuple[str, ...] = ()
    """Kinds of Host work it issues; the stack must have a price for each."""
    devices: int = 1
    sampled: bool = False
    """Whether it also decodes with a temperature; False: greedy only."""
    rejects: bool = False
    """Whether it then accepts or rejects proposals by the proposer's probabilities, a kernel of its own."""
    trained: bool = False
    """Whether it decodes only models that were trained for it: nothing is proposed, so nothing can be wrong."""
    concurrent: bool = False
    """Whether it uses several streams, `after`, Wait(any=True), Cancel, Move or Compact."""


Tree = tuple[tuple[int, ...], ...]
"""Proposed tokens as paths: (0,) is the proposer's first choice behind the root, (1,) its second, (1, 0) the first
choice behind that. Every node's parent is in the tree; a chain of two is ((0,), (0, 0))."""


class Oracle(Protocol):
    """What the text did: a recorded trace, or the live model's logits."""

    def guess(self, row: Row, exit: int) -> int:
        """The token that `row`'s position predicts at `exit` (1 .. G); legal once a Wait covers a pass that read it."""
        ...

    def ends(self, row: Row) -> bool:
        """Whether the text ends with what this row commits; legal once a Wait covers its last exit."""
        ...

    def accepted(self, proposer: str, sequence: int, position: int, k: int, verifier: str = TARGET) -> int:
        """How many of a chain of k tokens proposed behind `position` agree with the text, 0 .. k; legal once a Wait
        covers passes of the verifier that read positions position .. position+k-1."""
        ...

    def path(self, proposer: str, sequence: int, position: int, tree: Tree, verifier: str = TARGET) -> tuple[int, ...]:
        """The longest path of a proposed tree that agrees with the text, () for none; legal as `accepted` is, for as
        many positions as the tree is deep."""
        ...

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """The probability that the proposer itself gives to its first choice behind `position`; legal once a Wait
        covers a pass of any model that ran this position."""
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

    def needs(self) -> Needs:
        """Further models, host work and streams, Needs() for none; ValueError if an option is missing."""
        ...

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Sweeps of the target that so many tokens of one sequence take when every proposal is right."""
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
