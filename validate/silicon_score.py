"""Scores of predicted against measured kernel times, and the null models beside them.

    error of a row = predicted / measured - 1     MAPE: mean of its size, bias: its mean, p95: of its size
    geometric error = exp(mean |ln(predicted / measured)|) - 1, which does not favour predictions that are too short

Nulls: the roofline, a straight line a + W / b in the bytes of weights (or of keys and values), and how well the other
frameworks' tables of the same GPU would have told this one (their median: the noise floor of the data).

Which rows are which is a matter of their names alone, so that no order of a file and no run changes it: a cell (n, k)
is sealed where crc32("n,k") is divisible by 4; of the open rows, the twentieth with the smallest crc32 of their shape
is the share on which anything may be fitted, and is never scored.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHARE = 20
"""One open row in so many may be fitted on."""
MB_EDGES = (1.0, 8.0, 64.0)
ROW_EDGES = (1, 8, 16)
LEAST_ROWS = 200
"""Rows from which a region counts as one that may be called worst."""


class Scores(NamedTuple):
    """Errors in percent."""

    mape: float
    bias: float
    p95: float
    geometric: float
    rows: int


def scores(predicted: Floats, measured: Floats) -> Scores | None:
    """None without rows."""
    if not len(measured):
        return None
    ratio = predicted / measured
    error = np.abs(ratio - 1)
    geometric = math.expm1(float(np.abs(np.log(ratio)).mean()))
    return Scores(float(error.mean()) * 100, float(ratio.mean() - 1) * 100, float(np.quantile(error, 0.95)) * 100,
                  geometric * 100, len(measured))


def sealed(shapes: NDArray[np.int64]) -> Mask:
    """Rows of sealed cells, of shapes (rows, n, k)."""
    cells = {(n, k): crc32(f"{n},{k}".encode()) % 4 == 0 for _, n, k in shapes.tolist()}
    return np.array([cells[n, k] for _, n, k in shapes.tolist()], dtype=bool)


def share(shapes: NDArray[np.int64], among: Mask) -> Mask:
    """The rows among those given that may be fitted on."""
    chosen = np.zeros(len(shapes), dtype=bool)
    candidates = np.flatnonzero(among)
    order = sorted(candidates, key=lambda i: (crc32(("fit:" + ",".join(map(str, shapes[i]))).encode()), i))
    chosen[order[:len(candidates) // SHARE]] = True
    return chosen


def sample(count: int, size: int) -> NDArray[np.int64]:
    """So many of `size` rows, always the same ones."""
    if count >= size:
        return np.arange(size)
    return np.sort(np.random.Generator(np.random.Philox(0)).permutation(size)[:count])


class Affine(NamedTuple):
    """t = a + W / b."""

    fixed_us: float
    us_per_mb: float

    def __call__(self, mb: Floats) -> Floats:
        """The times of so many megabytes."""
        return self.fixed_us + self.us_per_mb * mb


def affine(mb: Floats, measured: Floats) -> Affine:
    """The line with the least mean |ln(predicted / measured)|.

    For a given ratio r of the two numbers the best scale is the median of measured / (r + W); r is searched on a grid
    that narrows.
    """
    low, high = math.log(float(mb.max()) * 1e-7 + 1e-9), math.log(float(mb.max()) * 1e2 + 1e-9)
    best = (math.inf, 0.0, 0.0)
    for _ in range(6):
        grid = np.linspace(low, high, 41)
        for x in grid:
            base = math.exp(x) + mb
            scale = float(np.median(measured / base))
            wrong = float(np.abs(np.log(scale * base / measured)).mean())
            best = min(best, (wrong, float(x), scale))
        width = (high - low) / 20
        low, high = best[1] - width, best[1] + width
    return Affine(math.exp(best[1]) * best[2], best[2])


def regions(mb: Floats, width: NDArray[np.int64], predicted: Floats, measured: Floats, what: str) -> dict[str, Any]:
    """Scores by megabytes of weights (or keys and values) x rows (or sequences); empty regions are left out."""
    found: dict[str, Any] = {}
    by_mb, by_width = np.searchsorted(MB_EDGES, mb, "right"), np.searchsorted(ROW_EDGES, width, "left")
    for i, size in enumerate(("<1 MB", "1-8 MB", "8-64 MB", ">64 MB")):
        for j, many in enumerate(("1", "2-8", "9-16", "17-")):
            inside = (by_mb == i) & (by_width == j)
            score = scores(predicted[inside], measured[inside])
            if score is not None:
                end = f"{ROW_EDGES[-1] + 1}-{int(width.max())}"
                found[f"{size}, {end if many == '17-' else many} {what}"] = score._asdict()
    return found


def worst(found: dict[str, Any]) -> str | None:
    """The region of at least 200 rows with the largest MAPE."""
    large = {name: score for name, score in found.items() if score["rows"] >= LEAST_ROWS}
    return max(large, key=lambda name: large[name]["mape"], default=None)


def growth(shapes: NDArray[np.int64], predicted: Floats, measured: Floats, rows: int) -> dict[str, float] | None:
    """Median over cells of t(rows) / t(1), predicted and measured; None where no cell has both."""
    at = {tuple(shape): i for i, shape in enumerate(shapes.tolist())}
    pairs = [(at[1, n, k], i) for (m, n, k), i in at.items() if m == rows and (1, n, k) in at]
    if not pairs:
        return None
    one, many = np.array(pairs).T
    both = {"predicted": predicted, "measured": measured}
    return {name: float(np.median(time[many] / time[one])) for name, time in both.items()} | {"cells": len(pairs)}


def others(shapes: NDArray[np.int64], tables: list[tuple[NDArray[np.int64], Floats]]) -> Floats:
    """What the median of other tables says of each row; NaN where none has it."""
    known: dict[tuple[int, ...], list[float]] = {}
    for rows, times in tables:
        for shape, time in zip(rows.tolist(), times.tolist(), strict=True):
            known.setdefault(tuple(shape), []).append(math.log(time))
    told = [float(np.median(known[key])) if (key := tuple(shape)) in known else math.nan for shape in shapes.tolist()]
    return np.exp(np.array(told, dtype=np.float64))
