"""What lies behind a picture: lines across it at round values, with the values beside or below them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from markupsafe import Markup

from .scale import Scale, short
from .svg import line, text

Shown = Callable[[float], str]


def uprights(x: Scale, top: float, bottom: float, shown: Shown = short, most: int = 8) -> Iterator[Markup]:
    """Upright lines, their values below."""
    for value in x.ticks(most):
        yield line(x(value), top, x(value), bottom, "grid")
        yield text(x(value), bottom + 18, shown(value), "tick", "middle")


def levels(y: Scale, left: float, right: float, shown: Shown = short, most: int = 6) -> Iterator[Markup]:
    """Level lines, their values to the left."""
    for value in y.ticks(most):
        yield line(left, y(value), right, y(value), "grid")
        yield text(left - 8, y(value) + 4, shown(value), "tick", "end")
