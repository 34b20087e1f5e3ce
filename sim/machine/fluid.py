"""The fluid tier: CTAs in waves, alike CTAs as one flow, flows sharing L2, HBM and tensor cores max-min.

    kernel:  set-up | wait for SMs | latency of the first bytes | wave 1 | wave 2 | ... | last wave (the tail)

A kernel's CTAs take the SM places that are free, oldest kernel first; the rest follow in waves. In a wave every CTA
walks through its steps. A step needs its bytes, which come at the flow's share of the pipes, and the time s of its own
loop, whatever the bytes (a chain of barrier, multiply, release). The next bytes are fetched meanwhile, but when a CTA's
bytes arrive varies: with exponential times of mean mu the slower of the two takes

    E[max(s, X)] = s + mu exp(-s / mu)

so a kernel far from one limit pays for the other only where they are near. A full pipe serves waves by what they keep
in flight; a wave leaves the others what its limits keep it from taking. In the limit of no latency and no loop time a
kernel takes its bytes over the rate, up to a picosecond a wave.

Between two events (a set-up or a wave ends, first bytes arrive, a kernel starts) every rate is constant. The device
looks ahead to the next end of a kernel; one that starts before takes it back to the last event. So a result depends on
when kernels start, never on when someone asked.
Ignored: imbalance between CTAs of one kernel, the order of CTAs, banks and sides of the memories, the latency of waves
after the first (their first bytes are asked for while the wave before drains).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from ..hardware import Gpu
from ..stack import Kernels
from ..units import duration_ps
from .flows import Flow, max_min, together
from .load import PS, Load, Loads
from .work import Timed, Work


@dataclass(slots=True, eq=False)
class _Kernel:
    """A kernel on the device."""

    work: Work
    load: Load
    begin: int
    idle_from: int
    """Since when it has no CTA on an SM; at first, the end of its set-up."""
    unplaced: int
    """CTAs that have not had a place yet."""
    placed: int = 0
    """CTAs on SMs now."""
    parts: dict[str, float] = field(default_factory=dict)
    """Picoseconds by what held it."""


@dataclass(slots=True, eq=False)
class _Wave:
    """CTAs of one kernel that started together."""

    kernel: _Kernel
    ctas: int
    flow: Flow
    """Without its own loop."""
    held: Flow
    """With it."""
    loop: float
    """Most that the loop allows, per second."""
    left: float
    """What all its CTAs together still have to take."""
    crowd: float
    """CTAs on an SM, where there are more than one."""
    event: int
    """The arrival of the first bytes, then the wave's end."""
    rate: float = 0.0
    """Per second; 0 before the first bytes."""
    moving: float = 0.0
    """Fraction of the time in which it takes bytes rather than waits for its own loop."""
    pipe: str = "latency"
    """What it waits for while it takes bytes."""


