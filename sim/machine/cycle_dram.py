"""One DRAM channel's controller: FR-FCFS over banks, bank groups and JEDEC timings, command by command.

    queue -> ACT (activate the row) -> RD or WR columns -> PRE (precharge) -> ...

At every command the controller takes what may go first; of what is ready at that time column commands before row
commands, older requests before younger ones (first ready, first come). A request whose row is open waits for its bank,
its bank group and the bus; one whose row is not open has its bank precharged, unless an older request still hits the
open row. Reads go first until the write queue is four fifths full or no read waits; writes until it is a fifth full.
A request may take several columns of one row (a line of four sectors); their commands are placed together, as close as
its bank group allows, and requests to other bank groups go between them.

A column command starts on a whole clock. Refresh: none, all banks at once, or one bank after the other while the
others go on.
Rules and queues follow Ramulator 2.1's HBM controllers (CMU-SAFARI/ramulator2 c5b1c3a4), against which they are tested.
Ignored: power-down, reordering beyond the queue, a shared command bus of two pseudo-channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .cycle_numba import compiled, inlined
from .cycle_queue import (
    ACT,
    ACTIVE,
    ALL_BANKS,
    BUS,
    BUS_AT,
    C_ACT,
    C_PRE,
    C_RD,
    C_WR,
    DONE_AT,
    DRAIN,
    FAR,
    FIRST_ACT,
    FOUR,
    G_ACT,
    G_RD,
    G_WR,
    HEAD,
    HIT,
    LAST_COLUMN,
    N_ACT,
    N_PRE,
    N_READ,
    N_REFRESH,
    N_WRITE,
    NOW,
    OPEN,
    PER_BANK,
    PRE,
    RD,
    READ,
    REFRESH_AT,
    REFRESH_BANK,
    ROW,
    ROW_BUS,
    S_AGE,
    S_BANK,
    S_COLUMNS,
    S_KIND,
    S_ROW,
    S_SINCE,
    S_TAG,
    WAITING,
    WR,
    Channels,
    Timing,
    next_hit,
    remove,
)

NOTHING, ACTIVATE, PRECHARGE, REFRESH = 0, 1, 2, 3


@inlined
def _fits(state: NDArray[np.int64], t: Timing, ready: int, columns: int) -> int:
    """The first clock from `ready` on at which so many columns of one bank group find the data bus free."""
    clock = -(-ready // t.edge)
    ahead = clock - state[BUS_AT]
    if 0 <= ahead < 63:
        taken = state[BUS] >> ahead
        wanted = 1
        for _ in range(columns - 1):
            wanted = wanted << (t.ccd_l // t.edge) | 1
        while taken & wanted:
            taken >>= 1
            clock += 1
    return clock * t.edge


@inlined
def _occupy(state: NDArray[np.int64], t: Timing, now: int, columns: int) -> None:
    """Mark the clocks at which no other column command may start beside these; what is past is forgotten."""
    clock, near, apart = now // t.edge, t.ccd_s // t.edge, t.ccd_l // t.edge
    gone = clock - state[BUS_AT]
    bus = state[BUS] >> gone if gone < 63 else 0
    for column in range(columns):
        for at in range(max(0, column * apart - near + 1), column * apart + near):
            bus |= 1 << at
    state[BUS], state[BUS_AT] = bus, clock


@inlined
def _choose(s: Channels, t: Timing, c: int, now: int, kind: int, held: bool) -> tuple[int, int, int, int, int]:
    """(tick, request) of the column commands that go first, and (tick, bank, command) of the row command.

    Activated requests go before others; `held`: nothing but those goes.
    """
    state = s.state[c]
    due = state[REFRESH_BANK] if t.refresh == PER_BANK and now >= state[REFRESH_AT] else -1
    four = max(now, state[FIRST_ACT + state[FOUR]] + t.faw, state[C_ACT], state[ROW_BUS])
    close = max(now, state[C_PRE], state[ROW_BUS])
    column, chosen, rank = FAR, -1, FAR
    row, bank, what, turn = FAR, -1, NOTHING, FAR
    for each in range(t.banks):
        b = s.bank[c, each]
        head, at = b[HEAD + kind], b[ACTIVE]
        if at < 0 and (head < 0 or held):
            continue
        g = s.group[c, each % t.groups]
        active = at >= 0
        if not active:
            at = b[HIT + kind]
        if at >= 0:
            slot = s.slot[c, at]
            which = slot[S_KIND]
            ready = max(now, b[RD + which], g[G_RD + which], state[C_RD + which], slot[S_SINCE])
            if ready <= column:
                ready = _fits(state, t, ready, slot[S_COLUMNS])
                order = slot[S_AGE] - FAR if active else slot[S_AGE]
                if ready < column or (ready == column and order < rank):
                    column, chosen, rank = ready, at, order
        if active or each == due or b[ROW] == s.slot[c, head, S_ROW]:
            continue
        slot = s.slot[c, head]
        if b[ROW] < 0:
            ready = -(-max(four, b[ACT], g[G_ACT], slot[S_SINCE]) // t.edge) * t.edge
        else:
            ready = max(close, b[PRE], slot[S_SINCE])
        if ready < row or (ready == row and slot[S_AGE] < turn):
            row, bank, what, turn = ready, each, ACTIVATE if b[ROW] < 0 else PRECHARGE, slot[S_AGE]
    return column, chosen, row, bank, what


@inlined
def _choose_refresh(s: Channels, t: Timing, c: int, now: int) -> tuple[int, int, int]:
    """(tick, bank, command) of what a refresh that is due needs next; bank -1 stands for all of them."""
    state = s.state[c]
    if t.refresh == PER_BANK:
        bank = state[REFRESH_BANK]
        b = s.bank[c, bank]
        if b[ACTIVE] >= 0:
            return FAR, bank, NOTHING
        if b[ROW] >= 0:
            return max(now, b[PRE], state[C_PRE], state[ROW_BUS]), bank, PRECHARGE
        ready = max(now, b[ACT] + t.extra, state[ROW_BUS])
        return -(-ready // t.edge) * t.edge, bank, REFRESH
    ready, any_open = max(now, state[ROW_BUS]), False
    for bank in range(t.banks):
        b = s.bank[c, bank]
        if b[ACTIVE] >= 0:
            return FAR, -1, NOTHING
        any_open |= b[ROW] >= 0
    for bank in range(t.banks):
        b = s.bank[c, bank]
        if not any_open:
            ready = max(ready, b[ACT] + t.extra)
        elif b[ROW] >= 0:
            ready = max(ready, b[PRE], state[C_PRE])
    if any_open:
        return ready, -1, PRECHARGE
    return -(-ready // t.edge) * t.edge, -1, REFRESH


@inlined
def _column(s: Channels, t: Timing, c: int, now: int, at: int) -> int:
    """Issue a request's column commands; return its tag."""
    state, slot = s.state[c], s.slot[c, at]
    bank, kind = slot[S_BANK], slot[S_KIND]
    b, g = s.bank[c, bank], s.group[c, bank % t.groups]
    _occupy(state, t, now, slot[S_COLUMNS])
    last = now + (slot[S_COLUMNS] - 1) * t.ccd_l
    state[LAST_COLUMN] = last
    if kind == READ:
        g[G_RD] = last + t.ccd_l
        state[C_WR] = max(state[C_WR], last + t.read_write)
        b[PRE] = max(b[PRE], last + t.read_pre)
        state[N_READ] += slot[S_COLUMNS]
    else:
        g[G_WR] = last + t.ccd_l
        state[C_RD], g[G_RD] = max(state[C_RD], last + t.write_read_s), max(g[G_RD], last + t.write_read_l)
        b[PRE] = max(b[PRE], last + t.write_pre)
        state[N_WRITE] += slot[S_COLUMNS]
    tag = int(slot[S_TAG])
    state[DONE_AT] = last + t.read_data
    remove(s, c, at)
    if t.closed:
        # The precharge starts when the column allows it; only the activate after it waits.
        state[OPEN] -= 1
        b[ROW] = b[HIT] = b[HIT + 1] = -1
        b[ACT] = max(b[ACT], last + (t.write_pre if kind else t.read_pre) + t.rp)
    return tag


