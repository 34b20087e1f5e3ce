"""The L2 and the memory by themselves on the cycle tier, asked as public microbenchmarks ask (gpu-benches, RRZE-HPC).

    bandwidth(footprint)   blocks read 512 KiB each in chunks of 16 KiB, block b the residue b mod (footprint /
                           512 KiB): a cyclic re-reading of the footprint by whatever SM comes (gpu-l2-cache)
    latency(footprint)     one thread follows pointers through the footprint, a line at a time (gpu-latency)

Blocks start one after the other, so those that run are at all stages of their work; the simulation begins so. It begins
on a cache through which the footprint has been read before, without time, and is judged by the second half of the time
in which all SMs are busy: a steady state has forgotten how it began.
Ignored: TLBs, which the longest chases show; the loop around the loads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .hardware import Gpu
from .machine.build import cycle_device
from .machine.cycle_parts import ACCESS_WIDTH, LINE, Job
from .stack import Stack

BLOCK, CHUNK = 512 * 1024, 16 * 1024
THREADS, STAGES = 1024, 2
"""A block's threads, and the chunks that it has in flight."""
LEAST_WAVES = 3
SAMPLE_FS = 200_000_000
"""Between two looks at the counters, at first."""


class Point(NamedTuple):
    """What one footprint gives."""

    footprint_bytes: int
    bytes_per_s: float
    hit: float
    """Fraction of the sectors that came from the L2."""


class Bench:
    """One card's L2 and memory. Raises NotCoveredError without numba, or where the organisation is not known."""

    def __init__(self, gpu: Gpu, stack: Stack) -> None:
        self._gpu, self._device = gpu, cycle_device(gpu, stack)
        self._per_sm = max(1, (gpu.sm.max_threads or 2 * THREADS) // THREADS)

    def bandwidth(self, footprint: int, passes: float = 2.0) -> Point:
        """The rate at which all SMs re-read a footprint of so many bytes, over so many passes of it."""
        residues = max(1, round(footprint / BLOCK))
        blocks = max(round(residues * passes), LEAST_WAVES * self._per_sm * self._gpu.sm.count)
        device = self._device
        device.empty()
        device.read(_sweep(residues, 2 * residues, self._per_sm))
        device.sample_every(SAMPLE_FS)
        found = device.played(_sweep(residues, blocks, self._per_sm))
        times, asked = device.samples("sm", 0)
        _, read = device.samples("channel", 1)
        first, last = np.searchsorted(times, (found.full_fs // 2, found.full_fs))
        first, last = int(first), int(last) - 1
        sectors = int(asked[last].sum() - asked[first].sum())
        missed = int(read[last].sum() - read[first].sum())
        return Point(residues * BLOCK, sectors * 32 / (int(times[last] - times[first]) * 1e-15), 1 - missed / sectors)

    def latency_ps(self, footprint: int, loads: int = 4096) -> float:
        """The mean time of a load that waits for the one before, over random lines of a footprint read before."""
        lines = max(1, footprint // LINE)
        device = self._device
        device.empty()
        job = _chase(lines, min(loads, lines))
        device.read(_chase(lines, 2 * lines))
        return device.played(job).end_fs / 1000 / job.steps


def _sweep(residues: int, blocks: int, per_sm: int) -> Job:
    access = _access(modulo=residues, group_stride=CHUNK, step_stride=CHUNK * residues, run=CHUNK, steps=BLOCK // CHUNK)
    return Job(blocks, BLOCK // CHUNK, STAGES, per_sm, 0, 1, access)


def _chase(lines: int, loads: int) -> Job:
    """Lines in an order that jumps: a stride with no common divisor walks through all of them."""
    stride = int(lines * 0.381966) | 1
    while np.gcd(stride, lines) != 1:
        stride += 2
    access = _access(modulo=1, group_stride=0, step_stride=stride * LINE, run=LINE, steps=loads, wrap=lines * LINE)
    return Job(1, loads, 1, 1, 0, 0, access)


def _access(*, modulo: int, group_stride: int, step_stride: int, run: int, steps: int, wrap: int = 0) -> np.ndarray:
    sectors = [part // 32 for part in (group_stride, 0, step_stride, 0, run)]
    row = [0, 1 << 40, 1, modulo, *sectors, 1, steps, 0, 0, 1, wrap // 32, 0]
    return np.array([row], np.int64).reshape(1, ACCESS_WIDTH)
