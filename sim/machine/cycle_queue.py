"""What a DRAM controller keeps of its channels: banks, bank groups, queued requests; and the timing set in its ticks.

    channel c:  state[c]   bank[c, b]   group[c, g]   slot[c, request]

Requests of a bank and kind are a list from the oldest to the youngest; a bank knows the oldest that hits its open row.
Time is counted in ticks: clocks, or half clocks where a precharge may start in the middle of one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..dram import Dram
from .cycle_numba import inlined

FAR = 1 << 62
"""A time that never comes."""
NO_REFRESH, ALL_BANKS, PER_BANK = 0, 1, 2
READ, WRITE = 0, 1

# Columns of Channels.bank: earliest ticks of commands, the open row, and the requests of each kind.
ROW, ACT, RD, WR, PRE, ACTIVE, HEAD, TAIL, HIT = 0, 1, 2, 3, 4, 5, 6, 8, 10
BANK_WIDTH = 12
# Columns of Channels.group.
G_ACT, G_RD, G_WR = 0, 1, 2
# Columns of Channels.state.
(C_ACT, C_RD, C_WR, C_PRE, ROW_BUS, BUS, BUS_AT, NOW, DRAIN, WAITING, _, OPEN, FREE, AGE, FOUR, FIRST_ACT, _, _, _,
 REFRESH_AT, REFRESH_BANK, N_ACT, N_PRE, N_READ, N_WRITE, N_REFRESH, DONE_AT, LAST_COLUMN) = range(28)
STATE_WIDTH = 28
# Columns of Channels.slot.
S_BANK, S_ROW, S_COLUMNS, S_AGE, S_NEXT, S_BEFORE, S_TAG, S_KIND, S_SINCE = range(9)
SLOT_WIDTH = 10


class Timing(NamedTuple):
    """A timing set in ticks of one channel."""

    edge: int
    """Ticks of a clock."""
    groups: int
    banks: int
    """In all."""
    activate: int
    """How long an activate holds the row bus."""
    extra: int
    """By how much an activate's own length moves what is counted from its end."""
    read_data: int
    """From a read to its last data."""
    ccd_s: int
    ccd_l: int
    ppd: int
    rcd_read: int
    rcd_write: int
    rp: int
    ras: int
    rc: int
    read_pre: int
    write_pre: int
    rrd_s: int
    rrd_l: int
    faw: int
    write_read_s: int
    write_read_l: int
    read_write: int
    refi: int
    rfc_all: int
    rfc_bank: int
    rrefd: int
    closed: int
    """1: every request precharges its bank itself."""
    refresh: int
    reads: int
    writes: int
    """Requests that wait for an activate at most."""


class Channels(NamedTuple):
    """The state of all channels: a row each."""

    state: NDArray[np.int64]
    bank: NDArray[np.int32]
    group: NDArray[np.int64]
    slot: NDArray[np.int32]
    """Small numbers keep the banks and requests of many channels in the processor's cache."""


