"""The roofline tier: a kernel takes the longest of its three demands, kernels run one after the other.

    t = max(flop / peak, issued bytes / L2 bandwidth, bytes that miss / HBM bandwidth)

Nothing can be faster; everything real is slower (ramp, tail, latency, waves). One function of arrays serves a single
run and a grid of a million points.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..hardware import Gpu
from ..units import duration_ps
from .work import Work

ORDER = ("hbm", "l2", "flop")
"""Bounds by index; the first of equals is named."""


def kernel_times(flop: ArrayLike, issued: ArrayLike, missed: ArrayLike, flop_per_s: ArrayLike, l2_per_s: ArrayLike,
                 hbm_per_s: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(picoseconds, index into ORDER) of kernels given in arrays that broadcast together.

    flop: multiplications and additions; issued, missed: bytes asked of the L2 and of the HBM; the rest per second.
    """
    each = np.stack(np.broadcast_arrays(
        duration_ps(np.asarray(missed), np.asarray(hbm_per_s)),
        duration_ps(np.asarray(issued), np.asarray(l2_per_s)),
        duration_ps(np.asarray(flop), np.asarray(flop_per_s)),
    ))
    return each.max(axis=0), each.argmax(axis=0)


@lru_cache(maxsize=65_536)
def _one(flop: int, issued: int, missed: int, flop_per_s: float, l2_per_s: float, hbm_per_s: float) -> tuple[int, str]:
    """The same for one kernel; equal kernels recur in every pass."""
    time, bound = kernel_times(flop, issued, missed, flop_per_s, l2_per_s, hbm_per_s)
    return int(time), ORDER[int(bound)]


class RooflineDevice:
    """One kernel at a time."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._end: int | None = None
        self.bound = ORDER[0]
        """What limits the kernel started last."""

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel."""
        gpu = self._gpu
        time, self.bound = _one(
            work.flop, work.issued_bytes, work.hbm_bytes,
            gpu.sm.peak_flop_per_s[work.dtype], gpu.l2.bandwidth_bytes_per_s, gpu.hbm.bandwidth_bytes_per_s,
        )
        self._end = now + time

    def next_end(self) -> int | None:
        """When the running kernel ends, if one runs."""
        return self._end

    def advance(self, now: int) -> None:
        """Let time pass up to `now`."""
        if self._end is not None and now >= self._end:
            self._end = None
