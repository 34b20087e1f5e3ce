"""How far a predicted time or gain may be off: factors around it, for one run or for a grid of them.

    time = host + launch + device,   each part times a factor that lies in the stack's range for it

The factors are shared by a run and its rival, so the ratio of the two is taken at each corner of the three ranges (a
ratio of sums is extreme at a corner). The text is a sample: a bootstrap over its sequences says how far another draw
would move the gain. Arrays are [..., N] over N machines; a single run is N = 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stack import Uncertainty

PARTS = {"host": ("host", "wait"), "launch": ("launch",), "device": ("latency", "flop", "l2", "hbm")}
"""Who could be wrong about which bounds of a time."""
RESAMPLES = 1000
Floats = NDArray[np.float64]


def parts(bound_ps: Mapping[str, Any]) -> dict[str, Any]:
    """A run's time by who could be wrong about it: the host, the launch path, the kernels."""
    return {part: sum(bound_ps[bound] for bound in bounds) for part, bounds in PARTS.items()}


def at_corners(time: Mapping[str, Any], ranges: Uncertainty, tier: str) -> Any:
    """[8, N]: a time in parts at each corner of the ranges. KeyError where the stack names none for the tier."""
    corners = itertools.product(ranges.host, ranges.launch, ranges.device[tier])
    return np.array([h * time["host"] + n * time["launch"] + d * time["device"] for h, n, d in corners])


def sampling(mine: Any, rival: Any) -> tuple[Floats, Floats]:
    """Factors (low, high) [N] around a gain by which another draw of sequences would move it, 5th to 95th percentile.

    mine, rival: [sequences, N], the times of the same sequences. One sequence says nothing: (1, 1).
    """
    mine, rival = np.asarray(mine, dtype=np.float64), np.asarray(rival, dtype=np.float64)
    count = len(mine)
    if count < 2:
        one = np.ones(mine.shape[1:])
        return one, one
    draws = np.random.Generator(np.random.Philox(0)).integers(count, size=(RESAMPLES, count))
    picked = np.zeros((RESAMPLES, count))
    np.add.at(picked, (np.arange(RESAMPLES)[:, None], draws), 1)
    kinds, often = np.unique(picked, axis=0, return_counts=True)  # few sequences make few different draws
    ratio = (kinds @ rival) / (kinds @ mine) / (rival.sum(axis=0) / mine.sum(axis=0))
    order = np.argsort(ratio, axis=0)
    ranked, below = np.take_along_axis(ratio, order, axis=0), np.cumsum(often[order], axis=0)
    low, high = (np.take_along_axis(ranked, (below > rank).argmax(axis=0)[None], axis=0)[0]
                 for rank in (RESAMPLES // 20, RESAMPLES - RESAMPLES // 20))
    return np.minimum(1.0, low), np.maximum(1.0, high)
