"""Kernels that have the device to themselves, many at once: the fluid tier's times as arrays.

    time = set-up + latency of the first bytes + t(first wave) + further waves * t(all places) + t(CTAs of the tail)
    t(c) = amount * c / rate,    rate = share / (x + exp(-x)),    x = share / loop

share is what the narrowest pipe, the bytes in flight or the tensor cores allow c CTAs. With one kernel on the device
every wave begins when the one before it ends, so there is nothing to divide and no event to look for: the same
picoseconds as fluid.FluidDevice, for fits and grids that ask for thousands of kernels again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hardware import Gpu
from ..stack import Kernels
from ..units import duration_ps
from .load import PS, Loads
from .work import Work

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Lone(NamedTuple):
    """What kernels ask, one entry each."""

    family: tuple[str, ...]
    """Of the first index below, for each kernel's library numbers."""
    which: Ints
    """Index of each kernel's family."""
    flop: Floats
    peak: Floats
    """Of its data type on this GPU, per second."""
    issued: Floats
    ctas: Ints
    steps: Floats
    in_flight: Floats
    """Bytes that a CTA keeps in flight."""
    per_sm: Ints
    joined: Floats
    """Parts that the last CTA joins."""


def lone(works: Sequence[Work], gpu: Gpu) -> Lone:
    """The kernels as arrays; what they miss is told apart, as it changes with the cache."""
    families = tuple(dict.fromkeys(work.family for work in works))
    return Lone(
        families, np.array([families.index(work.family) for work in works], dtype=np.int64),
        np.array([float(work.flop) for work in works]),
        np.array([gpu.sm.peak_flop_per_s[work.dtype] for work in works]),
        np.array([float(work.issued_bytes) for work in works]),
        np.array([work.grid.ctas for work in works], dtype=np.int64),
        np.array([float(work.grid.steps) for work in works]),
        np.array([float(work.grid.inflight_bytes) for work in works]),
        np.array([work.grid.per_sm for work in works], dtype=np.int64),
        np.array([float(work.grid.joined) for work in works]),
    )


def durations(gpu: Gpu, software: Kernels, kernels: Lone, missed: Floats) -> Ints:
    """Picoseconds of each kernel that misses so many bytes, stretched where the board's power is short."""
    loads = Loads(gpu, software)
    numbers = [loads.numbers(family) for family in kernels.family]
    fixed, step, hbm_share, l2_share, wave_ps, cold, join, known = (
        np.array(column)[kernels.which] for column in zip(*numbers, strict=True)
    )
    hbm, l2, _ = loads.widths
    near, far = float(gpu.l2.near_latency_ps or 0), float(gpu.hbm.latency_ps or 0)
    most = np.maximum(kernels.issued, missed)
    whole = np.where(most > 0, most, np.where(kernels.flop > 0, kernels.flop, 1.0))
    through = missed + np.maximum(0.0, kernels.issued - missed) / l2_share
    with np.errstate(divide="ignore", invalid="ignore"):
        pipes = np.minimum.reduce([hbm * hbm_share * whole / missed, l2 * whole / through,
                                   kernels.peak * whole / kernels.flop])
        by_flight = kernels.in_flight * PS / (near + (far - near) * missed / whole)
        one_sm = kernels.peak / gpu.sm.count * whole / kernels.flop
        amount = whole / kernels.ctas
        steps = kernels.steps * step
        loop, loop_after = amount / steps * PS, amount / (steps + wave_ps) * PS

    def wave(ctas: Ints, loop: Floats) -> Ints:
        limit = np.minimum(ctas * by_flight, np.minimum(ctas, gpu.sm.count) * one_sm)
        share = np.minimum(pipes, limit)
        x = np.where(np.isinf(loop), 0.0, share / (ctas * loop))
        found: Ints = duration_ps(ctas * amount, share / (x + np.exp(-x)))
        return found

    places = gpu.sm.count * kernels.per_sm
    begun = np.minimum(places, kernels.ctas)
    rest = kernels.ctas - begun
    tail = rest % places
    waves = wave(begun, loop) + rest // places * wave(begun, loop_after)
    waves += np.where(tail > 0, wave(np.maximum(tail, 1), loop_after), 0)
    first = np.where(missed > 0, far, near)
    latency = np.where(known, first + np.floor(cold * missed / whole), np.maximum(0.0, first - near))
    begin = fixed + np.floor(kernels.joined * join) + latency
    return _stretched(gpu, kernels.flop, missed, waves + begin.astype(np.int64))


def _stretched(gpu: Gpu, flop: Floats, missed: Floats, times: Ints) -> Ints:
    """power.sustained, for arrays."""
    energy = gpu.energy
    if energy.limit_w is None or energy.static_w is None or energy.limit_w <= energy.static_w:
        return times
    joules = (energy.per_hbm_byte_j or 0.0) * missed + (energy.per_flop_j or 0.0) * flop
    return np.maximum(times, duration_ps(joules, energy.limit_w - energy.static_w))
