"""How a point is measured: warm-up, rounds of repeats, medians, and honesty about noise.

A point is measured in rounds of at least 20 repeats. It is settled when two rounds in a row agree within 3 % and the
spread of their pooled repeats (median absolute deviation over median) is at most 3 %. Up to MOST_ROUNDS are tried; what
is still unsettled is kept and marked, never dropped.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

REPEATS = 20
MOST_ROUNDS = 4
TOLERANCE = 0.03
VALUES = ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us", "repeats", "rounds", "rounds_apart", "remark",
          "sm_mhz", "memory_mhz", "throttle", "power_w")
"""Columns of a point's time."""


class Point(NamedTuple):
    """The time of one thing, in microseconds; the fields are VALUES without the watch's."""

    median_us: float
    mad_us: float
    lowest_us: float
    highest_us: float
    p99_us: float
    repeats: int
    rounds: int
    rounds_apart: float
    """Relative difference of the last two rounds' medians."""
    remark: str
    """Empty, or why the point is not settled."""


def spread(times: list[float]) -> tuple[float, float]:
    """Median and median absolute deviation."""
    middle = statistics.median(times)
    return middle, statistics.median([abs(t - middle) for t in times])


def measure(sample: Callable[[], float], repeats: int = REPEATS, most_rounds: int = MOST_ROUNDS) -> Point:
    """The point of a thing whose `sample()` does it once and returns its time in microseconds."""
    if repeats < 1 or most_rounds < 2:
        raise ValueError(f"repeats={repeats}, most_rounds={most_rounds}: at least 1 and 2")
    rounds: list[list[float]] = []
    remark, apart, times = "", 0.0, []
    for number in range(1, most_rounds + 1):
        rounds.append([sample() for _ in range(repeats)])
        if number < 2:
            continue
        times = rounds[-2] + rounds[-1]
        middle, deviation = spread(times)
        first, second = statistics.median(rounds[-2]), statistics.median(rounds[-1])
        apart = abs(first - second) / middle if middle else 0.0
        noisy = middle > 0 and deviation / middle > TOLERANCE
        remark = "rounds differ" if apart > TOLERANCE else "noisy" if noisy else ""
        if not remark:
            break
    middle, deviation = spread(times)
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, -(-99 * len(ordered) // 100) - 1)]
    return Point(middle, deviation, ordered[0], ordered[-1], p99, len(times), len(rounds), apart, remark)


def timer(device: str, work: Callable[[], object], inner: int = 1, warm_up: int = 3) -> Callable[[], float]:
    """A sample of `work`, done `inner` times between two clock readings; microseconds of one.

    On a GPU the readings are events on the current stream: host time is in them only where the host is the slower one.
    """
    for _ in range(warm_up):
        work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

        def by_event() -> float:
            begin.record()
            for _ in range(inner):
                work()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) * 1e3 / inner

        return by_event

    def by_clock() -> float:
        start = time.perf_counter_ns()
        for _ in range(inner):
            work()
        return (time.perf_counter_ns() - start) / 1e3 / inner

    return by_clock


def enough(work: Callable[[], object], device: str, least_us: float = 200.0, most: int = 1000) -> int:
    """How often `work` must be done in a sample for it to last `least_us`."""
    once = timer(device, work, 1)
    shortest = max(0.1, min(once() for _ in range(3)))
    return max(1, min(most, int(least_us / shortest) + 1))
