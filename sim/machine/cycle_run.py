"""A kernel on the simulated memory system: CTAs in waves over the SMs, each with the lines of a few steps in flight.

    CTA: issue the first stages | a step's lines are all there, and the step before is done: its loop runs
                                | then its stage is free: the lines of the step `stages` later are asked for
                                | the last step done: the results are written, the place goes to the next CTA

CTAs start round the SMs in order; neighbours lie on different sides. An SM asks for a line a clock.
Ignored: how an SM's CTAs share its tensor cores beyond the step's time, launch order other than round robin.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cycle_channels import event, wake
from .cycle_l2 import Cache, home, place, touch
from .cycle_memory import enter, fill
from .cycle_numba import compiled, inlined
from .cycle_parts import (
    ARRIVE,
    C_ACCESS,
    C_POLICY,
    C_WRITE,
    CHANNEL_KEPT,
    FILL,
    FORWARD,
    G_LAST,
    G_LEFT,
    G_READY,
    H_DEPTH,
    H_INSIDE,
    M_ISSUE,
    M_SECTORS,
    MOST_SAMPLES,
    O_END,
    O_FULL_SECTORS,
    O_FULL_UNTIL,
    O_LINES,
    O_NEXT_CTA,
    O_RUNNING,
    O_SAMPLE_AT,
    O_SAMPLE_EVERY,
    O_SAMPLES,
    O_WRITES,
    P_BASE,
    P_END,
    P_GROUP,
    P_GROUP_STRIDE,
    P_LIMIT,
    P_MODULO,
    P_PART_STRIDE,
    P_PITCH,
    P_POLICY,
    P_RUN,
    P_RUNS,
    P_STEP_STRIDE,
    P_STEPS,
    P_WRAP,
    P_WRITE,
    SLICE_KEPT,
    STAGE_FREE,
    STAGE_READY,
    T_CTA,
    T_ISSUED,
    T_SM,
    T_USED,
    T_USED_AT,
    WAKE,
    WRITTEN,
    Job,
    Paths,
    State,
)
from .cycle_queue import Timing
from .cycle_wheel import KIND, TIME, A, B, D, free, pop


@inlined
def part_of(a: NDArray[np.int64], cta: int, step: int) -> tuple[int, int]:
    """(first sector from the base, sectors of each run) of what a CTA takes of an access in a step."""
    inner = cta % a[P_GROUP] * a[P_PART_STRIDE] + step * a[P_STEP_STRIDE]
    at = cta // a[P_GROUP] % a[P_MODULO] * a[P_GROUP_STRIDE] + inner
    run = min(a[P_RUN], a[P_LIMIT] - inner) if a[P_LIMIT] else a[P_RUN]
    return int(at % a[P_WRAP] if a[P_WRAP] else at), int(run)


@compiled
def _ask(s: State, p: Paths, job: Job, now: int, number: int, cta: int, step: int, stage: int, sm: int) -> None:
    """Send the requests of one access and step on their way."""
    a = job.access[number]
    first, run = part_of(a, cta, step)
    write = a[P_WRITE]
    held = a[P_POLICY] << C_POLICY | write << C_WRITE | number << C_ACCESS
    side, port = sm % s.cache.sides, s.sm[sm]
    for r in range(a[P_RUNS]):
        at, left = a[P_BASE] + first + r * a[P_PITCH], run
        while left > 0 and at < a[P_END]:
            inside = at & 3
            taken = min(4 - inside, left, a[P_END] - at)
            line = at >> 2
            port[M_ISSUE] = max(now, port[M_ISSUE]) + p.issue
            _, index = home(s.cache, line)
            where = side * s.cache.slices + place(s.cache, index)[0]
            event(s, port[M_ISSUE] - p.issue + p.wire, ARRIVE, stage, line, ((1 << taken) - 1) << inside | held,
                  sm + p.sms * where)
            s.total[O_LINES] += 1
            if write:
                s.total[O_WRITES] += 1
            else:
                s.stage[stage, G_LEFT] += 1
            at += taken
            left -= taken


@inlined
def _issue(s: State, p: Paths, job: Job, now: int, slot: int) -> None:
    """Ask for the CTA's next step."""
    cta = s.cta[slot]
    step = cta[T_ISSUED]
    cta[T_ISSUED] += 1
    stage = slot * job.stages + step % job.stages
    held = s.stage[stage]
    held[G_LEFT], held[G_LAST], held[G_READY] = 0, now, 0
    for number in range(len(job.access)):
        if not job.access[number, P_WRITE] and step < job.access[number, P_STEPS]:
            _ask(s, p, job, now, number, cta[T_CTA], step, stage, cta[T_SM])
    if held[G_LEFT] == 0:
        event(s, now, STAGE_READY, stage, 0, 0, 0)


@inlined
def _begin(s: State, p: Paths, job: Job, now: int, slot: int) -> None:
    """Give a place to the next CTA, if there is one."""
    number = s.total[O_NEXT_CTA]
    if number >= job.ctas:
        if s.total[O_FULL_UNTIL] == 0:
            s.total[O_FULL_UNTIL] = now
            for sm in range(p.sms):
                s.total[O_FULL_SECTORS] += s.sm[sm, M_SECTORS]
        s.total[O_RUNNING] -= 1
        return
    s.total[O_NEXT_CTA] += 1
    cta = s.cta[slot]
    first = (p.sms * job.per_sm - 1 - slot) * job.steps // (p.sms * job.per_sm) if job.dephased and now == 0 else 0
    cta[T_CTA], cta[T_ISSUED], cta[T_USED], cta[T_USED_AT] = number, first, first, now
    for _ in range(min(job.stages, job.steps - first)):
        _issue(s, p, job, now, slot)