def timing(dram: Dram, clock_fs: int, *, closed: bool = False, refresh: int = PER_BANK, reads: int = 32,
           writes: int = 32) -> Timing:
    """The set in ticks at a clock of this period."""
    edge = 2 if dram.half_clock_precharge else 1

    def of(name: str) -> int:
        return dram.clocks(name, clock_fs) * edge

    burst = dram.access_bytes // dram.bytes_per_clock * edge
    activate = max(1, dram.activate_half_clocks * edge // 2)
    extra, half = activate - 1, edge - 1
    write_end = of("cwl") + burst
    banks = dram.bank_groups * dram.banks
    refi = of("refi") // banks if refresh == PER_BANK else of("refi")
    return Timing(
        edge, dram.bank_groups, banks, activate, extra, of("cl") + burst, dram.ccd_s_clocks * edge,
        dram.ccd_l_clocks * edge, dram.ppd_clocks * edge, of("rcd_read") + extra - half, of("rcd_write") + extra - half,
        of("rp") - extra, of("ras") + extra, max(of("rc"), of("ras") + of("rp")), of("rtp") + half,
        write_end + of("wr") + half, of("rrd_s"), of("rrd_l"), of("faw"), write_end + of("wtr_s"),
        write_end + of("wtr_l"), of("rtw"), refi, of("rfc_all") - half, of("rfc_bank") - half, of("rrefd") - half,
        int(closed), refresh, reads, writes,
    )


def channels(count: int, t: Timing) -> Channels:
    """Idle channels, all banks closed. Refreshes of different channels are due at different times."""
    slots = t.reads + t.writes + t.banks + 2
    state = np.zeros((count, STATE_WIDTH), np.int64)
    bank = np.zeros((count, t.banks, BANK_WIDTH), np.int32)
    bank[:, :, [ROW, ACTIVE, HEAD, HEAD + 1, TAIL, TAIL + 1, HIT, HIT + 1]] = -1
    slot = np.zeros((count, slots, SLOT_WIDTH), np.int32)
    slot[:, :, S_NEXT] = np.arange(1, slots + 1)
    slot[:, -1, S_NEXT] = -1
    state[:, FIRST_ACT:FIRST_ACT + 4] = -FAR // 4
    due = t.refi * (1 + np.arange(count, dtype=np.int64)) // count
    state[:, REFRESH_AT] = FAR if t.refresh == NO_REFRESH else due
    return Channels(state, bank, np.zeros((count, t.groups, 3), np.int64), slot)


@inlined
def has_room(s: Channels, t: Timing, c: int, kind: int) -> bool:
    """Whether the channel's queue takes another request of this kind."""
    return bool(s.state[c, WAITING + kind] < (t.writes if kind else t.reads))


@inlined
def put(s: Channels, c: int, now: int, kind: int, bank: int, row: int, columns: int, tag: int) -> None:
    """Queue a request that arrives at `now`, behind those queued before; `has_room` has been asked."""
    state, b, slots = s.state[c], s.bank[c, bank], s.slot[c]
    new = state[FREE]
    state[FREE] = slots[new, S_NEXT]
    slot = slots[new]
    slot[S_BANK], slot[S_ROW], slot[S_COLUMNS], slot[S_TAG], slot[S_KIND] = bank, row, columns, tag, kind
    slot[S_AGE], slot[S_SINCE], slot[S_NEXT], slot[S_BEFORE] = state[AGE], now, -1, b[TAIL + kind]
    state[AGE] += 1
    state[WAITING + kind] += 1
    if b[TAIL + kind] >= 0:
        slots[b[TAIL + kind], S_NEXT] = new
    else:
        b[HEAD + kind] = new
    b[TAIL + kind] = new
    if b[HIT + kind] < 0 and b[ROW] == row:
        b[HIT + kind] = new


@inlined
def next_hit(s: Channels, c: int, bank: int, kind: int, at: int) -> None:
    """Find the oldest request from `at` on that hits the bank's open row."""
    b, slots = s.bank[c, bank], s.slot[c]
    while at >= 0 and slots[at, S_ROW] != b[ROW]:
        at = slots[at, S_NEXT]
    b[HIT + kind] = at


@inlined
def remove(s: Channels, c: int, at: int) -> None:
    """Take a request out: it is done."""
    slots = s.slot[c]
    bank, kind, after, before = slots[at, S_BANK], slots[at, S_KIND], slots[at, S_NEXT], slots[at, S_BEFORE]
    b = s.bank[c, bank]
    if before >= 0:
        slots[before, S_NEXT] = after
    else:
        b[HEAD + kind] = after
    if after >= 0:
        slots[after, S_BEFORE] = before
    else:
        b[TAIL + kind] = before
    if b[HIT + kind] == at:
        next_hit(s, c, bank, kind, after)
    if b[ACTIVE] == at:
        b[ACTIVE] = -1
    else:
        s.state[c, WAITING + kind] -= 1
    slots[at, S_NEXT] = s.state[c, FREE]
    s.state[c, FREE] = at
