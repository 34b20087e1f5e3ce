"""The board's power: a kernel that would need more than the limit takes longer, because the clock falls.

    E = static * t + (joules a byte) * HBM bytes + (joules a flop) * flop <= limit * t
"""
from __future__ import annotations

from ..hardware import Energy
from ..units import duration_ps
from .work import Timed


def throttled(timed: Timed, energy: Energy) -> Timed:
    """The kernel stretched until the board's mean power is its limit."""
    limit, static = energy.limit_w, energy.static_w
    if limit is None or static is None or limit <= static:
        return timed
    work = timed.work
    joules = (energy.per_hbm_byte_j or 0.0) * work.hbm_bytes + (energy.per_flop_j or 0.0) * work.flop
    least = duration_ps(joules, limit - static)
    if least <= timed.duration_ps:
        return timed
    parts = (*timed.parts, ("flop", least - timed.duration_ps))
    return Timed(work, least, parts, timed.prologue_ps)
