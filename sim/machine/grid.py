"""The times of one tallied run on many machines at once: rates, clocks and prices as arrays.

    unit   = launch + sum of its kernels + the gaps between them + waits x turnaround     (graph, persistent)
    run    = sum over kinds of unit of how often x unit

Everything is linear in the kernels' times, so a run on N machines is a product of two integer matrices. Where the host
launches kernel by kernel, each starts when the one before has ended and when it has arrived, and the units' times are
found kernel by kernel for all machines at once. The roofline's kernel times are one call of the function that a single
run uses; the fluid tier simulates each distinct kernel once on each distinct chip.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from .tally import Tally
from .work import Timed, Work, alone

Ints = NDArray[np.int64]
PS_PER_S = 10**12


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


def times(tallied: Tally, tier: str, machines: Machines) -> Times:
    """The run's times on all machines. Raises NotCoveredError where a chip has no figure for the launch mode, or where
    its power limit could stretch a pass."""
    known: dict[bool, dict[str, Ints]] = {}
    rows = np.zeros((len(tallied.often), len(machines.chip_of)), dtype=np.int64)
    bounds = {bound: np.zeros(len(machines.chip_of), dtype=np.int64) for bound in BOUNDS}
    decoding = tallied.sequences
    for mode in dict.fromkeys(kind.mode for kind in tallied.kinds):
        chosen = [i for i, kind in enumerate(tallied.kinds) if kind.mode == mode]
        persistent = mode == "persistent"
        if persistent not in known:
            known[persistent] = kernel_parts(tallied.works, machines.chips, tier, persistent)
            if tier != "roofline":
                _within_power(tallied, machines.chips, sum(known[persistent].values()))
        made = (_one_by_one if mode in ONE_BY_ONE else _captured)(tallied, chosen, mode, known[persistent], machines)
        for bound, time in made.items():
            rows += time
            bounds[bound] += time[decoding]
    return Times(rows, bounds)


def _within_power(tallied: Tally, chips: Sequence[Chip], times_ps: Ints | int) -> None:
    """Refuse chips whose power limit could stretch a pass: then a run is no sum of its parts (power.py).

    A pass whose kernels alone, without the gaps, need no more than the limit never meets it.
    """
    passes = list(dict.fromkeys(kernels for kind in tallied.kinds for kernels in kind.passes))
    each = np.zeros((len(passes), len(tallied.works)), dtype=np.int64)
    for row, kernels in enumerate(passes):
        np.add.at(each[row], list(kernels), 1)
    for column, chip in enumerate(chips):
        energy = chip.gpu.energy
        if energy.limit_w is None or energy.static_w is None or energy.window_ps is None:
            continue
        asked = each @ np.array([joules((Timed(work, 0, ()),), energy) for work in tallied.works])
        free = (energy.limit_w - energy.static_w) * (each @ times_ps)[:, column] / PS_PER_S
        if (asked > free).any():
            raise NotCoveredError(f"{chip.gpu.name}: a pass may reach the power limit of {energy.limit_w:g} W; "
                                  "such a run is no sum of its parts")


def kernel_parts(works: Sequence[Work], chips: Sequence[Chip], tier: str, persistent: bool) -> dict[str, Ints]:
    """[works, chips] picoseconds of every kernel by what it waited for; bounds that hold nothing are left out."""
    if tier == "roofline":
        return _roofline(works, chips)
    found: dict[str, Ints] = {}
    for column, chip in enumerate(chips):
        device = FluidDevice(chip.gpu, chip.kernels)
        for row, work in enumerate(works):
            timed = alone(device, work)
            for bound, time in (timed.without_prologue() if persistent else timed).parts:
                if bound not in found:
                    found[bound] = np.zeros((len(works), len(chips)), dtype=np.int64)
                found[bound][row, column] += time
    return found


def _roofline(works: Sequence[Work], chips: Sequence[Chip]) -> dict[str, Ints]:
    """The roofline of all kernels on all chips, one call for each type of operands."""
    found = {bound: np.zeros((len(works), len(chips)), dtype=np.int64) for bound in ORDER}
    for dtype in dict.fromkeys(work.dtype for work in works):
        rows = [i for i, work in enumerate(works) if work.dtype == dtype]
        asked = np.array([(works[i].flop, works[i].issued_bytes, works[i].hbm_bytes) for i in rows], dtype=np.int64)
        time, held = kernel_times(
            asked[:, :1], asked[:, 1:2], asked[:, 2:], np.array([c.gpu.sm.peak_flop_per_s[dtype] for c in chips]),
            np.array([c.gpu.l2.bandwidth_bytes_per_s for c in chips]),
            np.array([c.gpu.hbm.bandwidth_bytes_per_s for c in chips]))
        for index, bound in enumerate(ORDER):
            found[bound][rows] = np.where(held == index, time, 0)
    return found


def _captured(tallied: Tally, chosen: list[int], mode: str, parts: dict[str, Ints], machines: Machines
              ) -> dict[str, Ints]:
    """[rows, N] by bound: units that one call launches."""
    often = tallied.often[:, chosen]
    kinds = [tallied.kinds[i] for i in chosen]
    each = np.zeros((len(kinds), len(tallied.works)), dtype=np.int64)
    for row, kind in enumerate(kinds):
        for kernels in kind.passes:
            np.add.at(each[row], list(kernels), 1)
    gaps = each.sum(axis=1) - 1
    waits = np.array([kind.waits for kind in kinds], dtype=np.int64)
    lead, gap, turn = (_of_paces(machines, choose) for choose in (
        lambda pace: max(call_ps(mode, pace.host) + pace.launch.start_ps, pace.launch.stream_gap_ps),
        lambda pace: gap_ps(mode, pace.launch), lambda pace: pace.host.turnaround_ps))
    made = {bound: (often @ each @ time)[:, machines.chip_of] for bound, time in parts.items()}
    made["launch"] = np.outer(often.sum(axis=1), lead) + np.outer(often @ gaps, gap)
    made["host"] = np.outer(often @ waits, turn)
    return made


def _one_by_one(tallied: Tally, chosen: list[int], mode: str, parts: dict[str, Ints], machines: Machines
                ) -> dict[str, Ints]:
    """[rows, N] by bound: units whose kernels the host launches one after the other."""
    price, start, gap, turn = (_of_paces(machines, choose) for choose in (
        lambda pace: call_ps(mode, pace.host), lambda pace: pace.launch.start_ps,
        lambda pace: pace.launch.stream_gap_ps, lambda pace: pace.host.turnaround_ps))
    whole = np.sum(list(parts.values()), axis=0)[:, machines.chip_of]
    often = tallied.often[:, chosen]
    each = np.zeros((len(chosen), len(tallied.works)), dtype=np.int64)
    idle = {bound: np.zeros((len(chosen), len(price)), dtype=np.int64) for bound in ("launch", "host")}
    for row, number in enumerate(chosen):
        kind = tallied.kinds[number]
        arrived, free, first = start + 0, np.zeros_like(price), True
        for kernel in [kernel for kernels in kind.passes for kernel in kernels]:
            each[row, kernel] += 1
            arrived = arrived + price
            # The first kernel of a unit waits for the launch on an idle GPU, the others for the gap behind the last.
            launched = free + (start if first else gap)
            first = False
            idle["launch"][row] += launched - free
            begins = np.maximum(launched, arrived)
            idle["host"][row] += begins - launched
            free = begins + whole[kernel]
        idle["host"][row] += kind.waits * turn
    made = {bound: (often @ each @ time)[:, machines.chip_of] for bound, time in parts.items()}
    for bound, time in idle.items():
        made[bound] = often @ time
    return made


def _of_paces(machines: Machines, choose: Callable[[Pace], int]) -> Ints:
    """[N]: one number of every machine's pace."""
    each: Ints = np.array([choose(pace) for pace in machines.paces], dtype=np.int64)
    return each[machines.pace_of]
