"""Plays programs that use several streams, devices or models, event by event.

The host reads the program's commands, as in player.py. Issues without a Wait or Host between them form one launch unit
for every stream they name; the units are launched in the order of their first passes. What is beyond one stream:

    after, Move    a pass starts when the passes and transfers that it needs have ended (stream.py, links.py)
    Wait(any)      answered with the passes that had ended when the host woke; under host control only, as are:
    Cancel         a pass that has not started is dropped: nothing waits for it any more, no Wait is answered with it
    Host           what was issued is launched first and runs meanwhile
    Compact        a copy in the stream of the sequence's last pass by the target, past the L2

Under lagged and device control the host runs ahead, and what the device decides (a commit) counts from the end of the
passes last waited for. What is recorded is written in the order of the program, each entry when its time is known.
Ignored: the host's price of Cancel, Move and Compact.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import Any

import simpy

from ..hardware import Gpu
from ..kernels.lower import PassShape
from ..program import (
    NOTHING,
    TARGET,
    Cancel,
    Command,
    Commit,
    Compact,
    Host,
    Issue,
    Move,
    Pass,
    Program,
    Retire,
    Squash,
    Wait,
)
from ..timeline import Span, Timeline
from ..units import InputError, NotCoveredError
from .computed import Computed, Computer
from .journal import Journal
from .lane import Lane, Part
from .launch import Launcher
from .links import Links
from .recorder import Recorder
from .setting import Setting, host_work_ps
from .shapes import Shaper
from .stream import Job, Stream, Unit

Steps = Generator[simpy.Event, Any, frozenset[int]]


class StreamsMachine:
    """The simulated GPUs. One instance plays one program."""

    def __init__(self, parts: Sequence[Part], gpu: Gpu, launcher: Launcher, setting: Setting,
                 recorder: Recorder) -> None:
        self._env = env = simpy.Environment()
        self._parts, self._launcher, self._setting, self._recorder = parts, launcher, setting, recorder
        self._journal = Journal(recorder)
        self._lanes = [Lane(env, part, self._journal.account) for part in parts]
        self._links = Links(env, gpu, recorder)
        self._shaper = Shaper(setting, {name: of.model for name, of in parts[0].computers.items()})
        self._streams: dict[tuple[int, int], Stream] = {}
        self._units: dict[tuple[int, int], list[tuple[Job, PassShape | None]]] = {}
        """Issued and not launched, by device and stream."""
        self._jobs: dict[int, Job] = {}
        """By pass. Those that are over are forgotten whenever no sequence is left."""
        self._on: dict[int, tuple[int, int]] = {}
        """Device and stream of a pass."""
        self._issued: list[tuple[Pass, PassShape]] = []
        self._last: list[tuple[Pass, PassShape]] = []
        """Passes that were issued and not launched; those that were launched together last."""
        self._home: dict[int, tuple[int, int]] = {}
        """Device and stream of a sequence's last pass by the target."""
        self._open: deque[list[Job]] = deque()
        """Passes whose decision the host has not read yet (lagged control)."""
        self._launched = 0
        self._basis: Sequence[Job] = ()
        """What the program's decisions rest on, where the device takes them."""
        if setting.launch == "persistent":
            raise NotCoveredError("launch persistent: a persistent kernel has the whole GPU; nothing runs beside it")

    def play(self, program: Program) -> Timeline:
        """Run the program to its end."""
        host = self._env.process(self._host(program))
        self._env.run()
        assert not host.is_alive, "a program names only passes that it has issued, so it cannot wait for ever"
        return self._journal.close()

    def _host(self, program: Program) -> Generator[simpy.Event, Any, None]:
        slow: dict[type, Callable[[Any], Steps]] = {Wait: self._wait, Retire: self._retire, Host: self._work}
        fast: dict[type, Callable[[Any], None]] = {
            Issue: self._issue, Commit: self._commit, Squash: self._squash, Cancel: self._cancel,
            Compact: self._compact, Move: lambda command: self._links.move(command.tokens, command.device),
        }
        try:
            command: Command = next(program)
            while True:
                at_once = fast.get(type(command))
                if at_once is not None:
                    at_once(command)
                    command = program.send(NOTHING)
                else:
                    command = program.send((yield from slow[type(command)](command)))
        except StopIteration:
            yield from self._launch()

    @property
    def _now(self) -> int:
        now: int = self._env.now  # type: ignore[assignment]
        return now

    def _by_host(self, what: str) -> None:
        """Refuse what the device cannot decide."""
        if self._setting.control.where != "host":
            raise NotCoveredError(f"{what} needs control host, not {self._setting.control}")

    def _job(self, number: int) -> Job:
        job = self._jobs.get(number)
        if job is None:
            raise InputError(f"the program names pass {number}, which it has not issued")
        return job

    # Commands that take the host no time

    def _issue(self, command: Issue) -> None:
        item = command.item
        if not 0 <= item.device < len(self._parts):
            raise InputError(f"pass {item.id} is for device {item.device}; there are {len(self._parts)}")
        computer = self._parts[item.device].computers.get(item.model)
        if computer is None:
            known = ", ".join(self._parts[0].computers)
            raise InputError(f"pass {item.id} is of model {item.model!r}; the setting has {known}")
        if item.id in self._jobs:
            raise InputError(f"pass {item.id} is issued twice")
        needs = [self._job(number).over for number in item.after]
        needs += self._links.needs((row.token for row in item.rows), item.device)
        shape, on = self._shaper.shape(item), (item.device, item.stream)
        job = self._put(item.id, on, shape, computer.count(shape), partial(_computed, computer, shape), needs)
        self._jobs[item.id], self._on[item.id] = job, on
        self._issued.append((item, shape))
        self._journal.ran(job, self._shaper.shown(item, shape))
        size = computer.model.activation_bytes(computer.model.d_model)
        for row in item.rows:
            self._links.left(row.token, item.device, job.over, size)
            if item.model == TARGET:
                self._home[row.sequence] = on

    def _put(self, number: int, on: tuple[int, int], shape: PassShape | None, kernels: int,
             compute: Callable[[], tuple[Computed, dict[str, int]]], needs: Iterable[simpy.Event]) -> Job:
        """Add a job to the unit of its stream."""
        job = Job(number, kernels, compute, tuple(dict.fromkeys(needs)), self._env.event())
        assert job.over.callbacks is not None
        job.over.callbacks.append(self._journal.flush)
        self._units.setdefault(on, []).append((job, shape))
        return job

    def _commit(self, command: Commit) -> None:
        self._journal.commit(command.token, self._now, self._basis)
        self._links.drop((command.token,))
        self._shaper.settle((command.token,))

    def _squash(self, command: Squash) -> None:
        self._journal.squash(command.tokens)
        self._links.drop(command.tokens)
        self._shaper.settle(command.tokens)

    def _cancel(self, command: Cancel) -> None:
        self._by_host("Cancel")
        job = self._job(command.id)
        if job.start is not None or job.over.triggered:
            return
        on = self._on[command.id]
        job.over.succeed(self._now)
        if job.unit is not None:
            self._streams[on].drop(job)
            return
        left = self._units[on] = [entry for entry in self._units[on] if entry[0] is not job]
        if not left:
            del self._units[on]

    def _compact(self, command: Compact) -> None:
        """Copy the tokens' keys and values in all layers, behind the sequence's last pass."""
        on = self._home.get(command.sequence)
        if on is None:
            raise InputError(f"Compact: sequence {command.sequence} has had no pass")
        if command.tokens:
            copy = self._parts[on[0]].computers[TARGET].copy(len(command.tokens))
            self._journal.copied(self._put(-1, on, None, len(copy.kernels), lambda: (copy, {}), ()))

    # Commands that take time

    def _launch(self) -> Generator[simpy.Event, Any, None]:
        """Give all units to their streams; the host is busy for as long as its calls take."""
        if self._issued:
            self._last, self._issued = self._issued, []
        while self._units:
            on = next(iter(self._units))
            entries = self._units.pop(on)
            shapes = [shape for _, shape in entries if shape is not None]
            unit = Unit(self._shaper.mode(shapes), self._now)
            stream = self._stream(on)
            host = self._now
            for index, (job, _) in enumerate(entries):
                job.unit, job.host, job.rank = unit, host, self._launched
                self._launched += 1
                host += self._launcher.busy_ps(unit.mode, job.kernels, index > 0)
                stream.put(job)
            self._recorder.unit()
            if host > self._now:
                yield self._env.timeout(host - self._now)

    def _stream(self, on: tuple[int, int]) -> Stream:
        stream = self._streams.get(on)
        if stream is None:
            track = "sm" if on == (0, 0) else f"sm {on[0]}.{on[1]}"
            stream = self._streams[on] = Stream(self._env, self._lanes[on[0]], self._launcher, track)
        return stream

    def _wait(self, command: Wait) -> Steps:
        """Answer a Wait as the control says."""
        yield from self._launch()
        jobs = [self._job(number) for number in sorted(command.passes)]
        control = self._setting.control
        if control.where == "host":
            return (yield from self._wait_on_host(jobs, command.any))
        if command.any and len(jobs) > 1:
            self._by_host("Wait(any=True)")
        self._basis = jobs
        if control.where == "lagged":
            yield from self._read_late(jobs)
        return command.passes

    def _read_late(self, jobs: list[Job]) -> Generator[simpy.Event, Any, None]:
        """Passes were launched; read what was decided N units before them."""
        self._open.append(jobs)
        while len(self._open) > self._setting.control.lag:
            yield from self._all_over(read := self._open.popleft())
            seen = max(job.end or 0 for job in read) + self._setting.stack.host.turnaround_ps
            if seen > self._now:
                yield self._env.timeout(seen - self._now)

    def _overrun(self) -> Generator[simpy.Event, Any, None]:
        """Launch behind the end what a host that lags launches before it sees that end."""
        for _ in range(self._setting.control.lag):
            jobs = []
            for item, shape in ((i._replace(rows=(), exits=()), s._replace(rows=())) for i, s in self._last):
                computer = self._parts[item.device].computers[item.model]
                job = self._put(-1, (item.device, item.stream), shape, computer.count(shape),
                                partial(_computed, computer, shape), ())
                job.late = True
                self._journal.ran(job, self._shaper.shown(item, shape))
                jobs.append(job)
            yield from self._launch()
            yield from self._read_late(jobs)
        self._open.clear()

    def _wait_on_host(self, jobs: list[Job], any_of_them: bool) -> Steps:
        """Sleep until they have ended, then take the turnaround."""
        wanted = [job for job in jobs if not job.dropped]
        if not any_of_them:
            yield from self._all_over(wanted)
        elif wanted and not any(job.over.triggered for job in wanted):
            yield self._env.any_of([job.over for job in wanted])
        woke = self._now
        yield self._env.timeout(self._setting.stack.host.turnaround_ps)
        return frozenset(job.number for job in wanted if job.end is not None and job.end <= woke)

    def _all_over(self, jobs: Iterable[Job]) -> Generator[simpy.Event, Any, None]:
        waiting = [job.over for job in jobs if not job.over.triggered]
        if waiting:
            yield self._env.all_of(waiting)

    def _work(self, command: Host) -> Steps:
        """Work on the processor, at the stack's price."""
        took = host_work_ps(self._setting, command)
        yield from self._launch()
        self._recorder.beside(Span("host", command.kind, self._now, took, "host"))
        yield self._env.timeout(took)
        return NOTHING

    def _retire(self, command: Retire) -> Steps:
        """Free the place; when none is left running, the host sees the end before the next sequence starts."""
        yield from self._launch()
        self._journal.retire(command.sequence)
        self._shaper.leave(command.sequence)
        self._home.pop(command.sequence, None)
        if self._shaper.empty:
            if self._setting.control.where == "device":
                yield from self._all_over(self._jobs.values())
                yield self._env.timeout(self._setting.stack.host.turnaround_ps)
            yield from self._overrun()
            self._forget()
        return NOTHING

    def _forget(self) -> None:
        """Let go of what has ended."""
        self._jobs = {number: job for number, job in self._jobs.items() if not job.over.triggered}
        self._on = {number: self._on[number] for number in self._jobs}
        self._links.forget()


def _computed(computer: Computer, shape: PassShape) -> tuple[Computed, dict[str, int]]:
    """The pass run now, and what the cache holds behind it."""
    return computer.run(shape), computer.resident()
