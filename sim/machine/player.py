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
from collections.abc import Callable
from typing import Any

from ..kernels.lower import PassShape
from ..program import NOTHING, TARGET, Commit, Host, Issue, Pass, Program, Retire, Squash, Wait
from ..timeline import Span, Timeline
from ..units import NotCoveredError
from .computed import Computer
from .launch import Launcher
from .recorder import Recorder
from .setting import Setting, host_work_ps
from .shapes import Shaper

__all__ = ["Setting", "SimMachine"]

ALONE = "is not for one model on one stream of one device; Setting(concurrent=True) plays it"


class SimMachine:
    """The simulated GPU: one model on one stream. One instance plays one program."""

    def __init__(self, computer: Computer, launcher: Launcher, setting: Setting, recorder: Recorder) -> None:
        self._computer, self._launcher, self._setting, self._recorder = computer, launcher, setting, recorder
        self._now = 0
        """The host's time in picoseconds."""
        self._free = 0
        """When the device has done everything it was given."""
        self._unit: list[Pass] = []
        self._ends: dict[int, int] = {}
        self._open: deque[int] = deque()
        """Ends of units whose decision the host has not read yet (lagged control)."""
        self._shaper = Shaper(setting, (TARGET,) if computer.model.coda else ())

    def play(self, program: Program) -> Timeline:
        """Run the program to its end."""
        deeds: dict[type, Callable[[Any], frozenset[int] | None]] = {
            Wait: self._wait, Retire: self._retire, Host: self._work,
            Commit: self._commit, Squash: self._squash,
        }
        try:
            command = next(program)
            while True:
                if type(command) is Issue:
                    self._unit.append(command.item)
                    command = program.send(NOTHING)
                    continue
                deed = deeds.get(type(command))
                if deed is None:
                    raise NotCoveredError(f"{type(command).__name__} {ALONE}")
                command = program.send(deed(command) or NOTHING)
        except StopIteration:
            self._launch()
        return self._recorder.timeline()

    def _commit(self, command: Commit) -> None:
        """The token is text from when that was known: to the host, or on the device."""
        decided = self._now if self._setting.control.where == "host" else self._free
        self._recorder.commit(command.token, decided)
        self._shaper.settle((command.token,))

    def _squash(self, command: Squash) -> None:
        self._recorder.squash(command.tokens)
        self._shaper.settle(command.tokens)

    def _wait(self, command: Wait) -> frozenset[int]:
        """Answer a Wait as the control says; every pass before it is given to the device first."""
        if command.any and len(command.passes) > 1:
            raise NotCoveredError(f"Wait(any=True) {ALONE}")
        self._launch()
        control, turnaround = self._setting.control, self._setting.stack.host.turnaround_ps
        end = max([self._ends.pop(number) for number in command.passes])
        if control.where == "host":
            self._now = max(self._now, end) + turnaround
            self._recorder.spend("host", self._free, self._now)
            self._free = self._now
        elif control.where == "lagged":
            self._open.append(end)
            while len(self._open) > control.lag:
                self._now = max(self._now, self._open.popleft() + turnaround)
        return command.passes

    def _work(self, command: Host) -> None:
        """Work on the processor, at the stack's price; what was issued is launched first and runs meanwhile."""
        price = host_work_ps(self._setting, command)
        self._launch()
        self._recorder.beside(Span("host", command.kind, self._now, price, "host"))
        self._now += price

    def _retire(self, command: Retire) -> None:
        """Free the place; when none is left running, host and device meet before the next sequence starts."""
        self._launch()
        self._recorder.retire(command.sequence)
        self._shaper.leave(command.sequence)
        if self._shaper.empty and self._setting.control.where != "host":
            self._free = self._now = max(self._free, self._now) + self._setting.stack.host.turnaround_ps
            self._open.clear()

    def _launch(self) -> None:
        """Give the unit to the device; the host is busy for as long as its calls take."""
        if not self._unit:
            return
        unit, self._unit = self._unit, []
        shapes = [self._shape(item) for item in unit]
        mode = self._shaper.mode(shapes)
        host = self._now
        if host > self._free:
            self._recorder.spend("host", self._free, host)
            self._free = host
        for index, (item, shape) in enumerate(zip(unit, shapes, strict=True)):
            computed = self._computer.run(shape)
            launched = self._launcher.launch(mode, computed, self._free - host, index > 0)
            self._recorder.ran(self._shaper.shown(item, shape), computed, launched, host, self._computer.resident)
            self._free = host + launched.end_ps
            self._ends[item.id] = self._free
            host += launched.host_ps
        self._recorder.unit()
        self._now = host

    def _shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on; refused where they would run beside others."""
        if item.model != TARGET or item.device or item.stream or item.after:
            raise NotCoveredError(f"pass {item.id} (model {item.model}, device {item.device}, stream {item.stream}, "
                                  f"after {len(item.after)} passes) {ALONE}")
        return self._shaper.shape(item)