class FluidDevice:
    """Kernels that run at the same time share SMs and pipes."""

    def __init__(self, gpu: Gpu, software: Kernels | None = None) -> None:
        self._sms, self._loads = gpu.sm.count, Loads(gpu, software)
        self._state = _State(0, float(self._sms), [], [], [])
        self._end: int | None = None
        """The next end of a kernel, where it is known."""
        self._before: _State | None = None
        """The state before the look ahead to that end, where it passed events."""

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel; `advance` has been called up to `now`. An idle device starts at any time."""
        self._back_to(now)
        load = self._loads.of(work)
        kernel = _Kernel(work, load, now, now + load.fixed_ps, work.grid.ctas)
        if load.fixed_ps:
            self._state.setting_up.append(kernel)
        else:
            self._state.queue.append(kernel)
            if self._place() and not load.latency_ps:
                self._divide()

    def next_end(self) -> int | None:
        """When the next kernel ends if nothing else starts."""
        if self._end is None and (event := self._state.next_event()) is not None:
            while not self._state.ends_at(event):
                self._before = self._before or self._state.copy()
                self._step(event)
                event = self._state.next_event()
                assert event is not None
            self._end = event
        return self._end

    def advance(self, now: int) -> list[Timed]:
        """Let time pass; return the kernels that ended."""
        ended: list[Timed] = []
        while (end := self.next_end()) is not None and end <= now:
            self._before = self._end = None
            ended += [_timed(kernel, end) for kernel in self._step(end)]
        return ended

    def alone(self, work: Work) -> Timed:
        """A kernel that has the idle device to itself: the same waves, without looking for what comes next."""
        load, places = self._loads.of(work), int(self._sms * work.grid.per_sm + 1e-9)
        kernel = _Kernel(work, load, 0, load.fixed_ps, 0)
        end, left, alike = load.fixed_ps + load.latency_ps, work.grid.ctas, None
        while left:
            ctas = min(left, places)
            loop = load.loop if left == work.grid.ctas else load.loop_after
            if alike is None or alike.ctas != ctas or alike.loop != ctas * loop:
                alike = self._made(kernel, ctas, 0, loop)
                _flow_on(alike, _shares([alike], self._loads.widths)[0], 0)
            held = alike.event * alike.moving * ctas / ctas
            kernel.parts[alike.pipe] = kernel.parts.get(alike.pipe, 0.0) + held
            end += alike.event
            left -= ctas
        return _timed(kernel, end)

    def _back_to(self, now: int) -> None:
        """Undo the look ahead beyond `now`."""
        event = self._end
        if event is None or self._before is not None:
            self._state = self._before or self._state
            while (event := self._state.next_event()) is not None and event <= now and not self._state.ends_at(event):
                self._step(event)
        self._before = self._end = None
        if event is not None and event < now:
            raise ValueError(f"a kernel ended at {event} ps: advance the device before a start at {now} ps")
        self._state.pass_time(now)

    def _step(self, event: int) -> list[_Kernel]:
        """Go to the next event; return the kernels that end."""
        state = self._state
        state.pass_time(event)
        ended = state.take_ended()
        if state.setting_up:
            state.queue += [kernel for kernel in state.setting_up if kernel.idle_from <= event]
            state.setting_up = [kernel for kernel in state.setting_up if kernel.idle_from > event]
        if not state.waves:
            state.free = float(self._sms)  # thirds of an SM do not add up to whole ones
        self._place()
        self._divide()
        return ended

    def _place(self) -> bool:
        """Give free places to CTAs that wait; whether there were any."""
        state = self._state
        before = state.free
        while state.queue:
            kernel = state.queue[0]
            per_sm = kernel.work.grid.per_sm
            ctas = min(kernel.unplaced, int(state.free * per_sm + 1e-9))
            if not ctas:
                break
            state.waves.append(self._wave(kernel, ctas))
            state.free -= ctas / per_sm
            if not kernel.unplaced:
                del state.queue[0]
        return state.free < before

    def _wave(self, kernel: _Kernel, ctas: int) -> _Wave:
        """So many CTAs of the kernel start now; the kernel's first ones wait for their first bytes."""
        load, grid, now = kernel.load, kernel.work.grid, self._state.now
        first = kernel.unplaced == grid.ctas
        event = now + load.latency_ps if first else now
        if not kernel.placed and now > kernel.idle_from:
            kernel.parts["wait"] = kernel.parts.get("wait", 0.0) + now - kernel.idle_from
        kernel.unplaced -= ctas
        kernel.placed += ctas
        return self._made(kernel, ctas, event, load.loop if first else load.loop_after)

    def _made(self, kernel: _Kernel, ctas: int, event: int, loop_of_one: float) -> _Wave:
        load, grid = kernel.load, kernel.work.grid
        limit = min(ctas * load.in_flight, min(ctas, self._sms) * load.one_sm)
        loop = ctas * loop_of_one
        flow = Flow(float(ctas * grid.inflight_bytes), limit, load.uses)
        held = flow if limit <= loop else Flow(flow.weight, loop, load.uses)
        return _Wave(kernel, ctas, flow, held, loop, ctas * load.amount, max(1.0, ctas / self._sms), event)

    def _divide(self) -> None:
        """Divide the pipes among the waves whose bytes flow."""
        now = self._state.now
        flowing = [wave for wave in self._state.waves if wave.rate or wave.event <= now]
        for wave, share in zip(flowing, _shares(flowing, self._loads.widths), strict=True):
            _flow_on(wave, share, now)


