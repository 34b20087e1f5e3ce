"""LoopSpec's table of wall-clock speed-ups (arXiv:2609.17184, table 1), predicted from gamma alone.

A row gives d1, d2 and gamma, the mean number of tokens per G repetitions. That is the only fact about its text:

    G / gamma = a1 d1 + a2 d2 + (1 - a1 - a2) G

With one proposal this gives a1. With two, a1, a2 and the rest move together from one end of the ranges that the paper
gives to the other, as far as gamma asks (beyond an end where it must: `outside`). The text has exactly these shares, in
a random order; its first token counts as a gap of G. A row's predicted speed-up is then the ratio of two runs at the
settings of workloads/suites/loopspec.yaml.
Ignored: rows on wrong text that change their mind (a live tree is wider than this one); where hard tokens stand.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from ..config import load
from ..files import read_text
from ..machine.build import TIERS
from ..metrics import speedup
from ..registry import find
from ..scenario import Scenario, plainly, play, resolve
from ..shelf import Shelf
from ..timeline import Timeline
from ..trace import Sequence as Text
from ..trace import Trace
from ..units import InputError

COLUMNS = ("model", "d1", "d2", "benchmark", "speedup", "gamma")
CLOSE = 0.05
"""Rows whose reported speed-ups differ by no more are not asked for their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looped:
    """A model of the table."""

    label: str
    """In the table's model column."""
    model: str
    cycle: int | None = None
    """K, repetitions of a cycle; None: d1."""
    first: tuple[float, float]
    second: tuple[float, float]
    """Ranges of the shares of tokens behind the first and the second proposal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Live rows that the paper reports."""

    label: str
    d1: int
    d2: int
    benchmark: str
    mean: float
    peak: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """How the table is predicted."""

    name: str
    title: str
    rows: str
    """The table, a file beside this one."""
    gpus: tuple[str, ...]
    """The first one's prediction is `predicted_speedup`."""
    stack: str
    control: str
    """Of LoopSpec."""
    rival_control: str
    """Of plain decoding."""
    tier: str
    context: int
    """Mean position of a row."""
    tokens: int
    models: tuple[Looped, ...]
    named: tuple[str, ...] = ()
    """`MODEL d1=N`: rows of one proposal that the settings were looked at with; they are no test of them."""
    widths: tuple[Widths, ...] = ()


class Row(NamedTuple):
    """A line of the table."""

    model: str
    d1: int
    d2: int | None
    benchmark: str
    speedup: float
    gamma: float


class Shares(NamedTuple):
    """Of tokens that follow the first proposal, the second, or a fresh start."""

    first: float
    second: float
    restart: float
    outside: float
    """How far gamma lies outside the ranges, as a part of their length; 0 inside."""


def run(name: str, rows: str | None) -> dict[str, Any]:
    """The suite as a document. `rows`: another table of the same columns. Raises InputError and NotCoveredError."""
    path = find("suites", name)
    suite = load(Suite, path).value
    if suite.tier not in TIERS:
        raise InputError(f"{path.name}: tier: {suite.tier!r} is none of {', '.join(TIERS)}")
    table = list(read(Path(rows) if rows else path.with_name(suite.rows)))
    shelf, plain = Shelf(), dict[tuple[str, str], Timeline]()
    predicted = [_predicted(suite, row, shelf, plain) for row in table]
    return {"schema": "speedsim-suite/1", "suite": suite.name, "title": suite.title,
            "settings": {"stack": suite.stack, "control": suite.control, "rival_control": suite.rival_control,
                         "tier": suite.tier, "context": suite.context, "tokens": suite.tokens},
            "rows": predicted, "summary": {gpu: _summary(predicted, gpu) for gpu in suite.gpus},
            "widths": [_beside(width, predicted) for width in suite.widths]}


