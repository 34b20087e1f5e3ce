"""Events in order of time: a wheel of buckets, each a list in the order of arrival; memory as many as are under way.

A bucket is 2**SHIFT femtoseconds wide, about a clock; within one, events keep the order in which they were made. An
event beyond the wheel's turn waits in its last bucket and is put again from there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cycle_numba import inlined

SHIFT = 19
TURN = 1 << 14
NEXT, TIME, KIND, A, B, C, D = range(7)
WIDTH = 8
W_FREE, W_AT, W_LIVE, W_MOST = range(4)


class Wheel(NamedTuple):
    """Events under way."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    node: NDArray[np.int64]
    state: NDArray[np.int64]


def wheel(most: int) -> Wheel:
    """An empty wheel for so many events at a time."""
    node = np.zeros((most, WIDTH), np.int64)
    node[:, NEXT] = np.arange(1, most + 1)
    node[-1, NEXT] = -1
    return Wheel(np.full(TURN, -1, np.int64), np.full(TURN, -1, np.int64), node, np.zeros(4, np.int64))


@inlined
def take(w: Wheel) -> int:
    """A free node."""
    node = w.state[W_FREE]
    if node < 0:
        raise MemoryError("more events at a time than the wheel was made for")
    w.state[W_FREE] = w.node[node, NEXT]
    return int(node)


@inlined
def free(w: Wheel, node: int) -> None:
    """Give a node back."""
    w.node[node, NEXT] = w.state[W_FREE]
    w.state[W_FREE] = node


@inlined
def put(w: Wheel, node: int, time: int) -> None:
    """Have the node come up at a time, not before now."""
    w.node[node, TIME] = time
    bucket = max(time >> SHIFT, w.state[W_AT])
    at = min(bucket, w.state[W_AT] + TURN - 1) & (TURN - 1)
    w.node[node, NEXT] = -1
    if w.last[at] >= 0:
        w.node[w.last[at], NEXT] = node
    else:
        w.first[at] = node
    w.last[at] = node
    w.state[W_LIVE] += 1


@inlined
def pop(w: Wheel) -> int:
    """The next event, or -1."""
    while w.state[W_LIVE]:
        at = w.state[W_AT] & (TURN - 1)
        node = w.first[at]
        if node < 0:
            w.state[W_AT] += 1
            continue
        w.first[at] = w.node[node, NEXT]
        if w.first[at] < 0:
            w.last[at] = -1
        w.state[W_LIVE] -= 1
        if w.node[node, TIME] >> SHIFT > w.state[W_AT]:
            put(w, node, w.node[node, TIME])
            continue
        return int(node)
    return -1
