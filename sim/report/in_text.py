"""A report where no browser is: the same pictures in characters.

Rows of the pipeline are positions, columns are passes: the digit is the repetition, `x` a pass of a token that was
discarded, the last digit of a row its commit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .bars import per_token
from .documents import load, main_key, readable, with_timeline
from .lives import lives
from .of_comparison import COMPARISON
from .sweep_plots import median
from .tables import Table, sweep
from .words import BOUND_NAMES

WIDTH = 60
"""Columns of a bar or of a row of passes."""
MOST_ROWS = 24
DIGITS = "123456789abcdefghijklmnopqrstuvwyz"


def in_text(path: Path) -> str:
    """The document's pictures for a terminal. Raises InputError for what has none."""
    if path.is_dir():
        table = sweep(path)
        with readable(path):
            return "\n".join(_of_sweep(table))
    found = load(path)
    with readable(path):
        if found["schema"] == COMPARISON:
            return "\n".join(_of_comparison(found["entries"]))
        return "\n".join(_of_result(with_timeline(found, path)))


def _of_result(document: Mapping[str, Any]) -> Iterator[str]:
    yield document["sentence"]
    gains = {key: value for key, value in document["gain_over"].items() if value}
    if gains:
        yield ""
        yield "gain (| is 1, [ ] the 90 % range)"
        ends = [document["intervals"].get(f"gain_over.{key}", {}).get("high", value) for key, value in gains.items()]
        scale = max([1.3, *ends, *gains.values()])
        for key, value in gains.items():
            yield f"  {key:<28}{_range(value, document['intervals'].get(f'gain_over.{key}'), scale)} {value:.2f} x"
    yield ""
    yield "time of a token by what it waits for (us)"
    parts = {key: per_token(figures) for key, figures in document["schedules"].items()}
    most = max(sum(part.values()) for part in parts.values()) or 1
    for key, part in parts.items():
        drawn = "".join(BOUND_NAMES[bound][0] * round(WIDTH * time / most) for bound, time in part.items())
        yield f"  {key:<28}{drawn} {sum(part.values()):.1f}"
    yield "  " + ", ".join(f"{name[0]} {name}" for name in BOUND_NAMES.values())
    timeline = document.get("timeline")
    if timeline and timeline["rows"]:
        yield ""
        yield from _pipeline(timeline, main_key(document))


def _range(value: float, ends: Mapping[str, Any] | None, scale: float) -> str:
    marks = [" "] * (WIDTH // 2 + 1)

    def put(at: float, mark: str) -> None:
        marks[min(len(marks) - 1, round((len(marks) - 1) * at / scale))] = mark

    put(1, "|")
    if ends:
        put(ends["low"], "[")
        put(ends["high"], "]")
    put(value, "o")
    return "".join(marks)


def _pipeline(timeline: Mapping[str, Any], name: str) -> Iterator[str]:
    count = min(WIDTH, len(timeline["occurrences"]))
    yield f"{name}: the first {count} of {len(timeline['occurrences']):,} passes"
    rows: dict[tuple[int, int], list[str]] = {}
    for life in lives(timeline).values():
        for step in life.steps:
            if step.occurrence < count:
                row = rows.setdefault((life.sequence, life.position), [" "] * count)
                good = life.committed_ps is not None
                row[step.occurrence] = DIGITS[min(step.repetition, len(DIGITS)) - 1] if good else "x"
    for (_, position), row in list(rows.items())[:MOST_ROWS]:
        yield f"{position:>7} {''.join(row).rstrip()}"


def _of_sweep(table: Table) -> Iterator[str]:
    gain = table.column("gain.speedup")
    known = gain[[math.isfinite(value) for value in gain]]
    most = max([1.0, *known.tolist()])
    for axis in table.axes:
        yield f"gain along {axis.name} (median; | is 1)"
        for value, said in enumerate(axis.texts):
            found = median(gain[axis.at == value])
            yield f"  {said:<16}{_bar(found, most)}"
        yield ""


def _bar(value: float | None, most: float) -> str:
    if value is None:
        return "refused"
    marks = ["#"] * round(WIDTH * value / most) + [" "] * WIDTH
    marks[round(WIDTH / most)] = "|"
    return f"{''.join(marks[:WIDTH + 1]).rstrip()} {value:.2f} x"


def _of_comparison(entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    most = max([1.0, *(entry["speedup"] or 0 for entry in entries if entry["why_not"] is None)])
    place = None
    for entry in entries:
        here = (entry["gpu"], entry["batch"], entry["context"])
        if here != place:
            yield ("" if place is None else "\n") + f"{here[0]}, batch {here[1]}" + (
                "" if here[2] is None else f", context {here[2]:,}")
            place = here
        if entry["why_not"] is None:
            yield f"  {entry['schedule']:<28}{_bar(entry['speedup'] or 0, most)}"
