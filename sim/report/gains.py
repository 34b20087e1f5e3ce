"""The gain over each rival as a dot with its 90 % range, beside the line at 1 where it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from .frame import uprights
from .scale import Scale, times
from .svg import circle, line, picture, rect, text
from .words import run_name

WIDTH, LEFT, STEP = 860, 225, 46


def gain_plot(document: Mapping[str, Any]) -> Markup:
    """One line a rival."""
    gains = {key: value for key, value in document["gain_over"].items() if value}
    ranges = document["intervals"]
    ends = [end for key, value in gains.items()
            for end in (value, *(ranges.get(f"gain_over.{key}", {}).get(side, value) for side in ("low", "high")))]
    high = max([1.3, *ends]) * 1.06
    x = Scale(0, high, LEFT, WIDTH - 70)
    bottom = 26 + STEP * len(gains)
    marks: list[object] = [rect(x(0), 26, x(1) - x(0), bottom - 26, "loss")]
    marks += uprights(x, 26, bottom, times, 6)
    marks += [line(x(1), 16, x(1), bottom, "even"), text(x(1), 12, "1 × changes nothing", "tick", "middle")]
    for place, (key, value) in enumerate(gains.items()):
        y = 26 + STEP * (place + 0.5)
        found = ranges.get(f"gain_over.{key}")
        name = run_name(key, document)
        told = f"{times(value)} over {name}"
        if found:
            told += f"\n90 % range {times(found['low'])} to {times(found['high'])}, basis: {found['basis']}"
            marks.append(rect(x(found["low"]), y - 5, x(found["high"]) - x(found["low"]), 10, "range", told, 5))
        marks += [circle(x(value), y, 7, "dot good" if value >= 1 else "dot bad", told),
                  text(LEFT - 14, y + 5, name, "name strong" if place == 0 else "name", "end"),
                  text(x(max(value, found["high"] if found else value)) + 14, y + 5, times(value), "value")]
    return picture(WIDTH, bottom + 28, *marks, label="gain over each rival with its range")
