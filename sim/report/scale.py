"""From a value to a place on the page, the ticks between, and how a number is written for a reader."""

from __future__ import annotations

import math
from typing import NamedTuple


class Scale(NamedTuple):
    """Values `low` .. `high` lie at pixels `first` .. `last`."""

    low: float
    high: float
    first: float
    last: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-300))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.first + share * (self.last - self.first)

    def ticks(self, most: int = 6) -> list[float]:
        """Round values across the range."""
        return _decades(self.low, self.high, most) if self.log else _steps(self.low, self.high, most)


def _steps(low: float, high: float, most: int) -> list[float]:
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float, most: int) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    marks = (1, 2, 5) if last - first <= most / 2 else (1,)
    every = max(1, math.ceil((last - first) / most))
    found = [m * 10.0 ** p for p in range(first, last + 1) if (p - first) % every == 0 for m in marks]
    return [value for value in found if low * 0.999 <= value <= high * 1.001]


def short(value: float | None, digits: int = 3) -> str:
    """A number with so many digits that count: 208, 4,805, 0.0214, 12.5."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    if abs(value) >= 10 ** digits:
        return f"{value:,.0f}"
    shown = f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def times(value: float) -> str:
    """A gain: 2.06 ×."""
    return f"{value:.2f} ×" if abs(value) < 100 else f"{short(value)} ×"


_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def si(value: float, unit: str) -> str:
    """A number with a prefix: 4.92 TB/s, 50 MB."""
    size, prefix = next(((size, name) for size, name in _PREFIXES if abs(value) >= size), (1.0, ""))
    return f"{short(value / size)} {prefix}{unit}"


def us(value: float | None) -> str:
    """A time given in microseconds."""
    if value is None:
        return "–"
    if abs(value) >= 1e6:
        return f"{short(value / 1e6)} s"
    return f"{short(value / 1e3)} ms" if abs(value) >= 1e4 else f"{short(value)} µs"
