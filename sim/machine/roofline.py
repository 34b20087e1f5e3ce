"""The roofline tier: a kernel takes the longest of its three demands, kernels run one after the other.

    t = max(flop / peak, issued bytes / L2 bandwidth, bytes that miss / HBM bandwidth)

Nothing can be faster; everything real is slower (ramp, tail, latency, waves). One function of arrays serves a single
run and a grid of a million points.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..hardware import Gpu
from ..units import duration_ps
from .work import Timed, Work

ORDER = ("hbm", "l2", "flop")
"""Bounds by index; the first of equals is named."""


def kernel_times(flop: ArrayLike, issued: ArrayLike, missed: ArrayLike, flop_per_s: ArrayLike, l2_per_s: ArrayLike,
                 hbm_per_s: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """(picoseconds, index into ORDER) of kernels given in arrays that broadcast together.

    flop: multiplications and additions; issued, missed: bytes asked of the L2 and of the HBM; the rest per second.
    """
    memory, cache, arithmetic = np.broadcast_arrays(
        _durations(missed, hbm_per_s), _durations(issued, l2_per_s), _durations(flop, flop_per_s))
    asked = np.maximum(memory, cache)
    time = np.maximum(asked, arithmetic)
    return time, np.where(arithmetic > asked, 2, cache > memory)


def _durations(amount: ArrayLike, per_s: ArrayLike) -> NDArray[np.int64]:
    """Picoseconds; a rate that many machines have is divided by once."""
    amounts, rates = np.asarray(amount), np.asarray(per_s, dtype=np.float64)
    if not rates.ndim:
        return np.asarray(duration_ps(amounts, rates))
    distinct, of = np.unique(rates, return_inverse=True)
    found: NDArray[np.int64] = duration_ps(amounts, distinct)[..., of.reshape(rates.shape)]
    return found


class RooflineDevice:
    """One kernel at a time."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._running: tuple[int, Timed] | None = None

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel."""
        gpu = self._gpu
        time, bound = kernel_times(
            work.flop, work.issued_bytes, work.hbm_bytes,
            gpu.sm.peak_flop_per_s[work.dtype], gpu.l2.bandwidth_bytes_per_s, gpu.hbm.bandwidth_bytes_per_s,
        )
        self._running = (now + int(time), Timed(work, int(time), ((ORDER[int(bound)], int(time)),)))

    def next_end(self) -> int | None:
        """When the running kernel ends, if one runs."""
        return None if self._running is None else self._running[0]

    def advance(self, now: int) -> list[Timed]:
        """Let time pass up to `now`."""
        if self._running is None or now < self._running[0]:
            return []
        timed, self._running = self._running[1], None
        return [timed]