def read(path: Path) -> Iterator[Row]:
    """The rows of a table; lines that begin with # are comments."""
    lines = enumerate(read_text(path).splitlines(), 1)
    numbered = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    if not numbered or tuple(numbered[0][1].split(",")) != COLUMNS:
        raise InputError(f"{path}: the first line names the columns {','.join(COLUMNS)}")
    for number, line in numbered[1:]:
        try:
            (cells,) = csv.reader([line])
            model, d1, d2, benchmark, reported, gamma = cells
            yield Row(model, int(d1), int(d2) if d2 else None, benchmark, float(reported), float(gamma))
        except ValueError:
            raise InputError(f"{path}:{number}: {line!r:.60} is no row of {','.join(COLUMNS)}") from None


def shares(of: Looped, repetitions: int, row: Row) -> Shares:
    """The shares that give the row's gamma. InputError where none do."""
    gap = repetitions / row.gamma
    if not row.d1 <= gap <= repetitions:
        raise InputError(f"{row.model} d1={row.d1} {row.benchmark}: gamma {row.gamma:g} is not from 1 to "
                         f"{repetitions / row.d1:g}")
    if row.d2 is None:
        first = (repetitions - gap) / (repetitions - row.d1)
        return Shares(first, 0.0, 1 - first, 0.0)
    best, worst = (of.first[1], of.second[0]), (of.first[0], of.second[1])

    def gap_of(first: float, second: float) -> float:
        return first * row.d1 + second * (row.d2 or 0) + (1 - first - second) * repetitions

    along = (gap - gap_of(*best)) / (gap_of(*worst) - gap_of(*best))
    first, second = (b + along * (w - b) for b, w in zip(best, worst, strict=True))
    if first < 0 or second < 0 or first + second > 1:
        raise InputError(f"{row.model} d1={row.d1} d2={row.d2} {row.benchmark}: gamma {row.gamma:g} is far outside "
                         "the published shares")
    return Shares(first, second, 1 - first - second, max(0.0, -along, along - 1))


