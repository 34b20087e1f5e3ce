"""The fluid tier: CTAs in waves, alike CTAs as one flow, flows sharing L2, HBM and tensor cores max-min.

    kernel:  set-up | wait for SMs | latency of the first bytes | wave 1 | wave 2 | ... | last wave (the tail)

A kernel's CTAs take the SM places that are free, oldest kernel first; the rest follow in waves. In a wave every CTA
walks through its steps. A step needs its bytes, which come at the flow's share of the pipes, and the time s of its own
loop, whatever the bytes (a chain of barrier, multiply, release). The next bytes are fetched meanwhile, but when a CTA's
bytes arrive varies: with exponential times of mean mu the slower of the two takes

    E[max(s, X)] = s + mu exp(-s / mu)

so a kernel far from one limit pays for the other only where they are near. A CTA keeps only so many bytes in flight:
its rate is at most that over the mean latency of its bytes (Little), and a pipe that is full serves kernels by what
they have in flight. A kernel's loop leaves the others what it cannot take. In the limit of no latency and no loop time
a kernel takes its bytes over the rate, up to a picosecond a wave.

Later waves pay no latency: their first bytes are asked for while the wave before drains. The gap between small kernels
was measured with kernels that read the L2 once; kernels without numbers of their own do not pay that again.
Ignored: imbalance between CTAs of one kernel, power, the order of CTAs, banks and sides of the memories.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from ..hardware import Gpu
from ..stack import Kernels, of_generation
from ..units import duration_ps
from .flows import Flow, max_min
from .work import Timed, Work

PS = 1e12
PIPES = ("hbm", "l2", "flop")


class Software(NamedTuple):
    """The stack's times for kernels of one family on this GPU."""

    fixed_ps: int
    step_ps: float


class _Load(NamedTuple):
    """What a kernel asks of the device, counted in bytes, or in flop where it has none."""

    amount: float
    """Of one CTA."""
    uses: tuple[float, ...]
    """Of each pipe, per unit of the amount."""
    little: float
    """Most that the bytes which a CTA keeps in flight allow it, per second."""
    one_sm: float
    """Most that one SM's tensor cores can do, per second."""
    loop: float
    """Most that a CTA's own loop allows it, per second."""
    fixed_ps: int
    latency_ps: int
    """From the first request to the first bytes."""


@dataclass(slots=True)
class _Kernel:
    """A kernel on the device."""

    work: Work
    load: _Load
    begin: int
    idle_from: int
    """Since when it has no CTA on an SM; at first, the end of its set-up."""
    unplaced: int
    """CTAs that have not had a place yet."""
    placed: int = 0
    """CTAs on SMs now."""
    parts: dict[str, float] = field(default_factory=dict)
    """Picoseconds by what held it."""


@dataclass(slots=True)
class _Wave:
    """CTAs of one kernel that started together."""

    kernel: _Kernel
    ctas: int
    flow: Flow
    loop: float
    left: float
    """What all its CTAs together still have to take."""
    event: int
    """The arrival of the first bytes, then the wave's end."""
    rate: float = 0.0
    """Per second; 0 before the first bytes."""
    moving: float = 0.0
    """Fraction of the time in which it takes bytes rather than waits for its own loop."""
    pipe: str = "latency"


