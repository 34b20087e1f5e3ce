"""Between slices and DRAM channels: which channel, bank and row a line lies in, its way there, and the channels' turns.

A channel is woken when it may have something to issue, and then issues all that nothing still on its way can change: a
request takes `to_dram` to get there. Where its queue is full, requests wait in order.
"""

from __future__ import annotations

from .cycle_dram import step
from .cycle_l2 import home, place
from .cycle_numba import compiled, inlined
from .cycle_parts import FILL, H_DEPTH, H_FIRST, H_INSIDE, H_LAST, H_WAKE, O_WROTE_BACK, WAKE, Paths, State
from .cycle_queue import DONE_AT, FAR, WRITE, Timing, has_room
from .cycle_queue import put as queue_up
from .cycle_wheel import KIND, NEXT, TIME, A, B, C, D, free, put, take

WROTE = 1 << 30
"""Tag of DRAM requests that nothing waits for."""


@inlined
def count(sectors: int) -> int:
    """How many sectors a mask has."""
    return (sectors & 1) + (sectors >> 1 & 1) + (sectors >> 2 & 1) + (sectors >> 3 & 1)


@inlined
def event(s: State, time: int, kind: int, a: int, b: int, c: int, d: int) -> int:
    """Have something happen at a time."""
    node = take(s.wheel)
    n = s.wheel.node[node]
    n[KIND], n[A], n[B], n[C], n[D] = kind, a, b, c, d
    put(s.wheel, node, time)
    return node


@inlined
def _channel(s: State, p: Paths, where: int, row_index: int) -> tuple[int, int, int]:
    """(channel, flat bank, row) of an index within a slice: bank groups in turn, then a row's lines, then banks."""
    slices = s.cache.sides * s.cache.slices
    if p.channels >= slices:
        ratio = p.channels // slices
        channel, y = where * ratio + row_index % ratio, row_index // ratio
    else:
        ratio = slices // p.channels
        channel, y = where // ratio, row_index * ratio + where % ratio
    groups = s.dram.group.shape[1]
    banks = s.dram.bank.shape[1] // groups
    group, y = y % groups, y // groups
    y = y // p.row_lines
    bank, row = y % banks, y // banks
    # The row's low bits permute banks and groups, so that strides of whole rows do not meet in one bank.
    return channel, (group + row // banks) % groups + groups * ((bank + row) % banks), row


@compiled
def to_dram(s: State, p: Paths, t: Timing, now: int, kind: int, where: int, index: int, sectors: int, tag: int) -> None:
    """A request leaves a slice for its channel, or waits behind others where the queue is full."""
    channel, bank, row = _channel(s, p, where, index)
    arrival = now + p.to_dram
    h = s.channel[channel]
    if h[H_FIRST] < 0 and has_room(s.dram, t, channel, kind):
        queue_up(s.dram, channel, -(-arrival // p.tick), kind, bank, row, count(sectors), tag)
        h[H_INSIDE] += 1
        if h[H_WAKE] < 0 or h[H_WAKE] > arrival:
            h[H_WAKE] = arrival
            event(s, arrival, WAKE, channel, 0, 0, 0)
        return
    node = take(s.wheel)
    n = s.wheel.node[node]
    n[NEXT], n[KIND], n[A], n[B], n[C], n[D], n[TIME] = -1, kind, bank, row, count(sectors), tag, arrival
    if h[H_FIRST] < 0:
        h[H_FIRST] = node
    else:
        s.wheel.node[h[H_LAST], NEXT] = node
    h[H_LAST] = node
    h[H_DEPTH] += 1


@compiled
def wake(s: State, p: Paths, t: Timing, now: int, channel: int) -> None:
    """Let a channel issue all that nothing still under way can change: a request takes `to_dram` to get there."""
    h = s.channel[channel]
    if h[H_WAKE] != now:
        return
    limit = (now + p.to_dram) // p.tick
    while True:
        while h[H_FIRST] >= 0 and has_room(s.dram, t, channel, s.wheel.node[h[H_FIRST], KIND]):
            node = h[H_FIRST]
            n = s.wheel.node[node]
            queue_up(s.dram, channel, -(-max(n[TIME], now) // p.tick), n[KIND], n[A], n[B], n[C], n[D])
            h[H_INSIDE] += 1
            h[H_FIRST] = n[NEXT]
            h[H_DEPTH] -= 1
            free(s.wheel, node)
        tick, tag = step(s.dram, t, channel, limit)
        if tag >= 0:
            h[H_INSIDE] -= 1
            if tag != WROTE:
                event(s, s.dram.state[channel, DONE_AT] * p.tick + p.from_dram, FILL, tag, 0, 0, 0)
        if tick > limit:
            break
    if h[H_INSIDE] and tick < FAR:
        h[H_WAKE] = max(tick * p.tick, now + 1)
        event(s, h[H_WAKE], WAKE, channel, 0, 0, 0)
    else:
        h[H_WAKE] = -1


@inlined
def displace(s: State, p: Paths, t: Timing, now: int, where: int, row: int, way: int) -> None:
    """Before a way is taken: what is dirty in it goes to DRAM."""
    c = s.cache
    dirty = c.sectors[where, row, way] >> 4 & 15
    if c.tag[where, row, way] >= 0 and dirty:
        _, index = home(c, c.tag[where, row, way])
        to_dram(s, p, t, now, WRITE, where, place(c, index)[2], dirty, WROTE)
        s.total[O_WROTE_BACK] += count(dirty)
