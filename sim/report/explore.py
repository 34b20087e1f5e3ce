"""The explorer: sliders over a grid. The same page reads a finished sweep that lies inside it, or asks a live engine.

A value between two grid points is never shown: the sliders stand on points that were computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..timeline import BOUNDS
from .page import filled
from .tables import Column, Table
from .words import BOUND_NAMES

MOST_POINTS = 60_000
"""Points of a static page; beyond it the file would not stay under 6 MB."""


def static_page(table: Table) -> str:
    """The explorer of a sweep as one file. Raises InputError for a sweep that is too large."""
    from ..units import InputError

    count = len(table.refused)
    if count > MOST_POINTS:
        raise InputError(f"{count:,} points; an explorer holds at most {MOST_POINTS:,}: sweep fewer values")
    scenario = table.inputs["scenario"]
    fixed = " · ".join(str(scenario[key]) for key in ("gpu", "stack", "model", "schedule", "tier") if scenario.get(key))
    axes = [{"name": axis.name, "label": axis.name, "values": list(axis.texts),
             "kind": "choice" if axis.numbers is None else "slide", "start": len(axis.texts) // 2}
            for axis in table.axes]
    stride, strides = 1, list[int]()
    for axis in reversed(table.axes):
        strides.insert(0, stride)
        stride *= len(axis.texts)
    place = sum((axis.at * step for axis, step in zip(table.axes, strides, strict=True)), start=0 * table.axes[0].at)
    rows = [-1] * stride
    for row, where in enumerate(place.tolist()):
        rows[where] = row
    return _page({"axes": axes, "strides": strides, "rows": rows, "columns": _columns(table),
                  "refused": list(table.refused) if any(table.refused) else []},
                 f"precomputed: {count:,} points · otherwise {fixed} · batch {scenario['batch']}")


def _columns(table: Table) -> dict[str, list[float | None]]:
    """What the page shows of every point."""
    tokens = table.column("committed_tokens")
    plain = next((name for name in table.columns if name.startswith("time_per_token_us.autoregressive@")), "")
    hbm = sum(table.column(f"bytes_per_token.hbm.{kind}") for kind in ("weights", "head", "kv", "activations"))
    found: dict[str, Any] = {
        "time": table.column("time_per_token_us"), "plain": table.column(plain), "gain": table.column("gain.speedup"),
        "low": table.column("gain.low"), "high": table.column("gain.high"), "passes": table.column("passes") / tokens,
        "rows": table.column("row_passes") / table.column("passes"), "tps": table.column("tokens_per_s"),
        "hbm": hbm / 1e6,
    }
    found |= {f"b_{bound}": table.column(f"time_by_bound_us.{bound}") / tokens for bound in BOUNDS}
    return {name: _plain(column) for name, column in found.items()}


def _plain(column: Column) -> list[float | None]:
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in column.tolist()]


def live_page(axes: list[dict[str, Any]]) -> str:
    """The explorer that asks the server it came from."""
    return _page({"axes": axes, "live": True}, "live: every answer is computed as you move a slider")


def _page(data: Mapping[str, Any], kicker: str) -> str:
    names = {bound: BOUND_NAMES[bound] for bound in BOUNDS}
    return filled("explore.html", {"kicker": kicker, "connect": "'self'" if data.get("live") else "'none'"},
                  {"explore": {**data, "bounds": names}}, "explore.js")
