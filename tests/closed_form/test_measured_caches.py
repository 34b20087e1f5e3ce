"""The cycle tier against measured caches: bandwidth over footprint and the latency staircase of five cards.

The figures are plateaus, knees and floors read off gpu-benches (RRZE-HPC/gpu-benches 1038c5d0; H100 PCIe latency from
te42kyfo 1c36d509), in GB/s and ns at footprints in MiB. One replacement model; each card's own organisation.
"""

from __future__ import annotations

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

from speedsim.catalog import load_gpu, load_stack
from speedsim.one_cache import Bench

MIB = 2**20
BANDWIDTH = [
    ("gh200_96", 18, 9774), ("gh200_96", 47, 7543), ("gh200_96", 107, 3893),
    ("h100_pcie", 18, 6921), ("h100_pcie", 43, 4253), ("h100_pcie", 107, 1988),
    ("a100_sxm", 18, 5436), ("a100_sxm", 107, 1879), ("l40", 39, 5237), ("l40", 129, 851),
]
MISSED = [("a100_sxm", 39, 2462), ("l40", 98, 4294)]
"""Knees that the model does not hit within 10 %: docs/cycle.md."""
LATENCY = [
    ("gh200_96", 10, 141.6), ("gh200_96", 45, 252.5),
    ("a100_sxm", 10, 146.0), ("l40", 40, 110.0), ("v100_sxm2", 3, 153.6), ("v100_sxm2", 30, 314.0),
]
BENCHES: dict[str, Bench] = {}


def bench(card: str) -> Bench:
    if card not in BENCHES:
        BENCHES[card] = Bench(load_gpu(card).value, load_stack("torch_graph").value)
    return BENCHES[card]


@pytest.mark.slow
@pytest.mark.parametrize(("card", "footprint", "measured"), BANDWIDTH)
def test_a_footprint_is_read_at_the_measured_rate(card, footprint, measured):
    assert bench(card).bandwidth(footprint * MIB).bytes_per_s / 1e9 == pytest.approx(measured, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize(("card", "footprint", "measured"), MISSED)
def test_the_knees_that_are_missed_are_missed_by_less_than_a_quarter(card, footprint, measured):
    assert bench(card).bandwidth(footprint * MIB).bytes_per_s / 1e9 == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize(("card", "footprint", "measured"), LATENCY)
def test_a_load_that_waits_for_the_one_before_takes_the_measured_time(card, footprint, measured):
    assert bench(card).latency_ps(footprint * MIB, 500) / 1000 == pytest.approx(measured, rel=0.1)
