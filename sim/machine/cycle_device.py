"""The cycle tier: a kernel's lines through SMs, slices, sides and DRAM channels, one by one.

    time = set-up of the library + the last CTA's end in the simulated memory system

What the cache holds when a pass begins follows from the recency list of tensors: they are read through the cache again,
without time, the oldest first. So a pass's cost depends on its shape and that list alone, as on the other tiers. Within
a pass a class of kernels (equal work on equal tensors, used last equally long ago) is simulated until the mean of its
times moves by less than AGREE, MOST_SAMPLES times at most; the others pass by the cache without time and take the mean.
`exact` simulates every kernel.

Kernels run one after the other, also those of several streams. Kernel-side numbers (grid, bytes in flight, step,
set-up) are the fluid tier's; of the memory system nothing is: neither hit curve nor shares of bandwidth.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dram import Dram
from ..hardware import Gpu
from ..stack import Kernels
from ..units import duration_ps
from .cycle_jobs import Memory, Use, job
from .cycle_l2 import clear
from .cycle_organisation import organisation
from .cycle_parts import (
    CHANNEL_KEPT,
    M_SECTORS,
    O_FULL_SECTORS,
    O_FULL_UNTIL,
    O_SAMPLE_EVERY,
    O_SAMPLES,
    SECTOR,
    SLICE_KEPT,
    Job,
    State,
    idle,
    state,
)
from .cycle_run import pass_by, run
from .load import Loads
from .work import Timed, Work

COUNTERS = {
    "slice": ("hits", "misses", "copies", "merged", "blocked", "written", "queue"),
    "channel": ("activates", "reads", "writes", "refreshes", "queue"),
    "sm": ("sectors",),
}
"""What the samples keep of each part: counted from the start, but for queues. A column command that needs no activate
hits an open row."""
AGREE = 0.002
MOST_SAMPLES = 5
FS = 1000
"""Femtoseconds in a picosecond."""


class Sample(NamedTuple):
    """A class of kernels so far."""

    times: tuple[int, ...]
    missed: tuple[tuple[int, ...], ...]
    """Bytes read from DRAM, by use."""

    @property
    def settled(self) -> bool:
        """Whether another simulation would not change the mean."""
        n = len(self.times)
        if n >= MOST_SAMPLES:
            return True
        last, before = sum(self.times) / n, sum(self.times[:-1]) / max(1, n - 1)
        return n > 1 and abs(last - before) < AGREE * before

    def mean(self) -> tuple[int, tuple[int, ...]]:
        """(femtoseconds, missed bytes by use)."""
        n = len(self.times)
        return sum(self.times) // n, tuple(sum(each) // n for each in zip(*self.missed, strict=True))


class Played(NamedTuple):
    """What a job took."""

    end_fs: int
    asked: int
    """Bytes that came to SMs."""
    missed: int
    """Bytes read from DRAM."""
    missed_by: tuple[int, ...]
    """The same by access."""
    full_fs: int
    """Until when every place had a CTA."""
    full_bytes: int
    """What had come to SMs by then."""


class CycleDevice:
    """One kernel at a time, on a memory system that remembers lines."""

    def __init__(self, gpu: Gpu, dram: Dram, software: Kernels | None = None, exact: bool = False) -> None:
        self._gpu, self._loads, self._exact = gpu, Loads(gpu, software), exact
        self.organisation = organisation(gpu, dram)
        self.memory = Memory()
        self._state: State | None = None
        self._room = (0, 0, 0)
        self._classes: dict[Hashable, Sample] = {}
        self._running: tuple[int, Timed] | None = None
        self._interval = 0

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel of which only its bytes are known: those that miss are nowhere, the others in the cache."""
        hit = max(0, work.issued_bytes - work.hbm_bytes)
        uses = [Use(self.memory.place("elsewhere", work.hbm_bytes), work.hbm_bytes, policy="stream"),
                Use(self.memory.place("here", hit), hit)]
        self.empty()
        self.read(job(work.grid, uses[1:], 0))
        timed, _ = self.kernel(work, uses)
        self._running = (now + timed.duration_ps, timed)

    def next_end(self) -> int | None:
        """When the running kernel ends, if one runs."""
        return None if self._running is None else self._running[0]

    def advance(self, now: int) -> list[Timed]:
        """Let time pass up to `now`."""
        if self._running is None or now < self._running[0]:
            return []
        timed, self._running = self._running[1], None
        return [timed]

    def sample_every(self, interval_fs: int) -> None:
        """Keep the counters of the parts at such intervals of the next jobs; 0: do not. Twice that beyond 512 times."""
        self._interval = interval_fs

    def probed(self) -> dict[str, dict[str, NDArray[np.int64]]]:
        """By part (slice, channel, sm) and counter: [time, part] of the last job; `time_fs` the times."""
        times, _ = self.samples("sm", 0)
        return {part: {name: self.samples(part, number)[1] for number, name in enumerate(names)} | {"time_fs": times}
                for part, names in COUNTERS.items()}

    def samples(self, part: str, counter: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(times in femtoseconds, [time, part] of one counter) of the last job; parts are slice, channel and sm.

        The counters are cycle_parts.SLICE_KEPT, CHANNEL_KEPT and then the queue's depth, and an SM's sectors.
        """
        s = self._state
        assert s is not None
        taken = s.samples[:s.total[O_SAMPLES]]
        slices, channels = len(s.slice) * len(SLICE_KEPT), len(s.channel) * (len(CHANNEL_KEPT) + 1)
        first, width, count = {"slice": (1, len(SLICE_KEPT), len(s.slice)),
                               "channel": (1 + slices, len(CHANNEL_KEPT) + 1, len(s.channel)),
                               "sm": (1 + slices + channels, 1, len(s.sm))}[part]
        return taken[:, 0], taken[:, first + counter:first + width * count:width]

    def empty(self) -> None:
        """Nothing is in the cache."""
        clear(self.organisation.cache)

    def read(self, what: Job) -> None:
        """Have a job's lines pass by the cache, without time."""
        pass_by(self.organisation.cache, what, self.organisation.paths.sms)

    def kernel(self, work: Work, uses: Sequence[Use], kind: Hashable = None) -> tuple[Timed, tuple[int, ...]]:
        """(its time, bytes read from DRAM by use). `kind` names its class beside its work; None: of its own."""
        what = job(work.grid, uses, self._loop_fs(work))
        key = (work[1:], kind)
        known = None if self._exact or kind is None else self._classes.get(key)
        if known is not None and known.settled:
            self.read(what)
            time, missed = known.mean()
        else:
            found = self.played(what)
            time, missed = found.end_fs, found.missed_by
            if kind is not None and not self._exact:
                before = known or Sample((), ())
                self._classes[key] = Sample((*before.times, time), (*before.missed, missed))
        of_use = iter(missed)
        by_use = tuple(next(of_use) if use.size else 0 for use in uses)
        return self._timed(work._replace(hbm_bytes=sum(by_use)), time), by_use

    def played(self, what: Job) -> Played:
        """A job on the cache as it is."""
        s = self._prepared(what)
        paths, timing, _ = self.organisation
        end = run(s, paths, timing, what)
        missed = tuple(int(n) * SECTOR for n in s.missed[:len(what.access)])
        return Played(end, int(s.sm[:, M_SECTORS].sum()) * SECTOR, sum(missed), missed, int(s.total[O_FULL_UNTIL]),
                      int(s.total[O_FULL_SECTORS]) * SECTOR)

    def _prepared(self, what: Job) -> State:
        """Idle parts with room for the job."""
        paths, timing, cache = self.organisation
        places = paths.sms * what.per_sm
        lines = int((what.access[:, 8] // 4 + 2) @ what.access[:, 9]) * what.stages * places
        wanted = (places, places * what.stages, lines)
        if self._state is None or any(a > b for a, b in zip(wanted, self._room, strict=True)):
            self._room = tuple(map(max, wanted, self._room))  # type: ignore[assignment]
            self._state = state(paths, timing, cache, *self._room)
        idle(self._state, paths, timing)
        self._state.total[O_SAMPLE_EVERY] = self._interval
        return self._state

    def _loop_fs(self, work: Work) -> int:
        """A CTA's own time: the library's loop, or the arithmetic on its SM where that takes longer."""
        gpu, grid = self._gpu, work.grid
        loop = int(grid.steps * self._loads.numbers(work.family).step_ps * FS)
        if not work.flop:
            return loop
        each = work.flop / grid.ctas * grid.per_sm
        return max(loop, duration_ps(each, gpu.sm.peak_flop_per_s[work.dtype] / gpu.sm.count) * FS)

    def _timed(self, work: Work, time_fs: int) -> Timed:
        """The kernel's time, by the pipe that had most to do; what is beyond that is latency."""
        gpu, grid, numbers = self._gpu, work.grid, self._loads.numbers(work.family)
        near = gpu.l2.near_latency_ps or 0
        waves = -(-grid.ctas // (gpu.sm.count * grid.per_sm))
        fixed = numbers.fixed_ps + int(grid.joined * numbers.join_ps + (waves - 1) * numbers.wave_ps)
        # The gap between small kernels was measured with one read of the L2 in it, a library's set-up with the way of
        # its results to the L2.
        body = max(1, -(-time_fs // FS) - (self.organisation.paths.wire // FS if numbers.known else near))
        needs = {"hbm": duration_ps(work.hbm_bytes, gpu.hbm.bandwidth_bytes_per_s),
                 "l2": duration_ps(work.issued_bytes, gpu.l2.bandwidth_bytes_per_s),
                 "flop": duration_ps(work.flop, gpu.sm.peak_flop_per_s[work.dtype])}
        pipe = max(needs, key=lambda name: needs[name])
        busy = min(needs[pipe], body)
        parts = {pipe: busy, "latency": fixed + body - busy}
        first = near + (gpu.hbm.miss_ps or 0) if work.family in ("gemm", "gemv") else 0
        return Timed(work, fixed + body, tuple((why, t) for why, t in parts.items() if t), numbers.fixed_ps + first)