@inlined
def _activate(s: Channels, t: Timing, c: int, now: int, bank: int, kind: int) -> None:
    state, b = s.state[c], s.bank[c, bank]
    at = b[HEAD + kind]
    state[WAITING + kind] -= 1
    state[OPEN] += 1
    b[ACTIVE], b[ROW] = at, s.slot[c, at, S_ROW]
    b[RD], b[WR] = now + t.rcd_read, now + t.rcd_write
    b[PRE], b[ACT] = now + t.ras, now + t.rc
    for other in range(2):
        next_hit(s, c, bank, other, b[HEAD + other])
    g = s.group[c, bank % t.groups]
    g[G_ACT] = max(g[G_ACT], now + t.rrd_l)
    state[C_ACT] = max(state[C_ACT], now + t.rrd_s)
    state[FIRST_ACT + state[FOUR]] = now
    state[FOUR] = (state[FOUR] + 1) % 4
    state[ROW_BUS] = now + t.activate
    state[N_ACT] += 1


@inlined
def _precharge(s: Channels, t: Timing, c: int, now: int, bank: int) -> None:
    state, b = s.state[c], s.bank[c, bank]
    state[OPEN] -= 1
    b[ROW] = b[HIT] = b[HIT + 1] = -1
    b[ACT] = max(b[ACT], now + t.rp)
    state[C_PRE] = max(state[C_PRE], now + t.ppd)
    state[ROW_BUS] = now + 1
    state[N_PRE] += 1


