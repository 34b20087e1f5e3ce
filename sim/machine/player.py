"""Plays a program on the simulated GPU: host, launch units, device, and what is recorded of them.

The host reads the program's commands. Issues without a Wait between them form a launch unit: one graph launch, or one
stretch of single launches. At a Wait the unit goes to the device; what happens then is the control:

    host      the device ends, 4 bytes a row are copied, the host synchronises and decides (turnaround), then launches
    lagged:N  the GPU takes the decision; the host launches on and reads what was decided N units later
    device    the GPU takes the decision; the host only launches

Under lagged and device control the rows stand in fixed slots: every pass runs at full width, empty slots included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from ..kernels.lower import PassShape, RowShape
from ..model import Model
from ..program import NOTHING, Commit, Issue, Pass, Program, Retire, Squash, Wait
from ..stack import Control, Stack
from ..timeline import Timeline
from ..units import NotCoveredError
from .computed import Computer
from .launch import Launcher
from .recorder import Recorder, Shown


@dataclass(frozen=True, slots=True)
class Setting:
    """How the machine is driven."""

    stack: Stack
    control: Control
    launch: str
    slots: int | None
    """Rows of the schedule's device form, per sequence; None under host control."""
    exits: frozenset[int]
    places: int = 1
    source_tokens: int = 0


class SimMachine:
    """The simulated GPU. One instance plays one program."""

    def __init__(self, model: Model, computer: Computer, launcher: Launcher, setting: Setting,
                 recorder: Recorder) -> None:
        self._model = model
        self._computer, self._launcher, self._setting, self._recorder = computer, launcher, setting, recorder
        self._env = simpy.Environment()
        self._unit: list[Pass] = []
        self._ends: dict[int, int] = {}
        self._free = 0
        """When the device has done everything it was given."""
        self._open: deque[int] = deque()
        """Ends of units whose decision the host has not read yet (lagged control)."""
        self._place: dict[int, int] = {}
        self._vacant = list(range(setting.places))
        self._block = setting.stack.kernels.attention.block
        self._captures = setting.launch.startswith("graph")

    def play(self, program: Program) -> Timeline:
        """Run the program to its end."""
        self._env.process(self._host(program))
        self._env.run()
        return self._recorder.timeline()

    def _host(self, program: Program) -> Generator[simpy.Event, Any, None]:
        answer = NOTHING
        try:
            command = next(program)
            while True:
                kind = type(command)
                answer = NOTHING
                if kind is Issue:
                    self._unit.append(command.item)  # type: ignore[union-attr]
                elif kind is Wait:
                    yield from self._launch()
                    answer = yield from self._wait(command)  # type: ignore[arg-type]
                elif kind is Commit:
                    self._recorder.commit(command.token, self._decided())  # type: ignore[union-attr]
                elif kind is Squash:
                    self._recorder.squash(command.tokens)  # type: ignore[union-attr]
                elif kind is Retire:
                    yield from self._retire(command.sequence)  # type: ignore[union-attr]
                else:
                    raise NotCoveredError(f"this machine does not play {kind.__name__} yet")
                command = program.send(answer)
        except StopIteration:
            yield from self._launch()

    @property
    def _now(self) -> int:
        """The host's time in picoseconds; simpy would also take fractions, which never arise here."""
        now: int = self._env.now  # type: ignore[assignment]
        return now

    def _decided(self) -> int:
        """When what the program knows now was known: to the host, or on the device."""
        return self._now if self._setting.control.where == "host" else self._free

    def _wait(self, command: Wait) -> Generator[simpy.Event, Any, frozenset[int]]:
        """Answer a Wait as the control says; every pass before it has been given to the device."""
        control, turnaround = self._setting.control, self._setting.stack.host.turnaround_ps
        end = max(self._ends.pop(number) for number in command.passes)
        if control.where == "host":
            if end > self._now:
                yield self._env.timeout(end - self._now)
            yield self._env.timeout(turnaround)
            self._recorder.spend("host", self._now - self._free)
            self._free = self._now
        elif control.where == "lagged":
            self._open.append(end)
            while len(self._open) > control.lag:
                read = self._open.popleft() + turnaround
                if read > self._now:
                    yield self._env.timeout(read - self._now)
        return command.passes

    def _retire(self, sequence: int) -> Generator[simpy.Event, Any, None]:
        """Free the place; when none is left running, host and device meet before the next sequence starts."""
        yield from self._launch()
        self._recorder.retire(sequence)
        self._vacant.append(self._place.pop(sequence))
        self._vacant.sort(reverse=True)
        if not self._place and self._setting.control.where != "host":
            meet = max(self._free, self._now) + self._setting.stack.host.turnaround_ps
            yield self._env.timeout(meet - self._now)
            self._free = self._now
            self._open.clear()

    def _launch(self) -> Generator[simpy.Event, Any, None]:
        """Give the unit to the device; the host is busy for as long as its calls take."""
        if not self._unit:
            return
        unit, self._unit = self._unit, []
        shapes = [self._shape(item) for item in unit]
        mode = self._mode(shapes)
        host = self._now
        idle = host - self._free
        if idle > 0:
            self._recorder.spend("host", idle)
            self._free = host
        for index, (item, shape) in enumerate(zip(unit, shapes, strict=True)):
            computed = self._computer.run(shape)
            launched = self._launcher.launch(mode, computed, self._free - host, index > 0)
            self._recorder.ran(self._shown(item, shape), computed, launched, host)
            self._free = host + launched.end_ps
            self._ends[item.id] = self._free
            host += launched.host_ps
        self._recorder.unit()
        if host > self._now:
            yield self._env.timeout(host - self._now)

    def _mode(self, shapes: list[PassShape]) -> str:
        """The launch mode of a unit: eager where a pass is wider than any captured graph."""
        widths = self._setting.stack.widths
        if self._captures and widths and max(s.width for s in shapes) > widths[-1]:
            return "eager"
        return self._setting.launch

    def _width(self, rows: int) -> int:
        """Rows that a pass of so many runs with: the next captured width."""
        widths = self._setting.stack.widths
        if not self._captures or not widths:
            return rows
        return next((w for w in widths if w >= rows), rows)

    def _shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on."""
        if item.model != "target" or item.device or item.stream or item.after:
            raise NotCoveredError("this machine runs one model on one stream of one device")
        setting, block = self._setting, self._block
        exits = item.exits
        rows = []
        entering = 0
        for token, sequence, position, depth, _, _ in item.rows:
            place = self._place.get(sequence)
            if place is None:
                place = self._place[sequence] = self._vacant.pop()
            entering += depth == 0
            rows.append(RowShape(place, depth, -(-(position + 1) // block) * block, token in exits))
        heads, width = len(exits), len(rows)
        if setting.slots is not None:
            width = setting.slots * setting.places
            entering = setting.places if setting.slots > 1 else entering
            heads = self._fixed_heads(item) * setting.places
        width = self._width(width)
        return PassShape(tuple(rows), width, entering, heads, item.repetitions, setting.source_tokens)

    def _fixed_heads(self, item: Pass) -> int:
        """Slots per sequence whose head is read whether they hold a row or not."""
        if self._setting.slots == 1:
            return 1 if item.exits else 0
        return min(len(self._setting.exits), self._setting.slots or 0)

    def _shown(self, item: Pass, shape: PassShape) -> Shown:
        """What the recorder keeps of a pass beside its cost."""
        fixed = self._setting.slots
        idle = 0 if fixed is None else fixed * self._setting.places - len(item.rows)
        return Shown(item, shape, idle, shape.width - len(item.rows) - idle)


