"""The times of one tallied run on many machines at once: rates, clocks and prices as arrays.

    unit   = launch + sum of its kernels + the gaps between them + waits x turnaround     (graph, persistent)
    run    = sum over kinds of unit of how often x unit

Everything is linear in the kernels' times, so a run on N machines is a product of two integer matrices. Where the host
launches kernel by kernel, each starts when the one before has ended and when it has arrived, and the units' times are
found kernel by kernel for all machines at once. The roofline's kernel times are one call of the function that a single
run uses; the fluid tier simulates each distinct kernel once on each distinct chip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hardware import Gpu, Launch
from ..stack import HostWork, Kernels
from ..timeline import BOUNDS
from ..units import NotCoveredError
from .fluid import FluidDevice
from .launch import ONE_BY_ONE, call_ps, gap_ps
from .power import joules
from .roofline import ORDER, kernel_times
from .tally import Kind, Tally
from .work import Timed, Work, alone

PS_PER_S = 10**12
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
TOGETHER = 256
"""Chips whose kernels are timed at a time: their arrays stay in the processor's cache."""


class Chip(NamedTuple):
    """What kernels' times depend on, the cache's capacity and the library's cuts apart."""

    gpu: Gpu
    kernels: Kernels


class Pace(NamedTuple):
    """What stands between kernels."""

    launch: Launch
    host: HostWork


class Machines(NamedTuple):
    """N machines: the distinct chips and paces, and which of them each machine has."""

    chips: Sequence[Chip]
    paces: Sequence[Pace]
    chip_of: Ints
    """[N]"""
    pace_of: Ints
    """[N]"""


class Times(NamedTuple):
    """A tallied run on N machines, in picoseconds."""

    rows_ps: Ints
    """[rows, N], rows as in Tally.often."""
    bound_ps: dict[str, Ints]
    """[N] each: the time in which any sequence was decoded, by what it waited for."""
    limited: NDArray[np.bool_]
    """[N]: whether the board's power limit may stretch a pass; such a run is no sum of its parts, and longer."""


def times(tallied: Tally, tier: str, machines: Machines) -> Times:
    """The run's times on all machines. Raises NotCoveredError where a chip has no figure for the launch mode."""
    rows = np.zeros((len(tallied.often), len(machines.chip_of)), dtype=np.int64)
    bounds = {bound: np.zeros(len(machines.chip_of), dtype=np.int64) for bound in BOUNDS}
    limited = np.zeros(len(machines.chip_of), dtype=np.bool_)
    for mode in dict.fromkeys(kind.mode for kind in tallied.kinds):
        chosen = [i for i, kind in enumerate(tallied.kinds) if kind.mode == mode]
        kinds, often = [tallied.kinds[i] for i in chosen], tallied.often[:, chosen]
        each = _counts((sum(kind.passes, ()) for kind in kinds), len(tallied.works))
        passes = _counts(dict.fromkeys(kernels for kind in kinds for kernels in kind.passes), len(tallied.works))
        timing = Timing(tallied.works, tier, mode == "persistent")
        inside = _kernels(timing, often @ each, tallied.sequences, passes, machines)
        if mode in ONE_BY_ONE:
            idle = _one_by_one(kinds, often, timing.on(machines.chips)[0].astype(np.int64)[:, machines.chip_of], mode,
                               machines)
        else:
            idle = _captured(kinds, often, each.sum(axis=1), mode, machines)
        rows += inside.rows_ps
        limited |= inside.limited
        for bound, time in inside.bound_ps.items():
            bounds[bound] += time
        for bound, time in idle.items():
            rows += time
            bounds[bound] += time[tallied.sequences]
    return Times(rows, bounds, limited)


def _counts(lists: Iterable[tuple[int, ...]], size: int) -> Ints:
    """[lists, size]: how often each number is in each list."""
    return np.array([np.bincount(numbers, minlength=size) for numbers in lists])


def _kernels(timing: Timing, often: Ints, decoding: int, passes: Ints, machines: Machines) -> Times:
    """Time inside kernels; often: [rows, works]; decoding: the row whose bounds are told; passes: [passes, works].

    In doubles, which are exact up to 2**53 ps, two hours and a half.
    """
    weights, count = often.astype(np.float64), len(machines.chips)
    rows, bounds = np.zeros((len(often), count)), {bound: np.zeros(count) for bound in BOUNDS}
    limited = np.zeros(count, dtype=np.bool_)
    for first in range(0, count, TOGETHER):
        chips = machines.chips[first:first + TOGETHER]
        whole, parts = timing.on(chips)
        rows[:, first:first + TOGETHER] = weights @ whole
        for bound, part in parts.items():
            bounds[bound][first:first + TOGETHER] = weights[decoding] @ part
        if timing.tier != "roofline":  # what nothing beats knows no limit
            limited[first:first + TOGETHER] = _limited(timing.works, passes, whole, chips)
    if rows.max(initial=0) >= 2**53:
        raise NotCoveredError("a run of more than two hours is too long for a grid")
    of = machines.chip_of
    return Times(rows.astype(np.int64)[:, of], {bound: time.astype(np.int64)[of] for bound, time in bounds.items()},
                 limited[of])