def text(row: Row, repetitions: int, of: Shares, tokens: int, context: int) -> Trace:
    """One sequence with these shares of first, second and final guesses, the first token's gap among the last."""
    counts = [round(tokens * of.first), round(tokens * of.second)]
    counts.append(tokens - sum(counts) - 1)
    if counts[2] < 0:
        counts[0] += counts[2]
        counts[2] = 0
    kinds = np.repeat(np.arange(3), counts)
    np.random.Generator(np.random.Philox(0)).shuffle(kinds)
    right_from = np.array([1, row.d2 or repetitions, repetitions])[kinds]
    exits = (np.arange(1, repetitions + 1) >= right_from[:, None]).astype(np.int32)
    exits = np.vstack([exits, np.ones((1, repetitions), np.int32)])
    first = max(0, context - tokens // 2)
    return Trace("gamma", row.model, repetitions, {"kind": "synthetic", "gamma": row.gamma},
                 (Text(0, first, tokens, "length", 0, exits),))


def _predicted(suite: Suite, row: Row, shelf: Shelf, plain: dict[tuple[str, str], Timeline]) -> dict[str, Any]:
    """The row's columns, its shares, and what is predicted on each GPU; `plain` keeps the runs of plain decoding,
    which do not depend on what the exits say."""
    of = next((of for of in suite.models if of.label == row.model), None)
    if of is None:
        raise InputError(f"{suite.name}: model {row.model!r} is none of {', '.join(m.label for m in suite.models)}")
    repetitions = shelf.model(of.model).value.repetitions
    found = shares(of, repetitions, row)
    trace = text(row, repetitions, found, suite.tokens, suite.context)
    options = {"d1": row.d1, "d2": row.d2, "repetitions_per_pass": of.cycle or row.d1}
    schedule = "loopspec:" + ",".join(f"{key}={value}" for key, value in options.items() if value is not None)
    gains: dict[str, float] = {}
    for gpu in suite.gpus:
        asked = Scenario(gpu=gpu, stack=suite.stack, model=of.model, schedule=schedule, tier=suite.tier,
                         control=suite.control, rival_control=suite.rival_control, record="summary",
                         synth=f"flips={'+'.join(['0'] * (repetitions - 1))},count=1")
        mine = replace(resolve(asked, shelf), trace=trace)
        line = play(mine)
        if (of.model, gpu) not in plain:
            plain[of.model, gpu] = play(plainly(mine))
        gains[gpu] = speedup(line, plain[of.model, gpu]) or 0.0
    rows = line.counters.rows_per_pass
    return {**row._asdict(), "predicted_speedup": gains[suite.gpus[0]], "predicted": gains,
            "named": f"{row.model} d1={row.d1}" in suite.named and row.d2 is None, "shares": found._asdict(),
            "predicted_gamma": line.counters.committed_tokens * repetitions / line.counters.passes,
            "mean_rows": line.counters.row_passes / line.counters.passes, "peak_rows": max(rows)}

def _summary(rows: Sequence[dict[str, Any]], gpu: str) -> dict[str, Any]:
    """Errors over the rows that the settings had not seen, and how often the better pair of d1 and d2 is told."""
    judged = [row for row in rows if not row["named"]]
    errors = [abs(row["predicted"][gpu] / row["speedup"] - 1) for row in judged]
    orders = []
    for a, b in combinations(rows, 2):
        if (a["model"], a["benchmark"]) == (b["model"], b["benchmark"]) and (
                abs(a["speedup"] / b["speedup"] - 1) > CLOSE):
            orders.append((a["speedup"] > b["speedup"]) == (a["predicted"][gpu] > b["predicted"][gpu]))
    return {"rows": len(judged), "median_error": median(errors) if errors else None,
            "largest_error": max(errors, default=None), "pairs": len(orders), "pairs_in_order": sum(orders)}


def _beside(width: Widths, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Reported live rows beside the predicted ones of the same row of the table."""
    mine = next((row for row in rows if (row["model"], row["d1"], row["d2"], row["benchmark"]) == (
        width.label, width.d1, width.d2, width.benchmark)), {})
    return {"model": width.label, "d1": width.d1, "d2": width.d2, "benchmark": width.benchmark, "mean": width.mean,
            "peak": width.peak, "predicted_mean": mine.get("mean_rows"), "predicted_peak": mine.get("peak_rows")}


def table(document: dict[str, Any]) -> list[str]:
    """The document for the screen."""
    gpus = list(document["summary"])
    head = ("model", "d1", "d2", "benchmark", "gamma", "reported", *(f"on {gpu}" for gpu in gpus), "rows", "shares")
    lines = [head]
    for row in document["rows"]:
        of = row["shares"]
        lines.append((row["model"], str(row["d1"]), str(row["d2"] or ""), row["benchmark"], f"{row['gamma']:.2f}",
                      f"{row['speedup']:.2f}", *(_beside_reported(row, gpu) for gpu in gpus),
                      f"{row['mean_rows']:.1f} to {row['peak_rows']}",
                      " ".join(f"{of[name]:.1%}" for name in ("first", "second", "restart"))
                      + (" outside" if of["outside"] else "") + (" (named)" if row["named"] else "")))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown.append("")
    for gpu, found in document["summary"].items():
        if found["median_error"] is not None:
            shown.append(f"{gpu}: {found['rows']} rows, median error {found['median_error']:.1%}, largest "
                         f"{found['largest_error']:.1%}; {found['pairs_in_order']} of {found['pairs']} pairs in order")
    for width in document["widths"]:
        if width["predicted_mean"] is not None:
            shown.append(f"live rows of {width['model']} ({width['d1']}, {width['d2']}) on {width['benchmark']}: "
                         f"reported {width['mean']} mean, {width['peak']} peak when sampling; predicted, greedy, "
                         f"{width['predicted_mean']:.1f} and {width['predicted_peak']}")
    return shown


def _beside_reported(row: dict[str, Any], gpu: str) -> str:
    value = row["predicted"][gpu]
    return f"{value:.2f} ({value / row['speedup'] - 1:+.0%})"
