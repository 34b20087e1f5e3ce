"""Where predictions change in a text that nobody recorded: draws that have stated rates.

    flips     exit j+1 differs from exit j with probability f_j, independently:
              E[r] = 1 + sum over j of (1 - product over i >= j of (1 - f_i))
    burst     the same rates, but positions with a flip stand together: whether a position has one is a two-state chain,
              the correlation of neighbours is `burst` (0: independent; `trace stats` tells that of a real text)
    envelope  exit r differs from the last with probability min(1, beta r^-alpha), in one change: the total variation
              between its distribution and the last one's, were both sampled together; E[r] = 1 + sum of them

Draws are Philox, so they are the same everywhere; every sequence has streams of its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .statistics import draws

Changes = NDArray[np.bool_]
"""[count, G-1]: whether each position's prediction changes between exits j and j+1."""

_BURSTS = 1 << 62
"""Added to a seed for the streams that only bursts and envelopes draw from."""


def uniform(key: tuple[int, int], count: int) -> NDArray[np.float64]:
    """Numbers from 0 to 1, 1 left out."""
    numbers: NDArray[np.float64] = (draws(key, count) >> np.uint64(11)) * np.float64(2.0**-53)
    return numbers


def bursty(flips: NDArray[np.float64], burst: float, count: int, key: tuple[int, int]) -> Changes:
    """Changes of the given rates, in bursts.

    With probability `burst` a position is as restless as the one before it, otherwise it is drawn anew; restless
    positions have at least one flip, drawn from what independent flips would do there.
    """
    boundaries = len(flips)
    seed, number = key
    drawn = uniform((seed | _BURSTS, number), count * (boundaries + 2)).reshape(count, -1)
    later = 1 - np.cumprod(1 - flips[::-1])[::-1]  # P(a flip at j or later)
    fresh = drawn[:, 0] >= burst
    fresh[0] = True
    last = np.maximum.accumulate(np.where(fresh, np.arange(count), 0))
    restless = (drawn[:, 1] < (later[0] if boundaries else 0.0))[last]
    changes = np.zeros((count, boundaries), dtype=bool)
    for j in range(boundaries):  # a restless position without a flip so far must still get one
        some = changes[:, :j].any(axis=1)
        rate = np.where(some, flips[j], flips[j] / later[j] if later[j] else 0.0)
        changes[:, j] = restless & (drawn[:, 2 + j] < rate)
    return changes


def enveloped(beta: float, alpha: float, repetitions: int, count: int, key: tuple[int, int]) -> Changes:
    """One change a position at most, at the exit where it settles."""
    seed, number = key
    differs = np.minimum(1.0, beta * np.arange(1, repetitions, dtype=np.float64) ** -alpha)
    late = uniform((seed | _BURSTS, number), count)[:, None] < differs
    changes: Changes = late & ~np.hstack([late[:, 1:], np.zeros((count, 1), dtype=bool)])
    return changes