@inlined
def _refresh(s: Channels, t: Timing, c: int, now: int) -> None:
    state = s.state[c]
    state[N_REFRESH] += 1
    state[REFRESH_AT] += t.refi
    state[ROW_BUS] = now + 1
    for bank in range(t.banks):
        if t.refresh == ALL_BANKS:
            s.bank[c, bank, ACT] = max(s.bank[c, bank, ACT], now + t.rfc_all)
        elif bank == state[REFRESH_BANK]:
            s.bank[c, bank, ACT] = max(s.bank[c, bank, ACT], now + t.rfc_bank)
        else:
            s.bank[c, bank, ACT] = max(s.bank[c, bank, ACT], now + t.rrefd)
    state[REFRESH_BANK] = (state[REFRESH_BANK] + 1) % t.banks


@inlined
def _mode(state: NDArray[np.int64], t: Timing) -> int:
    """Whether reads or writes go now."""
    reads, writes = state[WAITING], state[WAITING + 1]
    if state[DRAIN]:
        if writes * 5 < t.writes and reads:
            state[DRAIN] = 0
    elif writes * 5 > t.writes * 4 or not reads:
        state[DRAIN] = 1
    return int(state[DRAIN])


@compiled
def step(s: Channels, t: Timing, c: int, limit: int) -> tuple[int, int]:
    """Issue the next command that may start by `limit`.

    (its tick, the tag of the request that it completes or -1); a tick beyond `limit` when nothing may start by then:
    the earliest that could, if nothing else arrives. A completed read's last data come at state[DONE_AT].
    """
    state = s.state[c]
    now = state[NOW]
    kind = _mode(state, t)
    due = now >= state[REFRESH_AT]
    held = due and t.refresh == ALL_BANKS
    column, at, row, bank, what = _choose(s, t, c, now, kind, held)
    if due:
        fresh, which, needed = _choose_refresh(s, t, c, now)
        if fresh <= row:
            row, bank, what = fresh, which, needed
    first = min(column, row)
    if not due and first > state[REFRESH_AT]:
        # Nothing starts before the refresh falls due: look again from there.
        if state[REFRESH_AT] <= limit:
            state[NOW] = state[REFRESH_AT]
        return state[REFRESH_AT], -1
    if first > limit:
        return first, -1
    state[NOW] = first
    if column <= row:
        return column, _column(s, t, c, column, at)
    _row_command(s, t, c, row, bank, what, kind)
    return row, -1


@inlined
def _row_command(s: Channels, t: Timing, c: int, now: int, bank: int, what: int, kind: int) -> None:
    """Issue it; bank -1 stands for all that are open."""
    if what == ACTIVATE:
        _activate(s, t, c, now, bank, kind)
    elif what == REFRESH:
        _refresh(s, t, c, now)
    elif bank >= 0:
        _precharge(s, t, c, now, bank)
    else:
        for each in range(t.banks):
            if s.bank[c, each, ROW] >= 0:
                _precharge(s, t, c, now, each)


def counters(s: Channels) -> dict[str, int]:
    """Commands of all channels so far."""
    names = {"activates": N_ACT, "precharges": N_PRE, "reads": N_READ, "writes": N_WRITE, "refreshes": N_REFRESH}
    return {name: int(s.state[:, at].sum()) for name, at in names.items()}
