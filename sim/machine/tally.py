"""What a run is made of: how often which kernels were launched together. One walk through a program, without time.

Under host control host and device meet after every wait, so a launch unit takes the same time whenever it comes:

    time of a sequence = sum over kinds of unit of (how often between its first issue and its last commit) x (its time)

The kinds depend on the text, the schedule, the model, the cache and the library's cuts; their times on the clocks,
rates and prices. A grid over the latter walks once (grid.py). The shapes, the passes and the counters are those of
player.py's machine, whose times a grid equals to the picosecond (tests/invariants/test_grid.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.lower import prefill_shape
from ..program import NOTHING, TARGET, Commit, Issue, Pass, Program, Retire, Squash, Wait
from ..timeline import Timeline
from ..units import NotCoveredError
from .computed import Computed, Computer
from .launch import Body, Launched
from .recorder import Recorder
from .setting import Setting
from .shapes import Shaper
from .work import Timed, Work


class Kind(NamedTuple):
    """A kind of launch unit."""

    mode: str
    """How it is launched, one of stack.LAUNCHES."""
    passes: tuple[tuple[int, ...], ...]
    """The kernels of each of its passes, as places in Tally.works."""
    waits: int
    """How often the host turns around behind it."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A run without its times."""

    works: tuple[Work, ...]
    """The distinct kernels, whatever their names."""
    kinds: tuple[Kind, ...]
    often: NDArray[np.int64]
    """[rows, kinds]: the sequences in order of their ends, then the time in which any was decoded, then each prompt."""
    line: Timeline
    """Counters and the order of the decodes; every time in it is 0."""
    prompts: tuple[int, ...]
    """Lengths of the prompts, in the order of their rows."""

    @property
    def sequences(self) -> int:
        """Sequences that were decoded."""
        return len(self.line.decodes)


class Untimed:
    """A device that takes no time: what kernels there are does not depend on it."""

    def __init__(self) -> None:
        self._running: Work | None = None

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel."""
        self._running = work

    def next_end(self) -> int | None:
        """At once."""
        return None if self._running is None else 0

    def advance(self, now: int) -> list[Timed]:
        """The kernel has ended."""
        ended, self._running = self._running, None
        return [] if ended is None else [Timed(ended, 0, ())]


NO_TIME = Launched(Body(0, (), 0, ()), 0, 0, ())


def tally(program: Program, computer: Computer, setting: Setting, recorder: Recorder,
          prompts: Iterable[int]) -> Tally:
    """Walk through a program for one model on one stream under host control, and through prompts of these lengths.

    Raises NotCoveredError for any other program: its time is no sum of its parts.
    """
    if setting.control.where != "host" or setting.concurrent or setting.models:
        raise NotCoveredError("only one stream under host control takes the sum of its parts")
    walk = _Walk(computer, setting, recorder)
    walk.through(program)
    ahead = tuple(prompts)
    kinds = [walk.prompt(length) for length in ahead]
    rows = [*walk.spans, (0, len(walk.units))]
    often = np.zeros((len(rows) + len(ahead), len(walk.kinds)), dtype=np.int64)
    units = np.array(walk.units, dtype=np.int64)
    for row, (begin, end) in enumerate(rows):
        often[row] = np.bincount(units[begin:end], minlength=len(walk.kinds))
    for row, kind in enumerate(kinds, len(rows)):
        if kind is not None:
            often[row, kind] += 1
    return Tally(tuple(walk.works.values()), tuple(walk.kinds), often, recorder.timeline(), ahead)


@dataclass(slots=True)
class _Walk:
    """The state of a walk."""

    computer: Computer
    setting: Setting
    recorder: Recorder
    works: dict[tuple[object, ...], Work] = field(default_factory=dict)
    kinds: dict[Kind, int] = field(default_factory=dict)
    units: list[int] = field(default_factory=list)
    """The kind of every unit, in order."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Units of every sequence, first and behind the last."""
    _places: dict[tuple[object, ...], int] = field(default_factory=dict)
    _passes: dict[Computed, tuple[int, ...]] = field(default_factory=dict)
    _open: list[Pass] = field(default_factory=list)
    _started: dict[int, int] = field(default_factory=dict)
    _of: dict[int, int] = field(default_factory=dict)
    """Sequence of every token in flight."""
    _ended: dict[int, int] = field(default_factory=dict)

    def through(self, program: Program) -> None:
        """Answer every command of the program."""
        shaper = Shaper(self.setting, {TARGET: self.computer.model})
        command = next(program, None)
        while command is not None:
            answer = NOTHING
            if type(command) is Issue:
                self._open.append(command.item)
            elif type(command) is Wait:
                answer = command.passes
                if self._open and self._open[-1].id not in command.passes:
                    raise NotCoveredError("a program that does not wait for its last pass takes no sum of its parts")
                self._wait(shaper)
            elif type(command) is Commit:
                self.recorder.commit(command.token, 0)
                self._ended[self._of.pop(command.token)] = len(self.units)
                shaper.settle((command.token,))
            elif type(command) is Squash:
                self.recorder.squash(command.tokens)
                shaper.settle(command.tokens)
            elif type(command) is Retire and not self._open:
                self.recorder.retire(command.sequence)
                shaper.leave(command.sequence)
                self.spans.append((self._started.pop(command.sequence), self._ended.pop(command.sequence)))
            else:
                raise NotCoveredError(f"a program with {type(command).__name__} takes no sum of its parts")
            try:
                command = program.send(answer)
            except StopIteration:
                break
        if self._open:
            raise NotCoveredError("a program that does not wait for its last pass takes no sum of its parts")

    def _wait(self, shaper: Shaper) -> None:
        """The open passes are a unit, and the host turns around once more."""
        if not self._open:
            kind = self._kind(self.units.pop())
            self.units.append(self._number(kind._replace(waits=kind.waits + 1)))
            return
        shapes = [shaper.shape(item) for item in self._open]
        passes = []
        for item, shape in zip(self._open, shapes, strict=True):
            for row in item.rows:
                self._of[row.token] = row.sequence
                self._started.setdefault(row.sequence, len(self.units))
            computed = self.computer.run(shape)
            passes.append(self._kernels(computed))
            self.recorder.ran(shaper.shown(item, shape), computed, NO_TIME, 0)
        self.recorder.unit()
        self.units.append(self._number(Kind(shaper.mode(shapes), tuple(passes), 1)))
        self._open.clear()

    def prompt(self, length: int) -> int | None:
        """The kind of a prompt's one pass on an empty cache, behind the encoder; None for an empty prompt."""
        model, source = self.computer.model, self.setting.source_tokens
        if not length and not (source and model.encoder_layers):
            return None
        computed = self.computer.once(prefill_shape(length, model.repetitions, source))
        kernels = tuple(self._work(timed.work) for timed in computed.kernels)
        return self._number(Kind(self.setting.launch, (kernels,), 0))

    def _kernels(self, computed: Computed) -> tuple[int, ...]:
        known = self._passes.get(computed)
        if known is None:
            known = self._passes[computed] = tuple(self._work(timed.work) for timed in computed.kernels)
        return known

    def _work(self, work: Work) -> int:
        place = self._places.setdefault(work[1:], len(self.works))
        if place == len(self.works):
            self.works[work[1:]] = work
        return place

    def _kind(self, number: int) -> Kind:
        return next(kind for kind, known in self.kinds.items() if known == number)

    def _number(self, kind: Kind) -> int:
        return self.kinds.setdefault(kind, len(self.kinds))