@dataclass(slots=True, eq=False)
class _State:
    """What is on the device."""

    now: int
    free: float
    """SMs without a CTA."""
    setting_up: list[_Kernel]
    queue: list[_Kernel]
    """Kernels with CTAs that wait for a place."""
    waves: list[_Wave]

    def next_event(self) -> int | None:
        """When a set-up ends, first bytes arrive or a wave ends; None when nothing runs."""
        events = [wave.event for wave in self.waves]
        if self.setting_up:
            events += [kernel.idle_from for kernel in self.setting_up]
        return min(events) if events else None

    def ends_at(self, event: int) -> bool:
        """Whether a kernel ends at the next event: with all its CTAs that are left."""
        ending = [wave for wave in self.waves if wave.event == event and wave.rate and not wave.kernel.unplaced]
        return any(w.kernel.placed == w.ctas or w.kernel.placed == sum(v.ctas for v in ending if v.kernel is w.kernel)
                   for w in ending)

    def pass_time(self, now: int) -> None:
        """Move the flows to `now`; no event lies between."""
        passed = now - self.now
        for wave in self.waves:
            if wave.rate:
                wave.left -= wave.rate * passed / PS
                kernel = wave.kernel
                held = passed * wave.moving * wave.ctas / kernel.placed
                kernel.parts[wave.pipe] = kernel.parts.get(wave.pipe, 0.0) + held
        self.now = now

    def take_ended(self) -> list[_Kernel]:
        """Take away the waves that end now; return the kernels that end with them."""
        ended = []
        for wave in [w for w in self.waves if w.rate and w.event <= self.now]:
            kernel = wave.kernel
            self.waves.remove(wave)
            self.free += wave.ctas / kernel.work.grid.per_sm
            kernel.placed -= wave.ctas
            if not kernel.placed:
                kernel.idle_from = self.now
                if not kernel.unplaced:
                    ended.append(kernel)
        return ended

    def copy(self) -> _State:
        """The same state, to go on from later."""
        kernels = {id(k): replace(k, parts=dict(k.parts))
                   for k in (*self.setting_up, *self.queue, *(w.kernel for w in self.waves))}
        return _State(self.now, self.free, [kernels[id(k)] for k in self.setting_up],
                      [kernels[id(k)] for k in self.queue],
                      [replace(wave, kernel=kernels[id(wave.kernel)]) for wave in self.waves])


def _shares(waves: list[_Wave], pipes: tuple[float, ...]) -> list[float]:
    """What the pipes would give each wave if its own loop did not hold it, while the others' loops do.

    Waves of one kernel ask alike for each of their CTAs, so they are one flow and share what it gets by their CTAs.
    """
    if len(waves) == 1:
        return max_min([waves[0].flow], pipes)
    alike: dict[tuple[int, float], list[_Wave]] = {}
    for wave in waves:
        alike.setdefault((id(wave.kernel), wave.crowd), []).append(wave)
    groups = list(alike.values())
    flows = [together([wave.flow for wave in group]) for group in groups]
    held = [together([wave.held for wave in group]) for group in groups]
    loops = [sum([wave.loop for wave in group]) for group in groups]
    shares = max_min(held, pipes)
    for i, loop in enumerate(loops):
        if shares[i] >= loop:
            shares[i] = max_min([*held[:i], flows[i], *held[i + 1:]], pipes)[i]
    each = {id(wave): share * wave.flow.weight / flow.weight
            for group, flow, share in zip(groups, flows, shares, strict=True) for wave in group}
    return [each[id(wave)] for wave in waves]


def _flow_on(wave: _Wave, share: float, now: int) -> None:
    """From now on a wave takes what the pipes give it and its own loop allows."""
    x = share / wave.loop
    rate = share / (x + math.exp(-x))
    if rate != wave.rate:
        wave.rate, wave.moving, wave.pipe = rate, rate / share, _held_by(wave, share)
        wave.event = now + duration_ps(max(wave.left, 0.0), rate)


def _held_by(wave: _Wave, share: float) -> str:
    """What keeps a wave at this share: a pipe, its bytes in flight, or the tensor cores of its SMs."""
    limit = wave.flow.limit
    if share < limit * (1 - 1e-9):
        return wave.kernel.load.pipe
    return "latency" if wave.ctas * wave.kernel.load.in_flight <= limit else "flop"


def _timed(kernel: _Kernel, end: int) -> Timed:
    """The kernel's time by what it waited for; the parts are whole picoseconds and add up."""
    duration, load = end - kernel.begin, kernel.load
    parts = {why: int(time) for why, time in kernel.parts.items() if why != "latency" and int(time)}
    parts["latency"] = duration - sum(parts.values())
    prologue = load.fixed_ps + (load.latency_ps if kernel.work.family in ("gemm", "gemv") else 0)
    return Timed(kernel.work, duration, tuple((why, time) for why, time in parts.items() if time), prologue)
