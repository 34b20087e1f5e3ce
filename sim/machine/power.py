"""The board's power: what would need more than the limit for long takes longer, because the clock falls.

    P = static + ((joules a byte) * HBM bytes + (joules a flop) * flop) / time

A board acts on an average, not on a kernel: here a mean that forgets with `energy.window`,

    mean(t + dt) = P + (mean(t) - P) exp(-dt / window)

taken at the end of every pass over the time since the one before, gaps included. A pass that would lift it above the
limit lasts until it is the limit. So a burst shorter than the window passes at full clock after a pause, and what runs
for long settles at a mean power of the limit. The added time belongs to what runs with the SM clock: latency, L2 and
arithmetic, in the proportion of the pass.
Ignored: that voltage falls with the clock, temperature, steps of the clock; the link's and the host's power.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ..hardware import Energy
from ..units import duration_ps
from .work import Timed

CLOCKED = ("latency", "l2", "flop")
"""Bounds that a lower SM clock stretches."""


def joules(timed: Iterable[Timed], energy: Energy) -> float:
    """What kernels take beside the board's static power."""
    byte, flop = energy.per_hbm_byte_j or 0.0, energy.per_flop_j or 0.0
    return sum([byte * one.work.hbm_bytes + flop * one.work.flop for one in timed])


def sustained(timed: Timed, energy: Energy) -> Timed:
    """A kernel that is repeated for long: stretched until its own mean power is the limit."""
    limit, static = energy.limit_w, energy.static_w
    if limit is None or static is None or limit <= static:
        return timed
    least = duration_ps(joules((timed,), energy), limit - static)
    if least <= timed.duration_ps:
        return timed
    return Timed(timed.work, least, (*timed.parts, *clocked(timed.parts, least - timed.duration_ps)), timed.prologue_ps)


def clocked(parts: Iterable[tuple[str, int]], added: int) -> tuple[tuple[str, int], ...]:
    """Added time by bound, in the proportion of the parts that run with the clock; all arithmetic where none does."""
    total: dict[str, int] = {}
    for why, time in parts:
        if why in CLOCKED:
            total[why] = total.get(why, 0) + time
    whole, behind, given, shares = sum(total.values()), 0, 0, []
    if not whole:
        return (("flop", added),)
    for why, time in total.items():
        behind += time
        share = behind * added // whole - given
        given += share
        shares.append((why, share))
    return tuple(shares)


MOST_OPEN = 4096
"""Passes below the limit that are brought into the mean together: nothing asks for it before one is above."""


class Governor:
    """The mean power of one board over a run, and how long it stretches passes."""

    def __init__(self, energy: Energy) -> None:
        limit, static, window = energy.limit_w, energy.static_w, energy.window_ps
        self._limits = limit is not None and static is not None and window is not None and limit > static
        self._limit, self._static, self._window = limit or 0.0, static or 0.0, window or 1
        self._mean, self._last = self._static, 0
        self._since: list[tuple[int, float]] = []
        """(time, energy) of passes that could not meet the limit, not in the mean yet."""

    def added_ps(self, end: int, energy_j: float) -> int:
        """A pass of this energy would end at `end` (later than the one before): by how much later it does."""
        if not self._limits:
            return 0
        took = end - self._last
        if energy_j * 1e12 <= (self._limit - self._static) * took and len(self._since) < MOST_OPEN:
            self._since.append((took, energy_j))
            self._last = end
            return 0
        for each in self._since:
            self._mean = self._after(*each)
        self._since.clear()
        added = 0
        if self._after(took, energy_j) > self._limit:
            # At its own mean power of the limit it ends soon enough whatever came before.
            low, high = took, max(took, duration_ps(energy_j, self._limit - self._static))
            while low < high:
                middle = (low + high) // 2
                if self._after(middle, energy_j) > self._limit:
                    low = middle + 1
                else:
                    high = middle
            added = low - took
        self._mean = self._after(took + added, energy_j)
        self._last = end + added
        return added

    def _after(self, took: int, energy_j: float) -> float:
        """The mean power after so many picoseconds with this energy."""
        if took <= 0:
            return self._mean
        power = self._static + energy_j / took * 1e12
        return power + (self._mean - power) * math.exp(-took / self._window)