def _limited(works: Sequence[Work], passes: Ints, whole: Floats, chips: Sequence[Chip]) -> NDArray[np.bool_]:
    """[chips]: whether the kernels of some pass, without the gaps between them, need more power than the limit."""
    found, took = np.zeros(len(chips), dtype=np.bool_), passes @ whole / PS_PER_S
    for place, chip in enumerate(chips):
        energy = chip.gpu.energy
        if energy.limit_w is None or energy.static_w is None or energy.window_ps is None:
            continue
        asked = passes @ np.array([joules((Timed(work, 0, ()),), energy) for work in works])
        found[place] = (asked > (energy.limit_w - energy.static_w) * took[:, place]).any()
    return found


class Timing(NamedTuple):
    """How the times of kernels are found."""

    works: Sequence[Work]
    tier: str
    persistent: bool
    """Whether they are parts of one persistent kernel."""

    def on(self, chips: Sequence[Chip]) -> tuple[Floats, dict[str, Floats]]:
        """[works, chips] picoseconds of every kernel: in all, and by what it waited for."""
        return _roofline(self.works, chips) if self.tier == "roofline" else self._fluid(chips)

    def _fluid(self, chips: Sequence[Chip]) -> tuple[Floats, dict[str, Floats]]:
        whole, found = np.zeros((len(self.works), len(chips))), dict[str, Floats]()
        for column, chip in enumerate(chips):
            device = FluidDevice(chip.gpu, chip.kernels)
            for row, work in enumerate(self.works):
                timed = alone(device, work)
                for bound, time in (timed.without_prologue() if self.persistent else timed).parts:
                    if bound not in found:
                        found[bound] = np.zeros_like(whole)
                    found[bound][row, column] += time
                    whole[row, column] += time
        return whole, found


def _roofline(works: Sequence[Work], chips: Sequence[Chip]) -> tuple[Floats, dict[str, Floats]]:
    """The roofline of all kernels on all chips: one call for each type of operands."""
    whole, held = np.zeros((len(works), len(chips))), np.zeros((len(works), len(chips)), dtype=np.int8)
    for dtype in dict.fromkeys(work.dtype for work in works):
        rows = [i for i, work in enumerate(works) if work.dtype == dtype]
        asked = np.array([(works[i].flop, works[i].issued_bytes, works[i].hbm_bytes) for i in rows], dtype=np.int64)
        whole[rows], held[rows] = kernel_times(
            asked[:, :1], asked[:, 1:2], asked[:, 2:], [c.gpu.sm.peak_flop_per_s[dtype] for c in chips],
            [c.gpu.l2.bandwidth_bytes_per_s for c in chips], [c.gpu.hbm.bandwidth_bytes_per_s for c in chips])
    return whole, {bound: whole * (held == index) for index, bound in enumerate(ORDER)}


def _captured(kinds: list[Kind], often: Ints, kernels: Ints, mode: str, machines: Machines) -> dict[str, Ints]:
    """[rows, N] by bound: time outside kernels of units that one call launches; kernels: in a unit of each kind."""
    waits = np.array([kind.waits for kind in kinds], dtype=np.int64)
    lead, gap, turn = (_of_paces(machines, choose) for choose in (
        lambda pace: max(call_ps(mode, pace.host) + pace.launch.start_ps, pace.launch.stream_gap_ps),
        lambda pace: gap_ps(mode, pace.launch), lambda pace: pace.host.turnaround_ps))
    return {"launch": np.outer(often.sum(axis=1), lead) + np.outer(often @ (kernels - 1), gap),
            "host": np.outer(often @ waits, turn)}


def _one_by_one(kinds: list[Kind], often: Ints, kernel_ps: Ints, mode: str, machines: Machines) -> dict[str, Ints]:
    """[rows, N] by bound: the same of units whose kernels the host launches one after the other.

    kernel_ps: [works, N].
    """
    price, start, gap, turn = (_of_paces(machines, choose) for choose in (
        lambda pace: call_ps(mode, pace.host), lambda pace: pace.launch.start_ps,
        lambda pace: pace.launch.stream_gap_ps, lambda pace: pace.host.turnaround_ps))
    idle = {bound: np.zeros((len(kinds), len(price)), dtype=np.int64) for bound in ("launch", "host")}
    for row, kind in enumerate(kinds):
        arrived, free = start, np.zeros_like(price)
        before = start  # the first kernel waits for the launch on an idle GPU, the others for the gap behind the last
        for kernel in (kernel for kernels in kind.passes for kernel in kernels):
            arrived = arrived + price
            launched = free + before
            begins = np.maximum(launched, arrived)
            idle["launch"][row] += before
            idle["host"][row] += begins - launched
            free, before = begins + kernel_ps[kernel], gap
        idle["host"][row] += kind.waits * turn
    return {bound: often @ time for bound, time in idle.items()}


def _of_paces(machines: Machines, choose: Callable[[Pace], int]) -> Ints:
    """[N]: one number of every machine's pace."""
    each: Ints = np.array([choose(pace) for pace in machines.paces], dtype=np.int64)
    return each[machines.pace_of]
