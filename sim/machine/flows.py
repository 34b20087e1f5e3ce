"""Max-min shares: how concurrent flows divide pipes of fixed width.

All flows rise together, each by its weight, until a pipe is full or a flow reaches its own limit; those flows stay
where they are and the others rise on (progressive filling). No flow can get more without taking from one that has no
more than it, weight for weight.

The level at which a pipe fills is computed from what the flows that stay take of it, never by adding up small rises:
what is left for the others is at least their claim, so nothing cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Flow(NamedTuple):
    """Something that moves bytes through pipes at one rate."""

    weight: float
    """Its claim, such as the bytes it keeps in flight; above 0."""
    limit: float
    """Most bytes per second it can take; may be infinite."""
    uses: tuple[float, ...]
    """Bytes in each pipe per byte of its rate, 0 or more."""


def max_min(flows: Sequence[Flow], widths: Sequence[float]) -> list[float]:
    """The rate of each flow, in bytes per second, over pipes of these widths."""
    if len(flows) == 1:
        (_, rate, uses), = flows
        for use, width in zip(uses, widths, strict=True):
            if use > 0 and width < rate * use:
                rate = width / use
        return [rate]
    rates = [0.0] * len(flows)
    tops = [flow.limit / flow.weight for flow in flows]
    rising = list(range(len(flows)))
    taken = [0.0] * len(widths)
    level = 0.0
    while rising:
        drawn = [sum([flows[i].weight * flows[i].uses[pipe] for i in rising]) for pipe in range(len(widths))]
        full_at = [(width - gone) / draw if draw else math.inf
                   for width, gone, draw in zip(widths, taken, drawn, strict=True)]
        level = max(level, min(*full_at, *[tops[i] for i in rising]))
        full = [pipe for pipe, at in enumerate(full_at) if at <= level]
        still = []
        for i in rising:
            weight, limit, uses = flows[i]
            if tops[i] <= level or any([uses[pipe] > 0 for pipe in full]):
                rate = rates[i] = limit if tops[i] <= level else min(limit, level * weight)
                for pipe, use in enumerate(uses):
                    if use > 0:
                        taken[pipe] += rate * use
            else:
                still.append(i)
        rising = still
    return rates


def together(flows: Sequence[Flow]) -> Flow:
    """Flows that ask alike, each for its weight, as one: it gets what they get."""
    if len(flows) == 1:
        return flows[0]
    return Flow(sum([flow.weight for flow in flows]), sum([flow.limit for flow in flows]), flows[0].uses)
