"""Pictures of a sweep: the gain along an axis, over two of them, and what one user gets against what the GPU gives.

A bound beside the gain: were every pass as long as one of plain decoding, the gain would be the ratio of passes,

    gain <= G * tokens / passes          (G repetitions a token without speculation)

What lies below it is paid for wider passes, the head, the host and the launch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from .frame import levels, uprights
from .scale import Scale, short, times, us
from .svg import circle, line, path, picture, rect, tag, text
from .tables import Axis, Column, Table
from .words import BOUND_NAMES

WIDTH, LEFT, RIGHT = 1080, 80, 170
MOST_LINES = 6


def places(axis: Axis, first: float, last: float) -> tuple[Scale, list[float]]:
    """A scale along the axis and the position of each value: by its number where it has one, else side by side."""
    numbers = axis.numbers
    if numbers is None or len(set(numbers)) < 2:
        return Scale(-0.5, len(axis.texts) - 0.5, first, last), [float(k) for k in range(len(axis.texts))]
    wide = min(numbers) > 0 and max(numbers) / min(numbers) > 20
    return Scale(min(numbers), max(numbers), first + 14, last - 14, wide), list(numbers)


def _ticks(axis: Axis, x: Scale, at: Sequence[float], bottom: float) -> Iterator[Markup]:
    every, reached = max(1, -(-len(at) // 14)), -math.inf
    for number, value in enumerate(at):
        if number % every and number != len(at) - 1:
            continue
        if x(value) - reached > 7 * len(axis.texts[number]) + 6:
            yield text(x(value), bottom + 18, axis.texts[number], "tick", "middle")
            reached = x(value)


def median(values: Column) -> float | None:
    """The median of those that there are."""
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else None


def gain_lines(table: Table, axis: Axis) -> Markup:
    """The gain along an axis, a line a value of the axis that is varied beside it; medians over any further axes."""
    others = sorted((a for a in table.axes if a is not axis), key=lambda a: len(a.texts))
    other = others[0] if others else None
    gain = table.column("gain.speedup")
    bottom, top = 320, 24
    x, at = places(axis, LEFT, WIDTH - RIGHT)
    bound = _bound(table, axis)
    known = [g for g in (*gain, *table.column("gain.high"), *(b for b in bound if b)) if math.isfinite(g)]
    y = Scale(0, max([1.2, *known]) * 1.04, bottom, top)
    marks: list[object] = [rect(LEFT, y(1), WIDTH - RIGHT - LEFT, bottom - y(1), "loss"), *_ticks(axis, x, at, bottom)]
    marks += levels(y, LEFT, WIDTH - RIGHT, times)
    marks.append(line(LEFT, y(1), WIDTH - RIGHT, y(1), "even"))
    through = [(x(a), y(b)) for a, b in zip(at, bound, strict=True) if b is not None]
    if len(through) > 1:
        marks += [path(through, "bound"), text(through[-1][0] + 10, through[-1][1] + 4, "bound by passes", "tick")]
    if other is None:
        marks.append(_ribbon(table, axis, x, y, at))
    names: list[tuple[float, str]] = []
    for number in _some(0 if other is None else len(other.texts)) or [0]:
        chosen = np.ones(len(gain), dtype=bool) if other is None else other.at == number
        colour = _colour(other, number)
        points = []
        for value in range(len(axis.texts)):
            found = median(gain[chosen & (axis.at == value)])
            if found is not None:
                named = "" if other is None else f"\n{other.name} = {other.texts[number]}"
                points.append((x(at[value]), y(found),
                               f"{axis.name} = {axis.texts[value]}{named}\n{times(found)}"))
        if not points:
            continue
        marks.append(tag("path", d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b, _ in points), class_="curve",
                         style=f"stroke:{colour}"))
        marks += [tag("circle", cx=a, cy=b, r=4.5, style=f"fill:{colour}", data_t=told) for a, b, told in points]
        names.append((points[-1][1], "gain" if other is None else other.texts[number]))
    marks += _names(names, x(at[-1]) + 12)
    label = axis.name + ("" if other is None else f", by {other.name}")
    marks.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 40, label, "name", "middle"))
    return picture(WIDTH, bottom + 50, *marks, label=f"gain against {label}")


def _names(names: list[tuple[float, str]], x: float) -> Iterator[Markup]:
    below = -math.inf
    for y, name in sorted(names):
        below = max(y + 4, below + 15)
        yield text(x, below, name, "value")


def _bound(table: Table, axis: Axis) -> list[float | None]:
    """The ratio of passes at each value; none where several models are compared."""
    models = [told["inputs"] for name, told in table.inputs["descriptions"].items() if name.startswith("model ")]
    repetitions = {model["repetitions"]["value"] if isinstance(model["repetitions"], dict) else model["repetitions"]
                   for model in models}
    if len(repetitions) != 1:
        return [None] * len(axis.texts)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = repetitions.pop() * table.column("committed_tokens") / table.column("passes")
    return [median(ratio[axis.at == value]) for value in range(len(axis.texts))]


def _ribbon(table: Table, axis: Axis, x: Scale, y: Scale, at: Sequence[float]) -> Markup:
    low, high = table.column("gain.low"), table.column("gain.high")
    upper, lower = [], []
    for value in range(len(axis.texts)):
        ends = median(low[axis.at == value]), median(high[axis.at == value])
        if ends[0] is not None and ends[1] is not None:
            lower.append((x(at[value]), y(ends[0])))
            upper.append((x(at[value]), y(ends[1])))
    return path([*upper, *lower[::-1]], "range", closed=True)


def _some(count: int) -> list[int]:
    if count <= MOST_LINES:
        return list(range(count))
    return sorted({round(i * (count - 1) / (MOST_LINES - 1)) for i in range(MOST_LINES)})


def _colour(axis: Axis | None, number: int) -> str:
    """Shades of one blue along numbers, distinct colours for names."""
    if axis is None:
        return "var(--good)"
    if axis.numbers is not None:
        share = number / max(1, len(axis.texts) - 1)
        return f"color-mix(in oklab, var(--r1) {20 + 80 * share:.0f}%, var(--r0))"
    return f"var(--c{_some(len(axis.texts)).index(number)})"


def heat(table: Table, across: Axis, down: Axis) -> Markup:
    """The gain over two axes, medians over any further ones; the heavy line is where it is 1."""
    gain = table.column("gain.speedup")
    grid = [[median(gain[(across.at == a) & (down.at == d)]) for a in range(len(across.texts))]
            for d in range(len(down.texts))]
    known = [abs(math.log2(g)) for row in grid for g in row if g]
    most = max([0.2, *known])
    left, top = 150, 14
    cell = min(110.0, (WIDTH - left - 20) / len(across.texts))
    tall = max(9.0, min(40.0, 460 / len(down.texts)))
    width, bottom = left + cell * len(across.texts) + 20, top + tall * len(down.texts)
    marks: list[object] = []
    for d, row in enumerate(grid):
        y = bottom - tall * (d + 1)
        if d % max(1, round(12 / tall)) == 0:
            marks.append(text(left - 8, y + tall / 2 + 4, down.texts[d], "tick", "end"))
        for a, value in enumerate(row):
            if value is None:
                continue
            share = 12 + 88 * abs(math.log2(value)) / most
            colour = f"color-mix(in oklab, var(--{'good' if value >= 1 else 'bad'}) {share:.0f}%, var(--card))"
            told = f"{across.name} = {across.texts[a]}\n{down.name} = {down.texts[d]}\ngain {times(value)}"
            marks.append(tag("rect", x=left + cell * a, y=float(y), width=cell - 1, height=tall - 1,
                             style=f"fill:{colour}", data_t=told))
            if cell > 38 and tall > 15:
                marks.append(text(left + cell * (a + 0.5), y + tall / 2 + 4, f"{value:.2f}",
                                  "inheat dark" if share > 55 else "inheat", "middle"))
    marks += _break_even(grid, left, bottom, cell, tall)
    x = Scale(-0.5, len(across.texts) - 0.5, left, left + cell * len(across.texts))
    marks += _ticks(across, x, [float(k) for k in range(len(across.texts))], bottom)
    marks += [text(left + cell * len(across.texts) / 2, bottom + 38, across.name, "name", "middle"),
              text(16, (top + bottom) / 2, down.name, "name", "middle", -90)]
    return picture(width, bottom + 48, *marks, label=f"gain over {across.name} and {down.name}")


def _break_even(grid: list[list[float | None]], left: float, bottom: float, cell: float, tall: float
                ) -> Iterator[Markup]:
    """Edges between cells of which one gains and the other does not."""
    for d, row in enumerate(grid):
        for a, value in enumerate(row):
            beside = row[a + 1] if a + 1 < len(row) else None
            above = grid[d + 1][a] if d + 1 < len(grid) else None
            x, y = left + cell * (a + 1) - 0.5, bottom - tall * (d + 1) - 0.5
            if value is not None and beside is not None and (value > 1) != (beside > 1):
                yield line(x, y, x, y + tall, "breakeven")
            if value is not None and above is not None and (value > 1) != (above > 1):
                yield line(x - cell, y, x, y, "breakeven")


def throughput(table: Table) -> Markup:
    """Every point: tokens a second of one user against tokens a second of the GPU; the line joins the best."""
    time, whole = table.column("time_per_token_us"), table.column("tokens_per_s")
    gain = table.column("gain.speedup")
    rows = [k for k in range(len(time)) if math.isfinite(time[k]) and math.isfinite(whole[k]) and time[k] > 0]
    if not rows:
        return Markup("")
    user = {k: 1e6 / float(time[k]) for k in rows}
    x = around([user[k] for k in rows], LEFT, WIDTH - 20)
    bottom, top = 340, 20
    y = around([float(whole[k]) for k in rows], bottom, top)
    marks: list[object] = []
    marks += [*uprights(x, top, bottom), *levels(y, LEFT, WIDTH - 20)]
    best, edge = -math.inf, []
    for k in sorted(rows, key=lambda k: (-user[k], -whole[k])):
        if whole[k] > best:
            best = float(whole[k])
            edge.append((x(user[k]), y(best)))
    marks.append(path(edge, "roof"))
    for k in rows[:: max(1, len(rows) // 4000)]:
        named = "\n".join(f"{axis.name} = {axis.texts[axis.at[k]]}" for axis in table.axes)
        told = (f"{named}\n{short(user[k])} tokens/s a user, {short(float(whole[k]))} in all\n"
                f"{us(float(time[k]))} a token, gain {times(float(gain[k]))}")
        kind = "good" if gain[k] > 1.005 else "bad" if gain[k] < 0.995 else "total"
        marks.append(circle(x(user[k]), y(float(whole[k])), 4.5, f"dot {kind}", told))
    marks += [text(WIDTH - 20, bottom + 38, "tokens a second, one user", "name", "end"),
              text(LEFT - 60, 12, "tokens a second, whole GPU", "name")]
    return picture(WIDTH, bottom + 46, *marks, label="throughput against speed of one user")


def around(values: Sequence[float], first: float, last: float) -> Scale:
    """A scale that holds all values, logarithmic where they are wide."""
    low, high = min(values), max(values)
    if high / low > 15:
        return Scale(low / 1.15, high * 1.15, first, last, True)
    space = (high - low) * 0.06 or high * 0.1
    return Scale(max(0.0, low - space), high + space, first, last)


def time_along(table: Table, axis: Axis) -> Markup:
    """Mean time a token by what it waited for, along an axis."""
    tokens = table.column("committed_tokens")
    bottom, top = 300, 20
    x = Scale(-0.5, len(axis.texts) - 0.5, LEFT, WIDTH - 20)
    parts: dict[str, list[Any]] = {}
    for bound in BOUND_NAMES:
        column = table.column(f"time_by_bound_us.{bound}") / tokens
        chosen = [column[axis.at == value] for value in range(len(axis.texts))]
        parts[bound] = [float(np.nanmean(c)) if np.isfinite(c).any() else 0.0 for c in chosen]
    totals = [sum(part[value] for part in parts.values()) for value in range(len(axis.texts))]
    y = Scale(0, max(totals) * 1.05 or 1, bottom, top)
    marks: list[object] = []
    marks += levels(y, LEFT, WIDTH - 20, most=5)
    step = (WIDTH - 20 - LEFT) / len(axis.texts)
    space = min(8.0, step * 0.12)
    level = [0.0] * len(axis.texts)
    for bound, part in parts.items():
        for value, time in enumerate(part):
            if time:
                told = f"{axis.name} = {axis.texts[value]}\n{BOUND_NAMES[bound]}: {us(time)} a token"
                marks.append(rect(LEFT + step * value + space, y(level[value] + time), step - 2 * space,
                                  y(level[value]) - y(level[value] + time), f"seg b-{bound}", told))
                level[value] += time
    marks += [*_ticks(axis, x, [float(k) for k in range(len(axis.texts))], bottom),
              text(LEFT - 8, 10, "µs", "tick", "end"),
              text((LEFT + WIDTH) / 2, bottom + 38, axis.name, "name", "middle")]
    return picture(WIDTH, bottom + 48, *marks, label=f"time per token along {axis.name}")
