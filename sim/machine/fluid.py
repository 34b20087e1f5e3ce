"""The fluid tier: CTAs in waves, alike CTAs as one flow, flows sharing L2, HBM and tensor cores max-min.

    kernel:  fixed | latency of the first bytes | wave 1 | wave 2 | ... | last wave (the tail)

A kernel's CTAs take the SM places that are free; the rest follow in waves. In a wave every CTA walks through its steps.
A step needs its bytes, which come at the flow's share of the pipes, and the time s of its own loop, whatever the bytes
(a chain of barrier, multiply, release). The next bytes are fetched meanwhile, but when a CTA's bytes arrive varies: with
exponential times of mean mu the slower of the two takes

    E[max(s, X)] = s + mu exp(-s / mu)

so a kernel far from one limit pays for the other only where they are near. A CTA keeps only so many bytes in flight:
its rate is at most that over the memory's latency (Little). In the limit of no latency and no loop time a kernel takes
its bytes over the rate, up to a picosecond a wave.
Ignored: imbalance between CTAs of one kernel, power, the order of CTAs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..hardware import Gpu
from ..stack import Kernels, of_generation
from .flows import Flow, max_min
from .work import Timed, Work

PS = 1e12
PIPES = ("hbm", "l2", "flop")


@dataclass(frozen=True, slots=True)
class Software:
    """The stack's times for kernels of one family on this GPU."""

    fixed_ps: int = 0
    step_ps: float = 0.0


@dataclass(slots=True)
class _Running:
    """A kernel on the device."""

    work: Work
    begin: int
    software: Software
    until: int
    """End of the set-up and the first latency."""
    waiting: int
    """CTAs that have not started."""
    active: int = 0
    left: float = 0.0
    """Bytes (or flop, for a kernel without bytes) that the wave still has to take."""
    rate: float = 0.0
    share: float = 0.0
    """Its share of the pipes: the rate were it not for its own loop."""
    pipe: str = "latency"
    time_in: dict[str, float] = field(default_factory=dict)
    """Picoseconds of waves by what held them."""