class FluidDevice:
    """Kernels that run at the same time share SMs and pipes."""

    def __init__(self, gpu: Gpu, software: Kernels | None = None) -> None:
        self._gpu = gpu
        self._software = {} if software is None else _times(gpu, software)
        self._widths = (gpu.hbm.bandwidth_bytes_per_s * gpu.hbm.read_fraction, gpu.l2.bandwidth_bytes_per_s, 1.0)
        self._now = 0
        self._free = float(gpu.sm.count)
        """SMs without a CTA."""
        self._setting_up: list[_Kernel] = []
        self._queue: list[_Kernel] = []
        """Kernels with CTAs that wait for a place."""
        self._waves: list[_Wave] = []
        self._end: int | None = None
        """The next end of a kernel, where it is known."""
        self._before: tuple[int, float, list[_Kernel], list[_Kernel], list[_Wave]] | None = None
        """The state before the look ahead to that end, where it passed events."""

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel. An idle device starts at any time."""
        if self._waves or self._queue or self._setting_up:
            self._back_to(now)
        self._now, self._end = now, None
        load = self._load(work)
        kernel = _Kernel(work, load, now, now + load.fixed_ps, work.grid.ctas)
        if load.fixed_ps:
            self._setting_up.append(kernel)
        else:
            self._queue.append(kernel)
            self._place()

    def next_end(self) -> int | None:
        """When the next kernel ends if nothing else starts."""
        if self._end is None and (self._waves or self._queue or self._setting_up):
            while not self._ends_at(event := self._next_event()):
                if self._before is None:
                    self._before = self._copy()
                self._step(event)
            self._end = event
        return self._end

    def advance(self, now: int) -> list[Timed]:
        """Let time pass; return the kernels that ended."""
        ended: list[Timed] = []
        while (end := self.next_end()) is not None and end <= now:
            self._before = self._end = None
            ended += [self._timed(kernel) for kernel in self._step(end)]
        return ended

    def rates(self) -> tuple[float, ...]:
        """What goes through HBM and L2, in bytes per second, and the fraction of the tensor cores in use.

        Since the last event up to the one that `next_end` or `advance` has looked ahead to.
        """
        return tuple(sum(w.rate * w.flow.uses[pipe] for w in self._waves) for pipe in range(len(PIPES)))

    def _next_event(self) -> int:
        """When a set-up ends, the first bytes arrive or a wave ends."""
        event = min([wave.event for wave in self._waves], default=None)
        if self._setting_up:
            ready = min([kernel.idle_from for kernel in self._setting_up])
            event = ready if event is None else min(event, ready)
        assert event is not None
        return event

    def _ends_at(self, event: int) -> bool:
        """Whether a kernel ends at the next event."""
        ending = [w.kernel for w in self._waves if w.event == event and w.rate and not w.kernel.unplaced]
        return any(w.placed == sum(v.ctas for v in self._waves if v.kernel is w and v.event == event) for w in ending)

    def _step(self, event: int) -> list[_Kernel]:
        """Go to the next event; return the kernels that end."""
        self._pass_time(event)
        ended = []
        for wave in [w for w in self._waves if w.event == event]:
            if not wave.rate:
                continue
            self._waves.remove(wave)
            kernel = wave.kernel
            kernel.placed -= wave.ctas
            self._free += wave.ctas / kernel.work.grid.per_sm
            if not kernel.placed:
                kernel.idle_from = event
                if not kernel.unplaced:
                    ended.append(kernel)
        for kernel in [k for k in self._setting_up if k.idle_from <= event]:
            self._setting_up.remove(kernel)
            self._queue.append(kernel)
        if not self._waves:
            self._free = float(self._gpu.sm.count)
        self._place()
        return ended

    def _pass_time(self, now: int) -> None:
        """Move the flows to `now`; no event lies between."""
        passed = now - self._now
        for wave in self._waves:
            if wave.rate:
                wave.left -= wave.rate * passed / PS
                kernel = wave.kernel
                held = passed * wave.moving * wave.ctas / kernel.placed
                kernel.parts[wave.pipe] = kernel.parts.get(wave.pipe, 0.0) + held
        self._now = now

    def _place(self) -> None:
        """Give free places to CTAs that wait and divide the pipes anew."""
        now = self._now
        for kernel in tuple(self._queue):
            grid, load = kernel.work.grid, kernel.load
            ctas = min(kernel.unplaced, int(self._free * grid.per_sm + 1e-9))
            if not ctas:
                break
            first = kernel.unplaced == grid.ctas
            if not kernel.placed:
                kernel.parts["wait"] = kernel.parts.get("wait", 0.0) + now - kernel.idle_from
            kernel.unplaced -= ctas
            kernel.placed += ctas
            self._free -= ctas / grid.per_sm
            limit = min(ctas * load.little, min(ctas, self._gpu.sm.count) * load.one_sm)
            flow = Flow(float(ctas * grid.inflight_bytes), limit, load.uses)
            self._waves.append(_Wave(kernel, ctas, flow, ctas * load.loop, ctas * load.amount,
                                     now + load.latency_ps if first else now))
            if not kernel.unplaced:
                self._queue.remove(kernel)
        self._divide()

    def _divide(self) -> None:
        """Divide the pipes among the waves whose bytes flow."""
        flowing = [wave for wave in self._waves if wave.rate or wave.event <= self._now]
        if not flowing:
            return
        shares = self._shares(flowing)
        for wave, share in zip(flowing, shares, strict=True):
            rate = with_loop(share, wave.loop)
            if rate != wave.rate:
                wave.rate, wave.moving, wave.pipe = rate, rate / share, self._held_by(wave.flow, share)
                wave.event = self._now + duration_ps(max(wave.left, 0.0), rate)

    def _shares(self, waves: list[_Wave]) -> list[float]:
        """What the pipes would give each wave if its own loop did not hold it, while the others' loops do."""
        flows = [wave.flow for wave in waves]
        if len(flows) == 1:
            return max_min(flows, self._widths)
        held = [wave.flow._replace(limit=min(wave.flow.limit, wave.loop)) for wave in waves]
        shares = max_min(held, self._widths)
        for i, wave in enumerate(waves):
            if shares[i] >= wave.loop:
                shares[i] = max_min([*held[:i], flows[i], *held[i + 1:]], self._widths)[i]
        return shares

    def _held_by(self, flow: Flow, rate: float) -> str:
        """The pipe that a flow at this rate fills most, or its own bytes in flight."""
        used = [use / width for use, width in zip(flow.uses, self._widths, strict=True)]
        pipe = PIPES[used.index(max(used))]
        return "latency" if pipe != "flop" and rate >= flow.limit * (1 - 1e-9) else pipe
