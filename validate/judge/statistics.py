"""How far predictions are from measurements, and how sure that is.

    error e = predicted / measured - 1      bias: mean e      MAPE: mean |e|      geometric: exp(mean |ln(1 + e)|) - 1
    coverage: share of measurements inside the predicted 90 % interval      Pearson: of the logarithms
    interval of the MAPE: 5th and 95th percentile over bootstrap draws of whole shapes (points of one shape err alike)
    tau-b: Kendall's rank correlation over pairs that differ by more than twice the noise
    regret: measured time of the predicted best over that of the measured best, minus 1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DRAWS = 2000


class Row(NamedTuple):
    """A point with its prediction and its measurement."""

    table: str
    rung: str
    keys: dict[str, Any]
    regime: str
    held_out: bool
    predicted: dict[str, float]
    """us, low_us, high_us, host_us, launch_us, device_us, roofline_us, bytes."""
    measured_us: float
    noise_us: float
    """Median absolute deviation."""

    @property
    def shape(self) -> str:
        """What points err alike by: the model, or the layer."""
        return str([self.keys[k] for k in ("model", "n", "k", "unique_layers", "mode", "case") if k in self.keys])


def score(predicted: Sequence[float], rows: Sequence[Row], interval: bool = False) -> dict[str, float | int | None]:
    """The figures of so many predictions, errors in percent; `interval`: with the MAPE's bootstrap and coverage."""
    ratio = np.asarray(predicted, dtype=np.float64) / np.array([r.measured_us for r in rows])
    error = np.abs(ratio - 1)
    found: dict[str, float | int | None] = {
        "points": len(rows), "mape": 100 * float(error.mean()), "bias": 100 * float((ratio - 1).mean()),
        "median": 100 * float(np.median(error)), "p95": 100 * float(np.quantile(error, 0.95)),
        "geometric": 100 * math.expm1(float(np.abs(np.log(ratio)).mean())), "pearson": _pearson(predicted, rows),
    }
    if interval:
        low, high = bootstrap(error, [r.shape for r in rows])
        inside = [r.predicted["low_us"] <= r.measured_us <= r.predicted["high_us"] for r in rows]
        found |= {"mape_low": 100 * low, "mape_high": 100 * high, "coverage": 100 * sum(inside) / len(rows)}
    return found


def _pearson(predicted: Sequence[float], rows: Sequence[Row]) -> float | None:
    """None for fewer than three points, or points that are all alike."""
    x, y = np.log(np.asarray(predicted)), np.log([r.measured_us for r in rows])
    return float(np.corrcoef(x, y)[0, 1]) if len(rows) > 2 and x.std() > 1e-12 and y.std() > 1e-12 else None


def bootstrap(values: Floats, shapes: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """5th and 95th percentile of the mean when shapes are drawn again with all their points."""
    names = sorted(set(shapes))
    sums = np.array([sum(v for v, s in zip(values, shapes, strict=True) if s == name) for name in names])
    counts = np.array([shapes.count(name) if isinstance(shapes, list) else list(shapes).count(name) for name in names])
    draws = np.random.Generator(np.random.Philox(seed)).integers(len(names), size=(DRAWS, len(names)))
    means = np.sort(sums[draws].sum(axis=1) / counts[draws].sum(axis=1))
    return float(means[DRAWS // 20]), float(means[-DRAWS // 20])


Null = Callable[[Row, Sequence[Row]], float | None]


def affine(row: Row, known: Sequence[Row]) -> float | None:
    """a + bytes / b through the known points, by least squares of relative errors."""
    if len({k.predicted["bytes"] for k in known}) < 2:
        return None
    x = np.array([[1.0, k.predicted["bytes"]] for k in known])
    y = np.array([k.measured_us for k in known])
    found, *_ = np.linalg.lstsq(x / y[:, None], np.ones(len(y)), rcond=None)
    return max(1e-3, float(found[0] + found[1] * row.predicted["bytes"]))


def constant(_row: Row, known: Sequence[Row]) -> float | None:
    """The median of the known points."""
    return float(np.median([k.measured_us for k in known])) if known else None


def nearest(row: Row, known: Sequence[Row]) -> float | None:
    """The known point whose keys are most alike: fewest words that differ, then the least distance of logarithms."""
    if not known:
        return None

    def distance(other: Row) -> tuple[int, float]:
        words, far = 0, 0.0
        for key, value in row.keys.items():
            theirs = other.keys[key]
            if isinstance(value, str) or isinstance(theirs, str):
                words += value != theirs
            elif key not in ("id", "held_out"):
                far += abs(math.log((1 + value) / (1 + theirs)))
        return words, far

    return min(known, key=distance).measured_us


def roofline(row: Row, _known: Sequence[Row]) -> float | None:
    """What cannot be beaten."""
    return row.predicted["roofline_us"]


NULLS: dict[str, Null] = {"roofline": roofline, "affine": affine, "constant": constant, "nearest": nearest}


def null_predictions(null: Null, rows: Sequence[Row], fit: Sequence[Row]) -> list[float | None]:
    """A null model's answer to each row, from the table's points that may be fitted on; where a table has none, from
    its other points, which favours the null."""
    found = []
    for row in rows:
        own = [k for k in fit if k.table == row.table] or [k for k in rows if k.table == row.table and k is not row]
        found.append(null(row, own))
    return found


def tau_b(predicted: Sequence[float], measured: Sequence[float], noise: Sequence[float]) -> float | None:
    """Kendall's tau-b over pairs whose measurements differ by more than twice their noise; None without such pairs."""
    agree = ties = pairs = 0
    for i in range(len(measured)):
        for j in range(i):
            if abs(measured[i] - measured[j]) <= 2 * math.hypot(noise[i], noise[j]):
                continue
            pairs += 1
            sign = (predicted[i] - predicted[j]) * (measured[i] - measured[j])
            ties += sign == 0
            agree += (sign > 0) - (sign < 0)
    return None if not pairs else agree / math.sqrt(pairs * max(1, pairs - ties))


def regret(predicted: Sequence[float], measured: Sequence[float]) -> float:
    """How much slower the predicted best is than the measured best."""
    chosen = min(range(len(predicted)), key=lambda i: predicted[i])
    return measured[chosen] / min(measured) - 1
