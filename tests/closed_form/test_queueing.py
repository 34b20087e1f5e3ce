"""The fluid device as the queues of the textbooks: one server in order, and one pipe shared by all who are there.

Sizes have mean 1 us, arrivals come every 2 us on average: load 0.5.

    M/M/1, in order        mean time in the system  1 / (1 - load)
    M/G/1, shared evenly   the same, whatever the sizes' distribution
"""

from __future__ import annotations

import heapq
import random
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from speedsim.kernels.demand import Grid
from speedsim.machine.fluid import FluidDevice
from speedsim.machine.work import Work
from worlds import tiny_gpu

US = 1_000_000
LOAD = 0.5


def device(sms: int) -> FluidDevice:
    """A pipe of 1 byte a picosecond, so that bytes are picoseconds, and so many places."""
    gpu = tiny_gpu(l2=1e12)
    return FluidDevice(replace(gpu, sm=replace(gpu.sm, count=sms)))


def poisson(jobs: int, seed: int) -> list[int]:
    """Times of arrival in picoseconds."""
    rng, now, times = random.Random(seed), 0.0, []
    for _ in range(jobs):
        now += rng.expovariate(LOAD / US)
        times.append(round(now))
    return times


def exponential(jobs: int, seed: int) -> list[int]:
    """Sizes whose spread is their mean."""
    rng = random.Random(seed)
    return [1 + round(rng.expovariate(1 / US)) for _ in range(jobs)]


def two_sizes(jobs: int, seed: int) -> list[int]:
    """Many small jobs and a few of ten times the size; the same mean."""
    rng = random.Random(seed)
    return [round((5 if rng.random() < 1 / 9 else 0.5) * US) for _ in range(jobs)]


def times_in_system(on: FluidDevice, arrivals: list[int], sizes: list[int]) -> list[int]:
    """Plays the jobs, one CTA each; how long each took, in order of arrival."""
    spans = [0] * len(sizes)

    def let_pass(until: int) -> None:
        for done in on.advance(until):
            spans[int(done.work.name)] = done.duration_ps

    for number, (now, size) in enumerate(zip(arrivals, sizes, strict=True)):
        let_pass(now)
        on.start(Work(str(number), "elementwise", "bf16", 0, size, 0, Grid(1, 1, 32_768)), now)
    let_pass(2**62)
    return spans


def test_one_place_is_a_queue_in_order_of_arrival():
    """Lindley: a job waits for what was left when the one before came, less the time since. To the picosecond."""
    jobs = 20_000
    arrivals, sizes = poisson(jobs, 2), exponential(jobs, 102)
    spans = times_in_system(device(sms=1), arrivals, sizes)
    waited, expected = 0, [sizes[0]]
    for (before, now), (size, own) in zip(pairwise(arrivals), pairwise(sizes), strict=True):
        waited = max(0, waited + size - (now - before))
        expected.append(waited + own)
    assert spans == expected


def test_many_places_and_one_pipe_share_it_evenly():
    """With n jobs there each is served at 1/n: a job ends when the common service reaches its size. 1 ps an event."""
    jobs = 20_000
    arrivals, sizes = poisson(jobs, 2), exponential(jobs, 102)
    spans = times_in_system(device(sms=1000), arrivals, sizes)
    served, now, there, expected = 0.0, 0.0, [], [0.0] * jobs
    for number, arrival in [*enumerate(arrivals), (jobs, 2**62)]:
        while there and now + (there[0][0] - served) * len(there) <= arrival:
            until, ended = heapq.heappop(there)
            now += (until - served) * (len(there) + 1)
            served = until
            expected[ended] = now - arrivals[ended]
        if there:
            served += (arrival - now) / len(there)
        now = arrival
        if number < jobs:
            heapq.heappush(there, (served + sizes[number], number))
    assert max(abs(a - b) for a, b in zip(spans, expected, strict=True)) < 100


def test_the_mean_time_in_a_queue_in_order_is_that_of_m_m_1():
    jobs = 100_000
    spans = times_in_system(device(sms=1), poisson(jobs, 1), exponential(jobs, 101))
    assert sum(spans) / jobs == pytest.approx(US / (1 - LOAD), rel=0.02)


@cache
def shared(distribution):
    """(sizes, times) of jobs that share a pipe; the mean's standard error is near 1 %."""
    jobs = 60_000
    sizes = distribution(jobs, 106)
    return sizes, times_in_system(device(sms=1000), poisson(jobs, 6), sizes)


@pytest.mark.parametrize("distribution", [exponential, two_sizes])
def test_the_mean_time_in_a_shared_pipe_is_that_of_processor_sharing(distribution):
    _, spans = shared(distribution)
    assert sum(spans) / len(spans) == pytest.approx(US / (1 - LOAD), rel=0.02)


def test_in_a_shared_pipe_small_and_large_are_slowed_down_alike():
    """size / (1 - load); in a queue in order the small would wait for the large."""
    sizes, spans = shared(two_sizes)
    for size in (US // 2, 5 * US):
        of = [span for span, own in zip(spans, sizes, strict=True) if own == size]
        assert sum(of) / len(of) == pytest.approx(size / (1 - LOAD), rel=0.03)
