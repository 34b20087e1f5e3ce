"""Plays a program on the simulated GPU: host, launch units, device, and what is recorded of them.

The host reads the program's commands. Issues without a Wait between them form a launch unit: one graph launch, or one
stretch of single launches. At a Wait the unit goes to the device; what happens then is the control:

    host      the device ends, 4 bytes a row are copied, the host synchronises and decides (turnaround), then launches
    lagged:N  the GPU takes the decision; the host launches on and reads what was decided N units later
    device    the GPU takes the decision; the host only launches

Units are put into time as a whole, which is fast; several streams, devices or models are played event by event
(streams.py), with the same picoseconds for a program that both can play.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

import simpy

from ..kernels.lower import PassShape
from ..program import NOTHING, Commit, Issue, Pass, Program, Retire, Squash, Wait
from ..timeline import Timeline
from ..units import NotCoveredError
from .computed import Computer
from .launch import Launcher
from .recorder import Recorder
from .setting import TARGET, Setting
from .shapes import Shaper

__all__ = ["Setting", "SimMachine"]

ALONE = "is not for one model on one stream of one device; Setting(concurrent=True) plays it"


class SimMachine:
    """The simulated GPU: one model on one stream. One instance plays one program."""

    def __init__(self, computer: Computer, launcher: Launcher, setting: Setting, recorder: Recorder) -> None:
        self._computer, self._launcher, self._setting, self._recorder = computer, launcher, setting, recorder
        self._env = simpy.Environment()
        self._unit: list[Pass] = []
        self._ends: dict[int, int] = {}
        self._free = 0
        """When the device has done everything it was given."""
        self._open: deque[int] = deque()
        """Ends of units whose decision the host has not read yet (lagged control)."""
        self._shaper = Shaper(setting)

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
                    if command.any and len(command.passes) > 1:  # type: ignore[union-attr]
                        raise NotCoveredError(f"Wait(any=True) {ALONE}")
                    yield from self._launch()
                    answer = yield from self._wait(command)  # type: ignore[arg-type]
                elif kind is Commit:
                    self._recorder.commit(command.token, self._decided())  # type: ignore[union-attr]
                elif kind is Squash:
                    self._recorder.squash(command.tokens)  # type: ignore[union-attr]
                elif kind is Retire:
                    yield from self._retire(command.sequence)  # type: ignore[union-attr]
                else:
                    raise NotCoveredError(f"{kind.__name__} {ALONE}")
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
        self._shaper.leave(sequence)
        if self._shaper.empty and self._setting.control.where != "host":
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
        mode = self._shaper.mode(shapes)
        host = self._now
        idle = host - self._free
        if idle > 0:
            self._recorder.spend("host", idle)
            self._free = host
        for index, (item, shape) in enumerate(zip(unit, shapes, strict=True)):
            computed = self._computer.run(shape)
            launched = self._launcher.launch(mode, computed, self._free - host, index > 0)
            self._recorder.ran(self._shaper.shown(item, shape), computed, launched, host)
            self._free = host + launched.end_ps
            self._ends[item.id] = self._free
            host += launched.host_ps
        self._recorder.unit()
        if host > self._now:
            yield self._env.timeout(host - self._now)

    def _shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on; refused where they would run beside others."""
        if item.model != TARGET or item.device or item.stream or item.after:
            raise NotCoveredError(f"pass {item.id} (model {item.model}, device {item.device}, stream {item.stream}, "
                                  f"after {len(item.after)} passes) {ALONE}")
        return self._shaper.shape(item)
