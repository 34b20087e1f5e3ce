"""Plays a program on the simulated GPU: host, launch units, device, and what is recorded of them.

The host reads the program's commands. Issues without a Wait between them form a launch unit: one graph launch, or one
stretch of single launches. At a Wait the unit goes to the device; what happens then is the control:

    host      the device ends, 4 bytes a row are copied, the host synchronises and decides (turnaround), then launches
    lagged:N  the GPU takes the decision; the host launches on and reads what was decided N units later. So it also
              launches N units behind the end of a text before it sees that end; the next text waits behind them
    device    the GPU takes the decision; the host only launches

Units are put into time as a whole, which is fast; several streams or devices are played event by event (streams.py),
with the same picoseconds for a program that both can play.
Ignored: in a batch, the late refill of a place whose neighbours go on; that a host knows an end by length beforehand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from ..kernels.lower import PassShape
from ..program import NOTHING, Commit, Host, Issue, Pass, Program, Retire, Squash, Wait
from ..timeline import Span, Timeline
from ..units import InputError, NotCoveredError
from .computed import Computer
from .launch import Launcher
from .power import Governor, clocked
from .recorder import Recorder
from .setting import Setting, host_work_ps
from .shapes import Shaper

__all__ = ["Setting", "SimMachine"]

Unit = list[tuple[Pass, PassShape]]

ALONE = "is not for one stream of one device; Setting(concurrent=True) plays it"


class SimMachine:
    """The simulated GPU: one stream. One instance plays one program; `computers` are by model and share a cache."""

    def __init__(self, computers: Mapping[str, Computer], launcher: Launcher, governor: Governor, setting: Setting,
                 recorder: Recorder) -> None:
        self._computers, self._launcher, self._governor = computers, launcher, governor
        self._setting, self._recorder = setting, recorder
        self._now = 0
        """The host's time in picoseconds."""
        self._free = 0
        """When the device has done everything it was given."""
        self._unit: list[Pass] = []
        self._last: Unit = []
        """The last unit that was launched."""
        self._ends: dict[int, int] = {}
        self._open: deque[int] = deque()
        """Ends of units whose decision the host has not read yet (lagged control)."""
        self._shaper = Shaper(setting, {name: of.model for name, of in computers.items()})

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
        # What another sequence of the batch has waited for is over.
        end = max([self._ends.pop(number, 0) for number in command.passes])
        if control.where == "host":
            self._now = max(self._now, end) + turnaround
            # In a batch the device may still run what others issued behind the pass.
            if self._now > self._free:
                self._recorder.spend("host", self._free, self._now)
                self._free = self._now
        elif control.where == "lagged":
            self._read_late(end)
        return command.passes

    def _read_late(self, end: int) -> None:
        """A unit ends then; read what was decided N units before it."""
        self._open.append(end)
        while len(self._open) > self._setting.control.lag:
            self._now = max(self._now, self._open.popleft() + self._setting.stack.host.turnaround_ps)

    def _work(self, command: Host) -> None:
        """Work on the processor, at the stack's price; what was issued is launched first and runs meanwhile."""
        price = host_work_ps(self._setting, command)
        self._launch()
        self._recorder.beside(Span("host", command.kind, self._now, price, "host"))
        self._now += price

    def _retire(self, command: Retire) -> None:
        """Free the place; when none is left running, the host sees the end before the next sequence starts."""
        self._launch()
        self._recorder.retire(command.sequence)
        self._shaper.leave(command.sequence)
        control = self._setting.control
        if not self._shaper.empty or control.where == "host":
            return
        if control.where == "device":
            self._free = self._now = max(self._free, self._now) + self._setting.stack.host.turnaround_ps
        empty = [(item._replace(rows=(), exits=()), shape._replace(rows=())) for item, shape in self._last]
        for _ in range(control.lag):
            self._give(empty, late=True)
            self._read_late(self._free)
        self._open.clear()

    def _launch(self) -> None:
        """Give the unit to the device."""
        if self._unit:
            unit, self._unit = self._unit, []
            self._give([(item, self._shape(item)) for item in unit])

    def _give(self, unit: Unit, late: bool = False) -> None:
        """Launch passes; the host is busy for as long as its calls take."""
        recorder, governor = self._recorder, self._governor
        mode = self._shaper.mode([shape for _, shape in unit])
        host = self._now
        idle = host - self._free
        if idle > 0:
            recorder.spend("host", self._free, host)
            self._free = host
        begin, behind = host, 0 if recorder.decoding else -idle
        for index, (item, shape) in enumerate(unit):
            computer = self._computers[item.model]
            computed = computer.run(shape)
            launched = self._launcher.launch(mode, computed, self._free - host, index > 0)
            if late:
                launched = launched.unbooked()
            recorder.ran(self._shaper.shown(item, shape), computed, launched, host, computer.resident, late)
            end = host + launched.end_ps
            added = governor.added_ps(end, computed.energy_j)
            if added:
                end += added
                recorder.slowed(end, added, clocked((p for k in computed.kernels for p in k.parts), added))
            self._free = self._ends[item.id] = end
            host += launched.host_ps
        if behind > 0:
            recorder.spend("wait", begin, begin + behind)
        recorder.unit()
        self._now = host
        self._last = unit

    def _shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on; refused where they would run beside others."""
        if item.device or item.stream or item.after:
            raise NotCoveredError(f"pass {item.id} (device {item.device}, stream {item.stream}, "
                                  f"after {len(item.after)} passes) {ALONE}")
        if item.model not in self._computers:
            known = ", ".join(self._computers)
            raise InputError(f"pass {item.id} is of model {item.model!r}; the setting has {known}")
        return self._shaper.shape(item)
