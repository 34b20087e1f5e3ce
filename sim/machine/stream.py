"""A stream of one device: passes one after the other, each kernel when its launch allows.

The rules of the launch modes are launch.py's. A pass that must come behind passes of other streams, or behind a
transfer, is ready when the last of them has ended; from there on its launch costs what it costs behind a pass of its
own stream. At one picosecond ends come before starts, and starts in the order of launching.

The cache is brought up to date pass by pass, in the order in which passes start: a pass finds there all of what one
that started before it will have touched, and nothing of one that starts later.
Ignored: passes that change the cache under each other while both run; other prices of events between streams.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

import simpy
from simpy.events import NORMAL, EventPriority

from ..timeline import Span
from .account import Waits
from .computed import Computed
from .lane import Lane
from .launch import ONE_BY_ONE, Launcher, span_of
from .work import Timed


@dataclass(slots=True, eq=False)
class Unit:
    """Passes that the host gave to a stream at once."""

    mode: str
    """How they were launched."""
    host: int
    """When the host turned to them."""
    begun: bool = False
    """Whether any of them has started."""


@dataclass(slots=True, eq=False)
class Job:
    """A pass on its way: given to the device, started, ended or dropped."""

    number: int
    """The pass's id; -1 for a copy, which is no pass."""
    kernels: int
    compute: Callable[[], tuple[Computed, dict[str, int]]]
    """Its kernels on the cache as it is now, and what the cache holds then; called once, when it starts."""
    needs: tuple[simpy.Event, ...]
    """What must have happened before; their values are their times."""
    over: simpy.Event
    """It has ended, or was dropped."""
    unit: Unit | None = None
    rank: int = 0
    """Its place in the order of launching."""
    host: int = 0
    """When the host turned to it."""
    start: int | None = None
    end: int | None = None
    computed: Computed | None = None
    slowed_ps: int = 0
    """The part of its time that the board's power limit adds, at its end."""
    late: bool = False
    """Whether it was launched behind the end of all sequences, which the host had not seen (player.py)."""
    spans: list[Span] = field(default_factory=list)
    """Its kernels, relative to its start."""
    ran: list[Timed] = field(default_factory=list)
    """The same as they ran."""
    resident: dict[str, int] = field(default_factory=dict)
    """What the cache holds behind it."""

    @property
    def dropped(self) -> bool:
        """Whether it was taken back before it started."""
        return self.over.triggered and self.end is None


class _Start(simpy.Event):
    """The moment at which a kernel starts: behind all that ends at the same picosecond, in the order of ranks."""

    def __init__(self, env: simpy.Environment, delay: int, rank: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, EventPriority(NORMAL + 1 + rank), delay)


class Stream:
    """One stream."""

    def __init__(self, env: simpy.Environment, lane: Lane, launcher: Launcher, track: str) -> None:
        self._env, self._lane, self._launcher, self._track = env, lane, launcher, track
        self._queue = simpy.Store(env)
        self._free = 0
        """When the stream had done everything before the job at its head."""
        self._head: Job | None = None
        self._process = env.process(self._play())

    def put(self, job: Job) -> None:
        """Launch a job behind those given before."""
        self._queue.put(job)

    def drop(self, job: Job) -> None:
        """A job that has not started is not wanted any more; it has been marked so."""
        if self._head is job:
            self._process.interrupt()

    @property
    def _now(self) -> int:
        now: int = self._env.now  # type: ignore[assignment]
        return now

    def _play(self) -> Generator[simpy.Event, Any, None]:
        while True:
            self._head = None
            job: Job = yield self._queue.get()
            if job.dropped:
                continue
            self._head = job
            try:
                waits = yield from self._wait(job)
            except simpy.Interrupt:
                self._free = self._now
                continue
            yield from self._run(job, waits)

    def _wait(self, job: Job) -> Generator[simpy.Event, Any, Waits]:
        """Let time pass up to the job's start; return what it waited for on the way."""
        unit = job.unit
        assert unit is not None
        waiting = [event for event in job.needs if not event.triggered]
        if waiting:
            yield self._env.all_of(waiting)
        needed: int = max([event.value for event in job.needs], default=0)  # type: ignore[type-var, assignment]
        host = job.host if unit.mode in ONE_BY_ONE else unit.host
        ready = max(self._free, needed)
        ahead, lead = self._launcher.begin(unit.mode, max(0, ready - host), unit.begun)
        start = at = host + ahead
        waits = []
        for why, time in lead:  # from the start backwards: what is named first was waited for last
            waits.append((why, at))
            at -= time
        if needed > max(self._free, host):
            waits.append(("wait", needed))
        waits.append(("host", host))
        yield _Start(self._env, start - self._now, job.rank)
        return tuple(reversed(waits))

    def _run(self, job: Job, waits: Waits) -> Generator[simpy.Event, Any, None]:
        """The job's kernels; it can no more be dropped."""
        unit = job.unit
        assert unit is not None
        job.start, unit.begun = self._now, True
        job.computed, job.resident = job.compute()
        pace = self._launcher.pace(unit.mode)
        for index, kernel in enumerate(job.computed.kernels):
            if index:
                waits = pace.follow(self._now, job.host, index)
                yield _Start(self._env, waits[-1][1] - self._now, job.rank)
            timed = yield from self._lane.run(kernel, waits, job.late)
            job.ran.append(timed)
            if self._launcher.keeps_spans:
                job.spans.append(span_of(timed, self._now - timed.duration_ps - job.start, self._track))
        job.slowed_ps = yield from self._lane.slow_down(job.computed, job.late)
        job.end = self._free = self._now
        job.over.succeed(self._now)
