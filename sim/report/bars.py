"""Time and bytes of each run as bars: what a token waited for, what the schedule saves and costs, what was read.

The waterfall leads from a rival's time per token to the schedule's, one step a bound; the steps add up exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ..timeline import BOUNDS, TRAFFIC
from .frame import levels
from .scale import Scale, short, us
from .svg import group, line, picture, rect, text
from .words import BOUND_NAMES, TRAFFIC_NAMES, run_name

WIDTH, LEFT, RIGHT = 1080, 225, 120
BAR, STEP = 26, 44


def per_token(figures: Mapping[str, Any]) -> dict[str, float]:
    """Microseconds a token by bound."""
    tokens = max(1, figures["committed_tokens"])
    return {bound: figures["time_by_bound_us"][bound] / tokens for bound in BOUNDS}


def time_bars(document: Mapping[str, Any]) -> Markup:
    """One bar a run, a segment a bound, in microseconds a token."""
    runs = {key: per_token(figures) for key, figures in document["schedules"].items()}
    most = max(sum(parts.values()) for parts in runs.values()) or 1
    x = Scale(0, most, LEFT, WIDTH - RIGHT)
    marks: list[object] = list(_grid(x, 22, 22 + STEP * len(runs), "µs a token"))
    for place, (key, parts) in enumerate(runs.items()):
        y = 30 + STEP * place
        marks.append(text(LEFT - 12, y + 18, run_name(key, document), "name" if place else "name strong", "end"))
        at = 0.0
        total = sum(parts.values())
        for bound, time in parts.items():
            if not time:
                continue
            told = f"{run_name(key, document)}\n{BOUND_NAMES[bound]}: {us(time)} a token, {time / total:.0%}"
            marks.append(rect(x(at), y, x(at + time) - x(at), BAR, f"seg b-{bound}", told))
            if x(time) - x(0) > 44:
                marks.append(text(x(at + time / 2), y + 17, short(time), "inbar", "middle"))
            at += time
        marks.append(text(x(total) + 8, y + 18, us(total), "value"))
    return picture(WIDTH, 34 + STEP * len(runs), *marks, label="time per token by what it waits for")


def _grid(x: Scale, top: float, bottom: float, unit: str) -> Sequence[Markup]:
    marks = []
    ticks = x.ticks()
    for value in ticks:
        named = short(value) + (f" {unit}" if value == ticks[-1] else "")
        marks += [line(x(value), top, x(value), bottom, "grid"), text(x(value), top - 8, named, "tick", "middle")]
    return marks


def legend(names: Mapping[str, str], prefix: str, present: Sequence[str]) -> Markup:
    """Squares with their names, as one line of HTML."""
    return Markup('<p class="legend">{}</p>').format(Markup("").join(
        Markup('<span><i class="{}{}"></i>{}</span>').format(prefix, key, names[key]) for key in present))


def waterfall(document: Mapping[str, Any], mine: str, rival: str) -> Markup:
    """From the rival's time per token to the schedule's."""
    before, after = (per_token(document["schedules"][key]) for key in (rival, mine))
    steps = sorted(((bound, after[bound] - before[bound]) for bound in BOUNDS), key=lambda step: step[1])
    steps = [(bound, change) for bound, change in steps if abs(change) > 1e-9]
    start, end = sum(before.values()), sum(after.values())
    high = max(start, end, _highest(start, steps)) * 1.04
    count, top, bottom = len(steps) + 2, 30, 300
    width = min(WIDTH, 120 + 120 * count)
    y = Scale(0, high, bottom, top)
    column = (width - 90) / count
    marks: list[object] = []
    marks += levels(y, 70, width - 10, most=5)
    marks.append(text(62, 14, "µs a token", "tick", "end"))

    def bar(place: int, low: float, high_: float, kind: str, name: str, shown: str, told: str) -> None:
        x = 80 + column * place
        marks.append(rect(x + 6, y(high_), column - 12, max(1.5, y(low) - y(high_)), kind, told, 2))
        marks.append(text(x + column / 2, y(high_) - 7, shown, "value", "middle"))
        marks.append(text(x + column / 2, bottom + 20, name, "name", "middle"))

    bar(0, 0, start, "seg total", run_name(rival, document).replace(" (same model)", ""), us(start), us(start))
    level = start
    for place, (bound, change) in enumerate(steps, 1):
        low, top_ = min(level, level + change), max(level, level + change)
        kind = f"seg b-{bound}" + (" cost" if change > 0 else "")
        verb = "costs" if change > 0 else "saves"
        bar(place, low, top_, kind, BOUND_NAMES[bound], f"{'+' if change > 0 else '−'}{short(abs(change))}",
            f"{mine} {verb} {us(abs(change))} a token of {BOUND_NAMES[bound]}\n"
            f"{us(before[bound])} became {us(after[bound])}")
        level += change
        marks.append(line(80 + column * place + column - 6, y(level), 80 + column * (place + 1) + 6, y(level), "tie"))
    bar(count - 1, 0, end, "seg mine", mine, us(end), us(end))
    return picture(width, bottom + 34, *marks, label="from the rival's time per token to the schedule's")


def _highest(start: float, steps: Sequence[tuple[str, float]]) -> float:
    level = most = start
    for _, change in steps:
        level += change
        most = max(most, level)
    return most


def traffic_bars(document: Mapping[str, Any]) -> Markup:
    """Bytes a token: asked of the L2 above, read from the HBM below."""
    runs = {key: figures["bytes_per_token"] for key, figures in document["schedules"].items()}
    most = max((sum(v or 0 for v in side.values()) for both in runs.values() for side in both.values()), default=0) or 1
    x = Scale(0, most / 1e6, LEFT, WIDTH - RIGHT)
    tall = STEP + 12
    marks: list[object] = list(_grid(x, 22, 22 + tall * len(runs), "MB a token"))
    for place, (key, both) in enumerate(runs.items()):
        y = 30 + tall * place
        marks.append(text(LEFT - 12, y + 24, run_name(key, document), "name" if place else "name strong", "end"))
        for row, (side, name) in enumerate((("requested", "asked of the L2"), ("hbm", "read from the HBM"))):
            at = 0.0
            for kind in TRAFFIC:
                size = (both[side][kind] or 0) / 1e6
                told = f"{run_name(key, document)}, {name}\n{TRAFFIC_NAMES[kind]}: {short(size)} MB a token"
                marks.append(rect(x(at), y + 20 * row, x(at + size) - x(at), 16, f"seg t-{kind}", told))
                at += size
            marks.append(text(x(at) + 8, y + 20 * row + 13, f"{short(at)} MB {'asked' if row == 0 else 'HBM'}", "tick"))
    return picture(WIDTH, 34 + tall * len(runs), group(*marks), label="bytes per token before and after the L2")
