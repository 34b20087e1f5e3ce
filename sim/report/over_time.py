"""What changes while the text is decoded: what the L2 holds, how many tokens are in flight, how long tokens take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .frame import levels
from .scale import Scale, short, us
from .svg import line, path, picture, rect, text

WIDTH, LEFT, RIGHT = 1080, 80, 20
COLUMNS = 400
"""Most columns of a picture over time; more passes are averaged."""
OWNERS = 6


def residency(timeline: Mapping[str, Any], capacity: float) -> tuple[Markup, list[str]]:
    """Bytes in the L2 behind every pass, stacked by what they belong to; and the owners, most first."""
    contents, at = timeline["resident"], timeline["occurrence_resident"]
    total: Counter[str] = Counter()
    for index in at:
        total.update(contents[index])
    owners = [owner for owner, _ in total.most_common(OWNERS)]
    top, bottom = 26, 250
    starts = [start for _, start in timeline["occurrences"]]
    x = Scale(starts[0] / 1e9, max(starts[-1] / 1e9, starts[0] / 1e9 + 1e-9), LEFT, WIDTH - RIGHT)
    most = max([capacity, *(sum(content.values()) for content in contents)])
    y = Scale(0, most / 1e6 * 1.04, bottom, top)
    marks = _frame(x, y, top, bottom, "MB", "ms")
    slices = _slices(len(at))
    level = [0.0] * len(slices)
    for number, owner in enumerate(owners):
        before = list(level)
        for place, (first, stop) in enumerate(slices):
            level[place] += sum(contents[at[i]].get(owner, 0) for i in range(first, stop)) / (stop - first) / 1e6
        place_of = [x(starts[first] / 1e9) for first, _ in slices]
        upper = [(place, y(value)) for place, value in zip(place_of, level, strict=True)]
        lower = [(place, y(value)) for place, value in zip(place_of, before, strict=True)]
        edge = upper + lower[::-1]
        marks.append(path(edge, f"area o-{number}", closed=True))
    width = (WIDTH - RIGHT - LEFT) / len(slices)
    for first, stop in slices:
        held = {o: sum(contents[at[i]].get(o, 0) for i in range(first, stop)) / (stop - first) for o in owners}
        told = f"behind pass {first + 1}, {us(starts[first] / 1e6)}\n" + "\n".join(
            f"{owner}: {short(size / 1e6)} MB" for owner, size in held.items())
        marks.append(rect(x(starts[first] / 1e9), top, width + 0.5, bottom - top, "hit", told))
    marks += [line(LEFT, y(capacity / 1e6), WIDTH - RIGHT, y(capacity / 1e6), "even"),
              text(WIDTH - RIGHT, y(capacity / 1e6) - 6, f"capacity {short(capacity / 1e6)} MB", "tick", "end")]
    return picture(WIDTH, bottom + 40, *marks, label="bytes in the L2 over time by owner"), owners


def _slices(count: int) -> list[tuple[int, int]]:
    columns = min(COLUMNS, count)
    return [(k * count // columns, (k + 1) * count // columns) for k in range(columns)]


def _frame(x: Scale, y: Scale, top: float, bottom: float, vertical: str, horizontal: str) -> list[object]:
    marks: list[object] = []
    marks += levels(y, LEFT, WIDTH - RIGHT, most=5)
    marks.append(text(LEFT - 8, top - 10, vertical, "tick", "end"))
    ticks = x.ticks(9)
    for value in ticks:
        shown = short(value) + (f" {horizontal}" if value == ticks[-1] else "")
        marks.append(text(x(value), bottom + 18, shown, "tick", "middle"))
    return marks


def histogram(title: str, columns: Sequence[tuple[float, float, float, str]], axis: str) -> Markup:
    """Columns: (from, to, share, what the pointer shows)."""
    width, top, bottom, left = 520, 26, 190, 46
    x = Scale(columns[0][0], columns[-1][1], left, width - 10)
    y = Scale(0, max(share for _, _, share, _ in columns) or 1, bottom, top)
    marks: list[object] = []
    marks += levels(y, left, width - 10, lambda share: f"{share:.0%}", 4)
    for first, last, share, told in columns:
        space = min(4.0, (x(last) - x(first)) * 0.15)
        width_ = x(last) - x(first) - 2 * space
        marks.append(rect(x(first) + space, y(share), width_, bottom - y(share), "seg mine", told, 2))
    marks += [text(x(value), bottom + 16, short(value), "tick", "middle") for value in x.ticks(8)]
    marks.append(text(width - 10, bottom + 34, axis, "tick", "end"))
    return picture(width, bottom + 42, *marks, label=title)


def rows_histogram(figures: Mapping[str, Any]) -> Markup:
    """How many tokens shared a pass."""
    sweeps = {int(rows): n for rows, n in figures["rows_per_pass"].items()}
    total = sum(sweeps.values())
    columns = [(rows - 0.5, rows + 0.5, n / total, f"{rows} in flight: {n:,} of {total:,} passes, {n / total:.1%}")
               for rows, n in sorted(sweeps.items())]
    return histogram("tokens in flight per pass", columns, "tokens in flight") if columns else Markup("")


def gap_histogram(timeline: Mapping[str, Any], bins: int = 48) -> Markup:
    """The time between commits of one sequence."""
    last: dict[int, int] = {}
    gaps: list[float] = []
    for sequence, _, _, time in timeline["commits"]:
        if sequence in last:
            gaps.append((time - last[sequence]) / 1e6)
        last[sequence] = time
    if not gaps:
        return Markup("")
    size = max(gaps) * 1.001 / bins or 1.0
    filled = Counter(int(gap / size) for gap in gaps)
    columns = []
    for k in range(bins):
        low, high, share = k * size, (k + 1) * size, filled[k] / len(gaps)
        columns.append((low, high, share, f"{us(low)} to {us(high)}\n{filled[k]:,} of {len(gaps):,} gaps, {share:.1%}"))
    return histogram("time between tokens", columns, "µs between tokens of one sequence")
