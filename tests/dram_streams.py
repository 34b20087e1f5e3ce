"""Streams of accesses to one DRAM channel, as in the Ramulator 2.1 runs of tests/reference, and what a channel makes of
them: kept full (saturated), or one access at a time (unloaded)."""

from __future__ import annotations

import numba
import numpy as np
from speedsim.machine import cycle_dram as dram
from speedsim.machine import cycle_queue as queue


def mix(seed: int, i: np.ndarray) -> np.ndarray:
    """splitmix64: output number i + 1 of a seed."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (i.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def sequential(order: str, i: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Consecutive addresses whose bits mean row, bank, bank group and column in this order, the lowest last."""
    fields = {}
    for field in reversed([order[k:k + 2] for k in range(0, len(order), 2)]):
        width = {"Ro": 14, "Ba": 2, "Bg": 2, "Co": 5, "C1": 1}[field]
        fields[field] = i % (1 << width)
        i = i >> (width if field != "Co" or "C1" not in order else 4)
    return fields["Bg"], fields["Ba"], fields["Ro"]


def base(name: str, i: np.ndarray, seed: int = 12345) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(bank group, bank, row) of access i of a stream without writes."""
    kind, *numbers = name.split(":")
    if kind.startswith("seq_"):
        return sequential(kind[4:], i)
    if kind == "rand":
        h = mix(seed, i).astype(np.int64)
        return h & 3, (h >> 2) & 3, (h >> 4) & 16383
    run = int(numbers[0])
    v = i // (4 * run if kind == "il4" else run)
    if kind == "rndbank":
        h = (mix(seed, v) % np.uint64(16)).astype(np.int64)
        return h % 4, h // 4, v % 16384
    if kind == "il4":
        return i % 4, v % 4, (v // 4) % 16384
    low, high = v % 4, (v // 4) % 4
    return (low, high, (v // 16) % 16384) if kind == "rrBG" else (high, low, (v // 16) % 16384)


def stream(name: str, count: int) -> np.ndarray:
    """Accesses (kind, flat bank, row) of a stream; the flat bank has its group in the low bits."""
    kind, *numbers = name.split(":")
    i = np.arange(count, dtype=np.int64)
    if len(numbers) < 4:
        group, bank, row = base(name, i)
        return np.stack([np.zeros(count, np.int64), group + 4 * bank, row])
    r, w, k = map(int, numbers[1:])
    write = i % ((r + w) * k) >= r * k
    nth = np.where(write, np.cumsum(write), np.cumsum(~write)) - 1
    group, bank, row = base(f"{kind}:{numbers[0]}", nth)
    group_w, bank_w, row_w = base(f"{kind}:{numbers[0]}", nth, seed=54321)
    bank_w = (bank_w + 2) % 4 if kind == "il4" else bank_w
    return np.stack([write.astype(np.int64), np.where(write, group_w + 4 * bank_w, group + 4 * bank),
                     np.where(write, row_w % 8192 + 8192, row % 8192)])


@numba.njit
def _saturated(s, t, accesses, warm, out):
    given = done = now = 0
    count = accesses.shape[1]
    while done < count:
        tick, _ = dram.step(s, t, 0, now)
        if tick > now:
            while given < count and queue.has_room(s, t, 0, accesses[0, given]):
                queue.put(s, 0, now + 1, accesses[0, given], accesses[1, given], accesses[2, given], 1, given)
                given += 1
            tick, _ = dram.step(s, t, 0, queue.FAR)
        now = tick
        finished = s.state[0, queue.N_READ] + s.state[0, queue.N_WRITE]
        if finished > done:
            done = finished
            if done == warm:
                out[0], out[2] = s.state[0, queue.LAST_COLUMN], s.state[0, queue.N_ACT]
    out[1], out[3] = s.state[0, queue.LAST_COLUMN], s.state[0, queue.N_ACT]


def saturated(t: queue.Timing, name: str, count: int, warm: int = 5000) -> tuple[float, int]:
    """(clocks, activates) of `count` accesses after the warm-up, the queue kept full."""
    out = np.zeros(4, np.int64)
    _saturated(queue.channels(1, t), t, stream(name, warm + count), warm, out)
    return (out[1] - out[0]) / t.edge, int(out[3] - out[2])


@numba.njit
def _unloaded(s, t, accesses, times):
    now = 0
    for i in range(accesses.shape[1]):
        now += 250 * t.edge
        while dram.step(s, t, 0, now - 1)[0] < now:
            pass
        queue.put(s, 0, now, 0, accesses[1, i], accesses[2, i], 1, i)
        tag = -1
        while tag < 0:
            _, tag = dram.step(s, t, 0, queue.FAR)
        times[i] = s.state[0, queue.DONE_AT] - now
        now = s.state[0, queue.DONE_AT]


def unloaded(t: queue.Timing, name: str, count: int) -> np.ndarray:
    """Clocks from arrival to the last data of each access, one at a time."""
    times = np.zeros(count, np.int64)
    _unloaded(queue.channels(1, t), t, stream(name, count), times)
    return times / t.edge
