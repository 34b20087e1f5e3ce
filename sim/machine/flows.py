"""Max-min shares: how concurrent flows divide pipes of fixed width.

All flows rise together, each by its weight, until a pipe is full or a flow reaches its own limit; those flows stay
where they are and the others rise on (progressive filling). No flow can get more without taking from one that has no
more than it, weight for weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Flow(NamedTuple):
    """Something that moves bytes through pipes at one rate."""

    weight: float
    """Its claim, such as the CTAs it stands for; above 0."""
    limit: float
    """Most bytes per second it can take; may be infinite."""
    uses: tuple[float, ...]
    """Bytes in each pipe per byte of its rate, 0 or more."""


def max_min(flows: Sequence[Flow], widths: Sequence[float]) -> list[float]:
    """The rate of each flow, in bytes per second, over pipes of these widths."""
    rates = [0.0] * len(flows)
    free = list(widths)
    rising = [i for i, flow in enumerate(flows) if flow.limit > 0]
    level = 0.0
    while rising:
        step = min((flows[i].limit / flows[i].weight - level for i in rising), default=0.0)
        for pipe, width in enumerate(free):
            drawn = sum(flows[i].weight * flows[i].uses[pipe] for i in rising)
            if drawn > 0:
                step = min(step, width / drawn)
        step = max(step, 0.0)
        level += step
        for i in rising:
            rates[i] = min(level * flows[i].weight, flows[i].limit)
            for pipe, use in enumerate(flows[i].uses):
                free[pipe] -= step * flows[i].weight * use
        full = {pipe for pipe, width in enumerate(free) if width <= widths[pipe] * 1e-12}
        still = [
            i for i in rising
            if flows[i].limit / flows[i].weight > level * (1 + 1e-12)
            and not any(flows[i].uses[pipe] > 0 for pipe in full)
        ]
        if len(still) == len(rising):
            break
        rising = still
    return rates