class FluidDevice:
    """Kernels that run at the same time share SMs and pipes."""

    def __init__(self, gpu: Gpu, software: Kernels | None = None) -> None:
        self._gpu = gpu
        self._software = {} if software is None else _times(gpu, software)
        self._widths = (gpu.hbm.bandwidth_bytes_per_s * gpu.hbm.read_fraction, gpu.l2.bandwidth_bytes_per_s)
        self._running: list[_Running] = []
        self._free = float(gpu.sm.count)
        self._now = 0

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel. An idle device starts at any time."""
        if self._running:
            self._pass_time(now)
        self._now = now
        software = self._software.get(work.family, Software())
        latency = self._latency(work)
        self._running.append(_Running(work, now, software, now + software.fixed_ps + latency, work.grid.ctas))
        self._share()

    def next_end(self) -> int | None:
        """When the next kernel ends if nothing else starts."""
        if not self._running:
            return None
        ahead = FluidDevice.__new__(FluidDevice)
        ahead._gpu, ahead._software, ahead._widths = self._gpu, self._software, self._widths
        ahead._now, ahead._free = self._now, self._free
        ahead._running = [_copy(kernel) for kernel in self._running]
        while True:
            ahead._pass_time(ahead._next_event())
            if ahead._take_ended():
                return ahead._now

    def advance(self, now: int) -> list[Timed]:
        """Let time pass; return the kernels that ended."""
        ended: list[Timed] = []
        while self._running:
            event = self._next_event()
            if event > now:
                break
            self._pass_time(event)
            ended += self._take_ended()
        self._pass_time(now)
        return ended

    def _latency(self, work: Work) -> int:
        """From the first request to the first bytes."""
        gpu = self._gpu
        if work.hbm_bytes:
            return gpu.hbm.latency_ps or 0
        return gpu.l2.near_latency_ps or 0

    def _next_event(self) -> int:
        """When the set-up of a kernel or a wave ends."""
        return min(self._event_of(kernel) for kernel in self._running)

    def _event_of(self, kernel: _Running) -> int:
        if self._now < kernel.until:
            return kernel.until
        if not kernel.active:
            return self._now if not kernel.waiting else 2**62
        if kernel.left <= 0:
            return self._now
        return self._now + max(1, math.ceil(kernel.left / kernel.rate * PS - 1e-6)) if kernel.rate > 0 else 2**62

    def _pass_time(self, now: int) -> None:
        """Move the flows to `now`; no event lies between."""
        passed = now - self._now
        if passed > 0:
            for kernel in self._running:
                if kernel.active and self._now >= kernel.until:
                    kernel.left -= kernel.rate * passed / PS
                    moving = kernel.rate / kernel.share if kernel.share else 1.0
                    kernel.time_in[kernel.pipe] = kernel.time_in.get(kernel.pipe, 0.0) + passed * moving
                    kernel.time_in["latency"] = kernel.time_in.get("latency", 0.0) + passed * (1 - moving)
            self._now = now
        self._share()

    def _share(self) -> None:
        """Start the waves that can start and divide the pipes anew."""
        for kernel in self._running:
            if self._now >= kernel.until and kernel.active and kernel.left <= _DUST * max(1, self._bytes(kernel)):
                self._free += kernel.active / kernel.work.grid.per_sm
                kernel.active = 0
            if self._now >= kernel.until and not kernel.active and kernel.waiting:
                places = int(self._free * kernel.work.grid.per_sm + 1e-9)
                kernel.active = min(kernel.waiting, places)
                kernel.waiting -= kernel.active
                self._free -= kernel.active / kernel.work.grid.per_sm
                kernel.left = self._bytes(kernel) * kernel.active / kernel.work.grid.ctas
        moving = [k for k in self._running if k.active and self._now >= k.until]
        flows = [self._flow(kernel) for kernel in moving]
        rates = max_min(flows, (*self._widths, 1.0))
        for kernel, flow, rate in zip(moving, flows, rates, strict=True):
            kernel.share = rate
            kernel.pipe = self._held_by(flow, rate)
            kernel.rate = self._with_loop(kernel, rate)

    def _bytes(self, kernel: _Running) -> int:
        """What a kernel's progress is counted in: its bytes, or its flop where it has none."""
        return kernel.work.issued_bytes or kernel.work.flop or 1

    def _flow(self, kernel: _Running) -> Flow:
        work, whole = kernel.work, self._bytes(kernel)
        latency = self._latency(work)
        limit = kernel.active * work.grid.inflight_bytes * PS / latency if latency else math.inf
        peak = self._gpu.sm.peak_flop_per_s[work.dtype]
        uses = (work.hbm_bytes / whole, work.issued_bytes / whole, work.flop / whole / peak)
        return Flow(float(kernel.active), limit, uses)

    def _held_by(self, flow: Flow, rate: float) -> str:
        """The pipe that a flow at this rate fills most, or its own bytes in flight."""
        if rate >= flow.limit * (1 - 1e-9):
            return "latency"
        used = [use / width for use, width in zip(flow.uses, (*self._widths, 1.0), strict=True)]
        return PIPES[used.index(max(used))]

    def _with_loop(self, kernel: _Running, rate: float) -> float:
        """The rate left when every step also waits for the CTA's own loop."""
        step = kernel.software.step_ps
        if not step or not rate:
            return rate
        grid = kernel.work.grid
        step_bytes = self._bytes(kernel) / grid.ctas / grid.steps
        mean = step_bytes * kernel.active / rate * PS
        x = step / mean
        return rate / (x + math.exp(-x))

    def _take_ended(self) -> list[Timed]:
        ended = [k for k in self._running if not k.active and not k.waiting and self._now >= k.until]
        for kernel in ended:
            self._running.remove(kernel)
        if ended:
            self._share()
        return [self._timed(kernel) for kernel in ended]

    def _timed(self, kernel: _Running) -> Timed:
        """The kernel's time by what it waited for; the parts are whole picoseconds and add up."""
        duration = self._now - kernel.begin
        parts = {pipe: int(time) for pipe, time in kernel.time_in.items() if pipe != "latency" and int(time)}
        parts["latency"] = duration - sum(parts.values())
        prologue = kernel.until - kernel.begin if kernel.work.family == "gemm" else kernel.software.fixed_ps
        return Timed(kernel.work, duration, tuple((p, t) for p, t in parts.items() if t), prologue)


_DUST = 1e-12


def _copy(kernel: _Running) -> _Running:
    twin = _Running(kernel.work, kernel.begin, kernel.software, kernel.until, kernel.waiting, kernel.active,
                    kernel.left, kernel.rate, kernel.share, kernel.pipe, dict(kernel.time_in))
    return twin


def _times(gpu: Gpu, kernels: Kernels) -> dict[str, Software]:
    """The stack's numbers for this GPU's generation; a step's cycles are those of its SM clock."""
    cycle = PS / gpu.sm.clock_hz
    return {
        family: Software(of_generation(numbers.fixed_ps, gpu.generation),
                         of_generation(numbers.step_cycles, gpu.generation) * cycle)
        for family, numbers in (("gemm", kernels.gemm), ("attention", kernels.attention))
    }
