"""The memory system line by line: requests of SMs through slices, sides and channels, and back.

    read:  own side's slice | hit: data back
                            | pending: waits with the first that missed
                            | miss, home here: a DRAM read; home on the other side: look there, then keep a copy here
    write: the home's slice takes the sectors without fetching the rest; what it displaces goes to DRAM when dirty

A slice waits for a bounded number of lines; the request that finds no room blocks those behind it (head of line). What
comes from the other side has a queue and room of its own, so that the sides cannot wait for each other in a circle.
Ignored: requests that overtake each other in the crossbar, TLBs, atomics, the writes' acknowledgement.
"""

from __future__ import annotations

from .cycle_channels import WROTE, count, displace, event, to_dram
from .cycle_l2 import PENDING, home, install, look, place, renew, victim
from .cycle_numba import compiled, inlined
from .cycle_parts import (
    C_ACCESS,
    C_POLICY,
    C_WRITE,
    FILL,
    FORWARD,
    G_LAST,
    G_LEFT,
    L_BLOCKED,
    L_COPY,
    L_DEPTH,
    L_FIRST,
    L_FREE,
    L_HIT,
    L_LAST,
    L_MERGED,
    L_MISS,
    L_MISSES,
    L_WRITTEN,
    M_PORT,
    M_SECTORS,
    O_LINK,
    O_MISS_FREE,
    STAGE_READY,
    WRITTEN,
    X_FIRST,
    X_LAST,
    X_LINE,
    X_NEXT,
    X_QUEUE,
    X_ROW,
    X_SECTORS,
    X_SLICE,
    X_WAY,
    Paths,
    State,
)
from .cycle_queue import READ, WRITE, Timing
from .cycle_wheel import KIND, NEXT, A, B, C, D, free, put


@inlined
def _deliver(s: State, p: Paths, now: int, where: int, sm: int, stage: int, sectors: int) -> None:
    """Data leave a slice for an SM; the last line of a stage makes it ready."""
    out, port = s.slice[where], s.sm[sm]
    number = count(sectors)
    out[L_FREE] = max(now, out[L_FREE]) + p.slice * number
    port[M_PORT] = max(out[L_FREE] + p.back, port[M_PORT]) + p.port * number
    port[M_SECTORS] += number
    held = s.stage[stage]
    held[G_LAST] = max(held[G_LAST], port[M_PORT])
    held[G_LEFT] -= 1
    if held[G_LEFT] == 0:
        event(s, held[G_LAST], STAGE_READY, stage, 0, 0, 0)


@inlined
def _reply(s: State, p: Paths, now: int, where: int, miss: int, sectors: int) -> None:
    """Data leave a home slice for the other side's."""
    out, number = s.slice[where], count(sectors)
    out[L_FREE] = max(now, out[L_FREE]) + p.slice * number
    s.total[O_LINK] = max(out[L_FREE], s.total[O_LINK]) + p.link * number
    event(s, s.total[O_LINK] + p.cross_back, FILL, miss, 0, 0, 0)


@inlined
def _wait(s: State, miss: int, node: int) -> None:
    """A request waits for a miss."""
    m = s.miss[miss]
    s.wheel.node[node, NEXT] = -1
    if m[X_FIRST] < 0:
        m[X_FIRST] = node
    else:
        s.wheel.node[m[X_LAST], NEXT] = node
    m[X_LAST] = node


@inlined
def _miss(s: State, p: Paths, t: Timing, now: int, where: int, row: int, way: int, node: int, queue: int) -> bool:
    """A request begins to wait for sectors that a slice does not hold; False where there is no room for that."""
    c, n, out = s.cache, s.wheel.node[node], s.slice[where]
    if out[L_MISSES + queue] >= p.misses:
        return False
    line, sectors, policy = n[B], n[C] & 15, n[C] >> C_POLICY & 3
    if way < 0:
        way = victim(c, where, row)
        if way < 0:
            return False
        displace(s, p, t, now, where, row, way)
        install(c, where, row, way, line, sectors, policy)
        wanted = sectors
    else:
        wanted = sectors & ~c.sectors[where, row, way] & 15
        c.sectors[where, row, way] |= sectors
        renew(c, where, row, way)
    miss = s.total[O_MISS_FREE]
    m = s.miss[miss]
    s.total[O_MISS_FREE] = m[X_NEXT]
    m[X_LINE], m[X_SLICE], m[X_ROW], m[X_WAY], m[X_SECTORS], m[X_QUEUE] = line, where, row, way, wanted, queue
    m[X_FIRST] = -1
    c.pending[where, row, way] = miss
    c.sectors[where, row, way] |= PENDING
    out[L_MISSES + queue] += 1
    _wait(s, miss, node)
    side, index = home(c, line)
    if side == where // c.slices:
        out[L_MISS] += 1
        s.missed[n[C] >> C_ACCESS] += count(wanted)
        to_dram(s, p, t, now + p.look, READ, where, place(c, index)[2], wanted, miss)
    else:
        event(s, now + p.look + p.cross_out, FORWARD, miss, line, n[C] & ~15 | wanted, n[D])
    return True


