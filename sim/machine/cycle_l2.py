"""Where a line lies, and what the slices of the L2 hold: hashing, sets and ways, sectors, replacement, copies.

    line -> page pair, side | index within the side -> slice, set
    slice: sets x ways; a way holds a line's tag, an age, the sectors that are valid and dirty, and its policy

Pages of 4 KiB go in pairs, one to each side, by a hash; so any footprint spreads evenly. Within a side consecutive
lines go round the slices, rotated by a hash of the upper bits, and likewise over the sets. On the other side the same
slice and set may hold a copy: a reader's side looks there first, and keeps a copy of what it fetched from the other.

Replacement takes the way of the lowest policy (stream below normal below keep), among those the oldest. Ages are
counted by a clock of the set that ticks every 2**n accesses (lru: 0; lru2, the not-quite LRU that fits the measured
curves best: 1; lru4: 2); equal ages are drawn from. `random` draws among all, `fifo` does not renew an age by a hit.
Source: the organisation that reproduces gpu-benches' curves (RRZE-HPC 1038c5d0); the side's hash is that of
QuickRunCUDA b00036db in kind, not in bits. Ignored: what a hash of real bits does to special strides, ECC, compression.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .cycle_numba import compiled, inlined

PAGE_LINES = 32
"""Lines of a page that lies on one side."""
STREAM, NORMAL, KEEP = 0, 1, 2
PENDING = 1 << 10
"""Flag of a way whose data are on their way."""
LRU, LRU2, LRU4, RANDOM, FIFO = 0, 1, 2, 3, 4
REPLACEMENTS = {"lru": LRU, "lru2": LRU2, "lru4": LRU4, "random": RANDOM, "fifo": FIFO}


class Cache(NamedTuple):
    """The tags of all slices, side by side: slice s of side d is d * slices + s."""

    tag: NDArray[np.int32]
    """[slice, set, way]; -1 is empty."""
    age: NDArray[np.int32]
    sectors: NDArray[np.int16]
    """Valid in the low four bits, dirty in the next four, then the policy, then PENDING."""
    pending: NDArray[np.int32]
    """The miss that will fill a way that is PENDING."""
    clock: NDArray[np.int64]
    """[slice, set]: accesses so far."""
    seed: NDArray[np.int64]
    """State of the draws."""
    sides: int
    slices: int
    """Of each side."""
    sets: int
    ways: int
    replacement: int
    kept: int
    """Most ways of a set that may be set aside."""


def cache(sides: int, slices: int, sets: int, ways: int, replacement: str, kept: int) -> Cache:
    """An empty cache."""
    shape = (sides * slices, sets, ways)
    return Cache(np.full(shape, -1, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.int16),
                 np.zeros(shape, np.int32), np.zeros(shape[:2], np.int64), np.full(1, 88172645463325252, np.int64),
                 sides, slices, sets, ways, REPLACEMENTS[replacement], kept)


def clear(c: Cache) -> None:
    """Empty it, the draws begin anew."""
    c.tag.fill(-1)
    c.age.fill(0)
    c.sectors.fill(0)
    c.clock.fill(0)
    c.seed.fill(88172645463325252)


@inlined
def mixed(x: int) -> int:
    """A hash of a number, 0 or more."""
    x = (x ^ (x >> 15)) * 0x2C1B3C6D
    x = (x ^ (x >> 12)) * 0x297A2D39
    return (x ^ (x >> 15)) & 0x7FFFFFFF


@inlined
def home(c: Cache, line: int) -> tuple[int, int]:
    """(side, index within the side) of a line."""
    if c.sides == 1:
        return 0, line
    page = line // PAGE_LINES
    pair = page >> 1
    return (page ^ mixed(pair)) & 1, pair * PAGE_LINES + line % PAGE_LINES


@inlined
def place(c: Cache, index: int) -> tuple[int, int, int]:
    """(slice of the side, set, index within the slice) of an index within a side."""
    inner = index // c.slices
    which = (index + mixed(inner)) % c.slices
    upper = inner // c.sets
    return which, (inner + mixed(upper)) % c.sets, inner


@inlined
def _draw(c: Cache, most: int) -> int:
    x = c.seed[0]
    x ^= (x << 13) & 0x7FFFFFFFFFFFFFFF
    x ^= x >> 7
    x ^= (x << 17) & 0x7FFFFFFFFFFFFFFF
    c.seed[0] = x
    return int((x >> 20) % most)


@inlined
def look(c: Cache, where: int, row: int, line: int) -> int:
    """The way that holds the line, or -1."""
    tags = c.tag[where, row]
    for way in range(c.ways):
        if tags[way] == line:
            return way
    return -1


@inlined
def renew(c: Cache, where: int, row: int, way: int) -> None:
    """The way was used."""
    c.clock[where, row] += 1
    if c.replacement != FIFO:
        c.age[where, row, way] = c.clock[where, row] >> (c.replacement if c.replacement <= LRU4 else 0)


@inlined
def victim(c: Cache, where: int, row: int) -> int:
    """The way that gives place; -1 where every way waits for its data."""
    best, chosen, equal = 1 << 62, -1, 0
    for way in range(c.ways):
        if c.tag[where, row, way] < 0:
            return way
        flags = int(c.sectors[where, row, way])
        if flags & PENDING:
            continue
        rank = (flags >> 8) << 40
        if c.replacement != RANDOM:
            rank += int(c.age[where, row, way])
        if rank < best:
            best, chosen, equal = rank, way, 1
        elif rank == best:
            equal += 1
            if _draw(c, equal) == 0:
                chosen = way
    return chosen


@inlined
def install(c: Cache, where: int, row: int, way: int, line: int, sectors: int, policy: int) -> int:
    """Put a line into a way; return the dirty sectors of what it displaces."""
    dirty = (c.sectors[where, row, way] >> 4) & 15 if c.tag[where, row, way] >= 0 else 0
    if policy == KEEP:
        held = 0
        for other in range(c.ways):
            held += c.tag[where, row, other] >= 0 and c.sectors[where, row, other] >> 8 & 3 == KEEP and other != way
        policy = KEEP if held < c.kept else NORMAL
    c.tag[where, row, way] = line
    c.sectors[where, row, way] = sectors | policy << 8
    c.clock[where, row] += 1
    c.age[where, row, way] = c.clock[where, row] >> (c.replacement if c.replacement <= LRU4 else 0)
    return int(dirty)


@compiled
def touch(c: Cache, side: int, line: int, sectors: int, policy: int, write: bool) -> int:
    """Read or write a line from a side, without time: what the cache holds afterwards. Return the sectors missed."""
    at, index = home(c, line)
    which, row, _ = place(c, index)
    own, far = side * c.slices + which, at * c.slices + which
    if write:
        _spread(c, own, far, row, line, sectors, policy)
        return 0
    way = look(c, own, row, line)
    if way >= 0 and (c.sectors[own, row, way] & sectors) == sectors:
        renew(c, own, row, way)
        return 0
    missed = _held(c, far, row, line, sectors, policy)
    if own != far:
        _held(c, own, row, line, sectors, policy)
    return missed


@inlined
def _held(c: Cache, where: int, row: int, line: int, sectors: int, policy: int) -> int:
    """Have the sectors in a slice; return those that were not there."""
    way = look(c, where, row, line)
    if way >= 0:
        missed = sectors & ~c.sectors[where, row, way]
        c.sectors[where, row, way] |= sectors
        renew(c, where, row, way)
        return int(missed)
    install(c, where, row, victim(c, where, row), line, sectors, policy)
    return sectors


@inlined
def _spread(c: Cache, own: int, far: int, row: int, line: int, sectors: int, policy: int) -> None:
    """Write into the home; the writer's own copy, if any, is given up."""
    _held(c, far, row, line, sectors, policy)
    way = look(c, far, row, line)
    c.sectors[far, row, way] |= sectors << 4
    if c.sides > 1:
        other = (far + c.slices) % (2 * c.slices)
        way = look(c, other, row, line)
        if way >= 0 and not c.sectors[other, row, way] & PENDING:
            c.tag[other, row, way] = -1
