"""What the cycle tier's loop works on: the paths between SMs, slices and channels, a job of CTAs, and their state.

    SM --wire--> slice --back--> SM          a line's sectors pass the slice and the SM's port one after the other
    slice --cross--> slice of the other side, over a link that all lines between the sides share
    slice --to_dram--> channel --from_dram--> slice

All times are femtoseconds. A job is CTAs that each go through steps; a step reads lines by an affine pattern, and a CTA
has the lines of a few steps (its stages) in flight at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cycle_l2 import PENDING, Cache
from .cycle_queue import N_ACT, N_READ, N_REFRESH, N_WRITE, Channels, Timing, channels
from .cycle_wheel import Wheel, wheel

SECTOR = 32
"""Bytes of a sector."""
LINE = 4 * SECTOR

# What a request's node carries in C: sectors, policy, whether it writes, and for which access.
C_POLICY, C_WRITE, C_ACCESS = 8, 16, 20

# Kinds of events; a fill from DRAM and one from the other side are alike but for where they come from.
ARRIVE, FORWARD, FILL, WAKE, STAGE_READY, STAGE_FREE, WRITTEN = range(7)

# Columns of State.sm
M_ISSUE, M_PORT, M_SECTORS = range(3)
# Columns of State.slice: the queue of readers of this side, and that of requests from the other.
(L_FREE, L_MISSES, L_MISSES_FAR, L_FIRST, L_FIRST_FAR, L_LAST, L_LAST_FAR, L_HIT, L_MISS, L_COPY, L_MERGED, L_BLOCKED,
 L_WRITTEN, L_DEPTH) = range(14)
# Columns of State.miss
X_LINE, X_SLICE, X_ROW, X_WAY, X_SECTORS, X_FIRST, X_LAST, X_QUEUE, X_NEXT = range(9)
# Columns of State.channel
H_WAKE, H_FIRST, H_LAST, H_INSIDE, H_DEPTH = range(5)
# Columns of State.cta
T_CTA, T_ISSUED, T_USED, T_USED_AT, T_SM = range(5)
# Columns of State.stage
G_LEFT, G_LAST, G_READY = range(3)
# State.total
(O_NEXT_CTA, O_RUNNING, O_WRITES, O_LINK, O_MISS_FREE, O_END, O_LINES, O_WROTE_BACK, O_FULL_UNTIL,
 O_FULL_SECTORS, O_SAMPLE_EVERY, O_SAMPLE_AT, O_SAMPLES) = range(13)
# What a sample keeps of each slice and each channel, after its time.
SLICE_KEPT = (L_HIT, L_MISS, L_COPY, L_MERGED, L_BLOCKED, L_WRITTEN, L_DEPTH)
CHANNEL_KEPT = (N_ACT, N_READ, N_WRITE, N_REFRESH)
MOST_SAMPLES = 512
"""Samples kept of a job; beyond it every second one is dropped and they are taken half as often."""
# Columns of Job.access; addresses and strides in sectors.
(P_BASE, P_END, P_GROUP, P_MODULO, P_GROUP_STRIDE, P_PART_STRIDE, P_STEP_STRIDE, P_PITCH, P_RUN, P_RUNS, P_STEPS,
 P_LIMIT, P_WRITE, P_POLICY, P_WRAP) = range(15)
ACCESS_WIDTH = 16
MOST_ACCESSES = 64


class Paths(NamedTuple):
    """Latencies and service times in femtoseconds, and the organisation of channels."""

    sms: int
    issue: int
    """Between two line requests of an SM."""
    port: int
    """A sector into an SM."""
    slice: int
    """A sector out of a slice."""
    look: int
    """A slice's look-up that finds nothing."""
    wire: int
    back: int
    cross_out: int
    cross_back: int
    link: int
    """A sector between the sides."""
    to_dram: int
    from_dram: int
    tick: int
    """Of the channels."""
    misses: int
    """Lines that a slice may wait for, for each of its two queues."""
    channels: int
    row_lines: int
    """Lines of a DRAM row."""


class Job(NamedTuple):
    """CTAs that run on all SMs."""

    ctas: int
    steps: int
    stages: int
    per_sm: int
    loop: int
    """A step's own time."""
    dephased: int
    """1: the first CTAs begin in the middle of their steps, as after many waves."""
    access: NDArray[np.int64]
    """What a step reads, or a CTA writes when it ends: a row each."""


class State(NamedTuple):
    """Everything that changes."""

    cache: Cache
    dram: Channels
    wheel: Wheel
    sm: NDArray[np.int64]
    slice: NDArray[np.int64]
    miss: NDArray[np.int64]
    channel: NDArray[np.int64]
    cta: NDArray[np.int64]
    stage: NDArray[np.int64]
    total: NDArray[np.int64]
    missed: NDArray[np.int64]
    """Sectors read from DRAM by access."""
    samples: NDArray[np.int64]
    """A row each: time, then SLICE_KEPT of every slice, CHANNEL_KEPT and the queue of every channel, sectors of every
    SM, all counted from the start but for depths."""


def state(p: Paths, t: Timing, held: Cache, most_ctas: int, most_stages: int, most_lines: int) -> State:
    """Idle parts for jobs of so many resident CTAs, stages and lines in flight."""
    slices = held.sides * held.slices
    return State(
        held, channels(p.channels, t), wheel(2 * most_lines + p.channels + 4096), np.zeros((p.sms, 3), np.int64),
        np.zeros((slices, 14), np.int64), np.zeros((2 * slices * p.misses + 1, 9), np.int64),
        np.zeros((p.channels, 5), np.int64), np.zeros((most_ctas, 5), np.int64),
        np.zeros((most_stages, 3), np.int64), np.zeros(13, np.int64),
        np.zeros(MOST_ACCESSES, np.int64),
        np.zeros((MOST_SAMPLES, 1 + slices * len(SLICE_KEPT) + p.channels * (len(CHANNEL_KEPT) + 1) + p.sms), np.int64),
    )


def idle(s: State, p: Paths, t: Timing) -> None:
    """Everything as before the first event, but for what the cache holds."""
    fresh = channels(p.channels, t)
    s.dram.state[:], s.dram.bank[:], s.dram.group[:], s.dram.slot[:] = fresh
    s.wheel.first.fill(-1)
    s.wheel.last.fill(-1)
    s.wheel.node[:, 0] = np.arange(1, len(s.wheel.node) + 1)
    s.wheel.node[-1, 0] = -1
    for array in (s.wheel.state, s.sm, s.slice, s.miss, s.channel, s.cta, s.stage, s.total, s.missed):
        array.fill(0)
    s.slice[:, [L_FIRST, L_FIRST_FAR, L_LAST, L_LAST_FAR]] = -1
    s.channel[:, [H_FIRST, H_LAST, H_WAKE]] = -1
    s.miss[:, X_NEXT] = np.arange(1, len(s.miss) + 1)
    s.miss[-1, X_NEXT] = -1
    np.bitwise_and(s.cache.sectors, ~PENDING, out=s.cache.sectors)
