"""Published speed-ups of many ways of speculating, each predicted from its published acceptance on its GPU.

The acceptance is all that is taken from a publication; GPU, stack and shapes are descriptions that every other run
uses, and a framework has one stack. The text is a synthetic one of `tokens` tokens behind `context` keys. A text so
short has not quite the length that was asked for; a round's time does not depend on it, so the gain is scaled by the
ratio of both.
A source that ends with `assumed` leans on a number nobody published: its row is shown and counts in no figure.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from ..config import load
from ..files import read_text
from ..metrics import speedup
from ..registry import find
from ..scenario import Scenario, plainly, play, resolve
from ..shelf import Shelf
from ..timeline import Timeline
from ..units import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """How the table is predicted."""

    name: str
    title: str
    rows: str
    """The table, a file beside this one."""
    tier: str
    tokens: int
    bar: float
    """Error of a speed-up that still counts as reproduced."""


class Row(NamedTuple):
    """A publication's figure."""

    system: str
    mechanism: str
    gpu: str
    stack: str
    model: str
    schedule: str
    context: int
    acceptance: str
    speedup: float
    source: str

    @property
    def counts(self) -> bool:
        """Whether all its facts were published."""
        return not self.source.endswith("assumed")


def run(name: str, rows: str | None) -> dict[str, Any]:
    """The suite as a document. `rows`: another table of the same columns. Raises InputError and NotCoveredError."""
    path = find("suites", name)
    suite = load(Suite, path).value
    table = list(read(Path(rows) if rows else path.with_name(suite.rows)))
    shelf, plain = Shelf(), dict[tuple[str, str, str, int], Timeline]()
    predicted = [_predicted(suite, row, shelf, plain) for row in table]
    judged = [one for one in predicted if one["counts"]]
    by_mechanism = {one["mechanism"]: median(abs(o["error"]) for o in judged if o["mechanism"] == one["mechanism"])
                    for one in judged}
    return {
        "schema": "speedsim-suite/1", "suite": suite.name, "title": suite.title,
        "settings": {"tier": suite.tier, "tokens": suite.tokens, "bar": suite.bar}, "rows": predicted,
        "summary": {
            "rows": len(judged), "median_error": median(abs(one["error"]) for one in judged) if judged else None,
            "within": sum(abs(one["error"]) <= suite.bar for one in judged),
            "mechanisms": len(by_mechanism), "mechanisms_within": sum(e <= suite.bar for e in by_mechanism.values()),
            # Beside it the naive guess: a round costs a plain step, so the gain is the acceptance length.
            "null_median_error": median(abs(one["null"] / one["speedup"] - 1) for one in judged) if judged else None,
        },
    }


def read(path: Path) -> Iterator[Row]:
    """The rows of a table; lines that begin with # are comments."""
    lines = enumerate(read_text(path).splitlines(), 1)
    numbered = [(number, line) for number, line in lines if line.strip() and not line.startswith("#")]
    if not numbered or tuple(numbered[0][1].split(",")) != Row._fields:
        raise InputError(f"{path}: the first line names the columns {','.join(Row._fields)}")
    for number, line in numbered[1:]:
        try:
            (cells,) = csv.reader([line])
            system, mechanism, gpu, stack, model, schedule, context, acceptance, reported, source = cells
            yield Row(system, mechanism, gpu, stack, model, schedule, int(context), acceptance, float(reported), source)
        except ValueError:
            raise InputError(f"{path}:{number}: {line!r:.60} is no row of {','.join(Row._fields)}") from None


def _predicted(suite: Suite, row: Row, shelf: Shelf, plain: dict[tuple[str, str, str, int], Timeline]
               ) -> dict[str, Any]:
    """A row with what is predicted; `plain` keeps the runs of plain decoding."""
    side = resolve(Scenario(
        gpu=row.gpu, stack=row.stack, model=row.model, schedule=row.schedule, tier=suite.tier,
        synth=f"count={suite.tokens},first={row.context}", acceptance=row.acceptance, record="summary"), shelf)
    mine = play(side)
    key = (row.gpu, row.stack, row.model, row.context)
    if key not in plain:
        plain[key] = play(plainly(side))
    gain, count = speedup(mine, plain[key]), mine.counters
    assert gain is not None
    found = count.committed_tokens / (count.passes / side.model.value.repetitions)
    asked = float(row.acceptance.removeprefix("length:")) if row.acceptance.startswith("length:") else found
    gain *= asked / found
    return {**row._asdict(), "counts": row.counts, "predicted_speedup": gain, "error": gain / row.speedup - 1,
            "acceptance_length": asked, "played_length": found, "null": asked,
            "time_per_round_us": mine.decode_ps / 1e6 / count.passes * side.model.value.repetitions}


def table(document: dict[str, Any]) -> list[str]:
    """The suite for the screen."""
    lines = [document["title"], "",
             f"{'':<20}{'mechanism':<20}{'gpu':<10}{'length':>7}{'reported':>10}{'predicted':>11}{'error':>9}"]
    for one in document["rows"]:
        mark = "" if one["counts"] else "  (not counted: assumed)"
        lines.append(f"{one['system']:<20}{one['mechanism']:<20}{one['gpu']:<10}{one['acceptance_length']:>7.2f}"
                     f"{one['speedup']:>10.2f}{one['predicted_speedup']:>11.2f}{one['error']:>+9.1%}{mark}")
    found = document["summary"]
    if found["rows"]:
        lines += ["", f"median error {found['median_error']:.1%} ({found['null_median_error']:.1%} if a round cost a "
                  f"plain step); {found['within']} of {found['rows']} within {document['settings']['bar']:.0%}, "
                  f"{found['mechanisms_within']} of {found['mechanisms']} mechanisms"]
    return lines