@inlined
def _ready(s: State, job: Job, now: int, stage: int) -> None:
    """A step's lines are there: the steps that can run do."""
    s.stage[stage, G_READY] = 1
    slot = stage // job.stages
    cta = s.cta[slot]
    while cta[T_USED] < cta[T_ISSUED]:
        held = s.stage[slot * job.stages + cta[T_USED] % job.stages]
        if not held[G_READY]:
            return
        held[G_READY] = 0
        cta[T_USED] += 1
        cta[T_USED_AT] = max(now, cta[T_USED_AT]) + job.loop
        event(s, cta[T_USED_AT], STAGE_FREE, slot, cta[T_USED], 0, 0)


@inlined
def _freed(s: State, p: Paths, job: Job, now: int, slot: int, used: int) -> None:
    """A step is done: ask for another, or end the CTA."""
    cta = s.cta[slot]
    if cta[T_ISSUED] < job.steps:
        _issue(s, p, job, now, slot)
    if used == job.steps:
        for number in range(len(job.access)):
            if job.access[number, P_WRITE]:
                _ask(s, p, job, now, number, cta[T_CTA], 0, 0, cta[T_SM])
        _begin(s, p, job, now, slot)


@inlined
def _happen(s: State, p: Paths, t: Timing, job: Job, node: int) -> int:
    """One event; return its time."""
    n = s.wheel.node[node]
    now, kind, a = n[TIME], n[KIND], n[A]
    if kind == ARRIVE:
        enter(s, p, t, now, n[D] // p.sms, node, 0)
        return int(now)
    if kind == FORWARD:
        side, index = home(s.cache, n[B])
        enter(s, p, t, now, side * s.cache.slices + place(s.cache, index)[0], node, 1)
        return int(now)
    b = n[B]
    free(s.wheel, node)
    if kind == FILL:
        fill(s, p, t, now, a)
    elif kind == WAKE:
        wake(s, p, t, now, a)
    elif kind == STAGE_READY:
        _ready(s, job, now, a)
    elif kind == STAGE_FREE:
        _freed(s, p, job, now, a, b)
    elif kind == WRITTEN:
        s.total[O_WRITES] -= 1
    return int(now)


@inlined
def _sample(s: State, p: Paths, now: int) -> None:
    """Keep the counters of this moment."""
    row = s.samples[s.total[O_SAMPLES]]
    row[0] = now
    at = 1
    for where in range(len(s.slice)):
        for kept in SLICE_KEPT:
            row[at] = s.slice[where, kept]
            at += 1
    for channel in range(p.channels):
        for kept in CHANNEL_KEPT:
            row[at] = s.dram.state[channel, kept]
            at += 1
        row[at] = s.channel[channel, H_INSIDE] + s.channel[channel, H_DEPTH]
        at += 1
    for sm in range(p.sms):
        row[at] = s.sm[sm, M_SECTORS]
        at += 1
    s.total[O_SAMPLES] += 1
    if s.total[O_SAMPLES] == MOST_SAMPLES:
        for half in range(MOST_SAMPLES // 2):
            for column in range(s.samples.shape[1]):
                s.samples[half, column] = s.samples[2 * half, column]
        s.total[O_SAMPLES] //= 2
        s.total[O_SAMPLE_EVERY] *= 2
    s.total[O_SAMPLE_AT] = now + s.total[O_SAMPLE_EVERY]


@compiled
def run(s: State, p: Paths, t: Timing, job: Job) -> int:
    """Run a job from time 0 on idle parts; return when its last CTA and write end, in femtoseconds."""
    places = min(job.ctas, p.sms * job.per_sm)
    s.total[O_RUNNING] = places
    for slot in range(places):
        s.cta[slot, T_SM] = slot % p.sms
        _begin(s, p, job, 0, slot)
    end = 0
    while s.total[O_RUNNING] or s.total[O_WRITES]:
        node = pop(s.wheel)
        if node < 0:
            raise RuntimeError("the memory system stands still")
        end = _happen(s, p, t, job, node)
        if s.total[O_SAMPLE_EVERY] and end >= s.total[O_SAMPLE_AT]:
            _sample(s, p, end)
    s.total[O_END] = end
    return end


@compiled
def pass_by(c: Cache, job: Job, sms: int) -> None:
    """What the job leaves in the cache, without time: CTA after CTA, step after step."""
    for cta in range(job.ctas):
        side = cta % sms % c.sides
        for number in range(len(job.access)):
            a = job.access[number]
            for step in range(1 if a[P_WRITE] else a[P_STEPS]):
                first, run = part_of(a, cta, step)
                for r in range(a[P_RUNS]):
                    at, left = a[P_BASE] + first + r * a[P_PITCH], run
                    while left > 0 and at < a[P_END]:
                        inside = at & 3
                        taken = min(4 - inside, left, a[P_END] - at)
                        touch(c, side, at >> 2, ((1 << taken) - 1) << inside, a[P_POLICY], a[P_WRITE] == 1)
                        at += taken
                        left -= taken
