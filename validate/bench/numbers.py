"""Which measured table gives which hardware number (fields of sim/hardware.py and sim/stack.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from ..records import Measured


class Number(NamedTuple):
    """A hardware number as it was measured."""

    field: str
    value: float
    unit: str
    how: str


Rule = Callable[[pd.DataFrame], float]


def _where(column: str, **wanted: object) -> Rule:
    """The only row with these keys."""
    def rule(table: pd.DataFrame) -> float:
        for key, value in wanted.items():
            table = table[table[key] == value]
        return float(table[column].iloc[0])

    return rule


def _best(column: str, **wanted: object) -> Rule:
    """The highest value among the rows with these keys."""
    def rule(table: pd.DataFrame) -> float:
        for key, value in wanted.items():
            table = table[table[key] == value]
        return float(table[column].max())

    return rule


RULES: tuple[tuple[str, str, str, Rule, str], ...] = (
    ("sm.clock", "clock", "Hz", _best("clock_hz"), "all SMs busy"),
    ("sm.peak.bf16", "matrices", "FLOP/s", _best("flop_per_s", dtype="bf16"), "best dense product, random data"),
    ("sm.peak.fp16", "matrices", "FLOP/s", _best("flop_per_s", dtype="fp16"), "best dense product, random data"),
    ("sm.peak.fp8", "matrices", "FLOP/s", _best("flop_per_s", dtype="fp8"), "best dense product, random data"),
    ("sm.peak.tf32", "matrices", "FLOP/s", _best("flop_per_s", dtype="tf32"), "best dense product, random data"),
    ("sm.peak.fp32", "matrices", "FLOP/s", _best("flop_per_s", dtype="fp32"), "best dense product, random data"),
    ("l2.bandwidth", "l2_reads", "B/s", _best("bytes_per_s", sharing="private"), "best footprint, lines private"),
    ("l2.near_latency", "chase", "us", lambda t: float(t["median_us"].min()), "shortest dependent load"),
    ("hbm.latency", "chase", "us", lambda t: float(t["median_us"].max()), "dependent load of the largest footprint"),
    ("hbm.read_bandwidth", "streams", "B/s", _best("bytes_per_s", operation="read"), "best of all sizes"),
    ("hbm.write_bandwidth", "streams", "B/s", _best("bytes_per_s", operation="write"), "best of all sizes"),
    ("hbm.copy_bandwidth", "streams", "B/s", _best("bytes_per_s", operation="copy"), "best size, read + written"),
    ("launch.node_gap", "node_gaps", "us", _where("median_us", mode="graph", blocks=1), "own time within"),
    ("launch.stream_gap", "node_gaps", "us", _where("median_us", mode="stream", blocks=1), "kernel of a full stream"),
    ("launch.barrier", "node_gaps", "us", _where("median_us", mode="persistent", blocks=132), "own time within"),
    ("launch.start", "start", "us", _best("median_us"), "launch until the host sees the end, synchronise within"),
    ("link.host", "link", "B/s", _best("bytes_per_s"), "best pinned copy"),
    ("energy.idle", "power", "W", _where("power_w", work="idle"), "board power"),
    ("energy.streaming", "power", "W", _where("power_w", work="stream"), "board power"),
    ("energy.multiplying", "power", "W", _where("power_w", work="multiply"), "board power"),
    ("host.turnaround", "turnaround", "us", _where("turnaround_p50_us", rows=1, copy="outside"), "median, one row"),
    ("host.dispatch", "dispatch", "us", _where("median_us", call="eager operation"), "one eager operation"),
    ("host.enqueue", "dispatch", "us", _where("median_us", call="stream enqueue"), "one kernel, no framework"),
    ("host.graph_call", "dispatch", "us", _where("median_us", call="graph call"), "one graph launch"),
)
"""(field, table, unit, rule, how)."""


def numbers(found: Mapping[str, Measured]) -> list[Number]:
    """The numbers that the tables give; what was not measured is left out."""
    told = []
    for field, table, unit, rule, how in RULES:
        if table not in found:
            continue
        try:
            value = rule(found[table].table)
        except (KeyError, IndexError, ValueError):
            continue
        if not math.isnan(value):
            told.append(Number(field, value, unit, how))
    return told
