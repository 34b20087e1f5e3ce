"""What a sweep's table says, for the screen: how the gain lies along each axis, the best point and the worst."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .grid import Grid

MOST_VALUES = 12
"""Values of an axis that are shown."""
SHOWN = ("time_per_token_us", "gain.speedup", "gain.low", "gain.high", "refused")


def summary(table: Path, grid: Grid) -> str:
    """The text. Reads only the columns that it shows."""
    import pyarrow.parquet as pq

    read = pq.read_table(table, columns=list(SHOWN), page_checksum_verification=True)
    time, gain, low, high = (read.column(name).to_numpy(zero_copy_only=False) for name in SHOWN[:4])
    lines = [f"{table}: {grid.size:,} points, {read.num_rows - read.column('refused').null_count:,} of them refused: "
             "predicted", "", f"{'':<34}  us/token               gain",
             f"{'':<34}    median    lowest  median  highest"]
    at = np.unravel_index(np.arange(grid.size), grid.shape)
    for dimension, members in enumerate(grid.dimensions):
        count = grid.shape[dimension]
        for value in _some(count):
            chosen = at[dimension] == value
            named = ", ".join(f"{grid.axes[place].key}={grid.axes[place].texts[value]}" for place in members)
            lines.append(f"{named:<34} {_figures(time[chosen], gain[chosen])}")
        if count > MOST_VALUES:
            lines.append(f"{'':<34} ({count:,} values, {MOST_VALUES} shown)")
        lines.append("")
    lines += _ends(grid, at, gain, low, high)
    refused = [text for text in read.column("refused").unique().to_pylist() if text is not None]
    return "\n".join([*lines, *(f"refused: {text}" for text in refused[:MOST_VALUES])])


def _some(count: int) -> list[int]:
    """Places of at most MOST_VALUES of so many values, both ends among them."""
    if count <= MOST_VALUES:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MOST_VALUES - 1)) for i in range(MOST_VALUES)})


def _figures(time: Any, gain: Any) -> str:
    if not np.isfinite(gain).any():
        return f"{'-':>9}"
    return (f"{np.nanmedian(time):9,.1f}  {np.nanmin(gain):8.2f}{np.nanmedian(gain):8.2f}"
            f"{np.nanmax(gain):9.2f}")


def _ends(grid: Grid, at: Any, gain: Any, low: Any, high: Any) -> Iterator[str]:
    """The best point and the worst, as options of `speedsim run`."""
    if not np.isfinite(gain).any():
        return
    for word, place in (("best", int(np.nanargmax(gain))), ("worst", int(np.nanargmin(gain)))):
        scenario = grid.scenario_at({dimension: int(index[place]) for dimension, index in enumerate(at)})
        told = [f"--{one.key.replace('_', '-')} {getattr(scenario, one.key)}" if one.own else
                f"--set {one.key}={dict(scenario.sets)[one.key]}" for one in grid.axes]
        yield f"{word:<6} {gain[place]:.2f} x ({low[place]:.2f} to {high[place]:.2f})   {' '.join(told)}"
    yield f"speculation pays (gain above 1) at {np.nanmean(gain > 1):.0%} of the points"