@inlined
def _read(s: State, p: Paths, t: Timing, now: int, where: int, node: int, queue: int) -> bool:
    """Serve a read at the head of a slice's queue; False where it has to wait there."""
    c, n, out = s.cache, s.wheel.node[node], s.slice[where]
    line, sectors = n[B], n[C] & 15
    _, index = home(c, line)
    _, row, _ = place(c, index)
    way = look(c, where, row, line)
    if way >= 0 and c.sectors[where, row, way] & PENDING:
        out[L_MERGED] += 1
        _wait(s, c.pending[where, row, way], node)
        return True
    if way < 0 or sectors & ~c.sectors[where, row, way]:
        out[L_FREE] = max(now, out[L_FREE]) + p.look
        return _miss(s, p, t, now, where, row, way, node, queue)
    renew(c, where, row, way)
    out[L_HIT] += 1
    if queue:
        _reply(s, p, now, where, n[A], sectors)
    else:
        _deliver(s, p, now, where, n[D] % p.sms, n[A], sectors)
    free(s.wheel, node)
    return True


@inlined
def _write(s: State, p: Paths, t: Timing, now: int, own: int, node: int) -> None:
    """Take a write into the line's home, and give up the other side's copy."""
    c, n = s.cache, s.wheel.node[node]
    line, sectors, policy = n[B], n[C] & 15, n[C] >> C_POLICY & 3
    side, index = home(c, line)
    which, row, inner = place(c, index)
    where = side * c.slices + which
    out, arrival = s.slice[where], now
    if where != own:
        s.total[O_LINK] = max(now, s.total[O_LINK]) + p.link * count(sectors)
        arrival = s.total[O_LINK] + p.cross_out
    out[L_FREE] = max(arrival, out[L_FREE]) + p.slice * count(sectors)
    out[L_WRITTEN] += 1
    way = look(c, where, row, line)
    if way < 0:
        way = victim(c, where, row)
        if way >= 0:
            displace(s, p, t, now, where, row, way)
            install(c, where, row, way, line, 0, policy)
    if way < 0:
        to_dram(s, p, t, now, WRITE, where, inner, sectors, WROTE)
    else:
        c.sectors[where, row, way] |= sectors | sectors << 4
        renew(c, where, row, way)
    if c.sides > 1:
        other = (where + c.slices) % (2 * c.slices)
        way = look(c, other, row, line)
        if way >= 0 and not c.sectors[other, row, way] & PENDING:
            c.tag[other, row, way] = -1
    event(s, out[L_FREE], WRITTEN, 0, 0, 0, 0)
    free(s.wheel, node)


@compiled
def enter(s: State, p: Paths, t: Timing, now: int, where: int, node: int, queue: int) -> None:
    """A request comes to a slice."""
    out = s.slice[where]
    if out[L_FIRST + queue] < 0:
        if s.wheel.node[node, C] >> C_WRITE & 1:
            _write(s, p, t, now, where, node)
            return
        if _read(s, p, t, now, where, node, queue):
            return
        out[L_BLOCKED] += 1
        out[L_FIRST + queue] = node
    else:
        s.wheel.node[out[L_LAST + queue], NEXT] = node
    s.wheel.node[node, NEXT] = -1
    out[L_LAST + queue] = node
    out[L_DEPTH] += 1


@inlined
def _unblock(s: State, p: Paths, t: Timing, now: int, where: int, queue: int) -> None:
    """Serve what waits at a slice as far as there is room."""
    out = s.slice[where]
    while out[L_FIRST + queue] >= 0:
        node = out[L_FIRST + queue]
        after = s.wheel.node[node, NEXT]
        if s.wheel.node[node, C] >> C_WRITE & 1:
            _write(s, p, t, now, where, node)
        elif not _read(s, p, t, now, where, node, queue):
            # A failed try may have been linked nowhere: it stays the first.
            s.wheel.node[node, NEXT] = after
            return
        out[L_DEPTH] -= 1
        out[L_FIRST + queue] = after


@compiled
def fill(s: State, p: Paths, t: Timing, now: int, miss: int) -> None:
    """The data of a miss are there: all that wait for them are served, and its room is free."""
    c, m = s.cache, s.miss[miss]
    where, queue = m[X_SLICE], m[X_QUEUE]
    c.sectors[where, m[X_ROW], m[X_WAY]] &= ~PENDING
    node = m[X_FIRST]
    own = s.slice[where]
    own[L_MISSES + queue] -= 1
    m[X_NEXT] = s.total[O_MISS_FREE]
    s.total[O_MISS_FREE] = miss
    side, _ = home(c, m[X_LINE])
    own[L_COPY] += side != where // c.slices
    while node >= 0:
        n = s.wheel.node[node]
        after, sectors = n[NEXT], n[C] & 15
        if sectors & ~c.sectors[where, m[X_ROW], m[X_WAY]]:
            put(s.wheel, node, now)
        else:
            if n[KIND] == FORWARD:
                _reply(s, p, now, where, n[A], sectors)
            else:
                _deliver(s, p, now, where, n[D] % p.sms, n[A], sectors)
            free(s.wheel, node)
        node = after
    # A queue also waits for ways that the other's misses hold.
    for each in range(2):
        _unblock(s, p, t, now, where, each)
