"""The inverse question: which value of one number makes a figure what is wanted, or why none does.

    figure(value) = target        scanned over the range, then narrowed down around every change of sign

Nothing is assumed of the figure's course: it may cross the target several times, or jump over it where a cache stops
holding something. `acceptance` is a number as well: for SPEED the share of tokens whose first exit says what the last
does, of a text whose flips are equally likely between all exits; for drafts what --acceptance takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..reading.numbers_of import finite, found_at, number, placed, text_of, unit_of
from ..scenario import Resolved, Scenario, resolve
from ..shelf import Shelf
from ..sweeps.run import sweep
from ..timeline import BOUNDS
from ..units import InputError, human, parse

if TYPE_CHECKING:
    import pandas as pd

WHOLE = {"batch": 64, "prompt": 4096, "schedule.max_in_flight": 0}
"""Keys of whole numbers, and how far they are looked at; 0: up to the model's repetitions."""
SPAN = 1000.0
"""How far from its value a number is looked at, up and down."""
SCANNED, NARROWED = 21, 3
"""Values looked at first, and between two neighbours in each round behind."""
CLOSE = 1e-4
"""Where the search ends, relative to the value."""
NAMES = {"gain": "gain.speedup", "time_per_token": "time_per_token_us", "total": "total_us",
         "energy_per_token": "energy_per_token_j", "cost_per_million_tokens": "cost_per_million_tokens_usd"}


@dataclass(frozen=True, slots=True)
class Solved:
    """What was found."""

    figure: str
    """The column that was to become the target."""
    target: float
    key: str
    values: tuple[float, ...]
    """Where the figure is the target, lowest first, in the unit of the key's field; of whole numbers the two neighbours
    between which it passes the target."""
    texts: tuple[str, ...]
    """The same as --set takes them."""
    shown: tuple[str, ...]
    """The same for people, with few digits."""
    table: pd.DataFrame
    """Everything that was looked at, by `value`."""
    why: str
    """Why there is none; empty where there is one."""


def solve(target: str, vary: str, scenario: Scenario | None = None, between: tuple[str, str] | None = None) -> Solved:
    """Find the values of `vary` at which the target is met.

    target: FIGURE=VALUE, such as time_per_token=2ms, tokens_per_s=5000, gain=1. vary: a key of --set, an option that is
    a whole number, or acceptance. between: the range to look at. Raises InputError for what is no figure or no number.
    """
    asked = replace(scenario or Scenario(), record="summary")
    shelf = Shelf()
    if vary == "acceptance" and asked.acceptance is None and shelf.model(asked.model).value.repetitions == 1:
        asked = replace(asked, acceptance="0.5")  # a model without exits has proposers, of whatever acceptance
    mine = resolve(asked, shelf)
    search = _Search(asked, mine, vary, between)
    figure, wanted = _target(target)
    table = search.at(search.first())
    if figure not in table:
        raise InputError(f"--target {target}: {figure!r} is no figure; figures: {', '.join(_figures(table))}")
    while (more := search.closer(table, figure, wanted)) is not None:
        table = _together(table, search.at(more))
    values = _crossings(table, figure, wanted, search.whole)
    texts, shown = (tuple(map(say, values)) for say in (search.told, search.shown))
    return Solved(figure, wanted, vary, values, texts, shown, table,
                  "" if values else _why(table, figure, wanted, search))


def _target(text: str) -> tuple[str, float]:
    """(column, value) of FIGURE=VALUE."""
    name, equals, value = (part.strip() for part in text.partition("="))
    column = NAMES.get(name, name)
    if not equals or not value:
        raise InputError(f"--target {text}: write FIGURE=VALUE, such as time_per_token=2ms or gain=1")
    if column.endswith("_us"):
        return column, parse(value, "_ps") / 1e6
    if column.endswith(("_j", "_usd")):
        return column, float(parse(value, column[column.rindex("_"):]))
    try:
        return column, finite(value)
    except InputError as error:
        raise InputError(f"--target {text}: {error}") from None


def _figures(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if table[name].dtype.kind == "f" and "." not in name] + ["gain.speedup"]


class _Search:
    """The number that is varied: its range and its values as texts."""

    def __init__(self, scenario: Scenario, mine: Resolved, key: str, between: tuple[str, str] | None) -> None:
        self.scenario, self.key = scenario, key
        self.whole = key in WHOLE
        self._speed = key == "acceptance" and scenario.acceptance is None and mine.model.value.repetitions > 1
        self._mine, self._path = mine, None
        if key == "acceptance" or self.whole:
            most = WHOLE.get(key, 0) or mine.model.value.repetitions
            ends = (0.001, 0.999) if key == "acceptance" else (0.0 if key == "prompt" else 1.0, float(most))
            read: Callable[[str], float] = finite
        else:
            place = placed(key)
            if place is None:
                raise InputError(f"--vary {key}: is no number that can be varied; numbers are keys of --set such as "
                                 f"hbm.bandwidth, then {', '.join(WHOLE)}, acceptance")
            owner, path = place
            value = found_at(getattr(mine, owner).value, path)
            if not value and between is None:
                raise InputError(f"--vary {key}: has no value to start from; give --between LOW:HIGH")
            self._path = path
            self.whole = isinstance(value, int) and value < 10**5
            start = float(value or 0.0)
            ends = (start / SPAN, 1.0 if start <= 1 and not unit_of(path) else start * SPAN)

            def read(text: str) -> float:
                return number(text, path)
        try:
            self.low, self.high = (read(text) for text in between) if between is not None else ends
        except InputError as error:
            raise InputError(f"--between: {error}") from None
        if self.whole:
            self.low, self.high = max(1.0 if key != "prompt" else 0.0, round(self.low)), round(self.high)
        if not self.low < self.high:
            raise InputError(f"--between: {self.low:g} is not below {self.high:g}")

    def text(self, value: float) -> str:
        """The value as the axis takes it."""
        if self._path is not None:
            return text_of(value, self._path)
        if self.key != "acceptance":
            return str(round(value))
        if not self._speed:
            return f"{value:.9g}"
        exits = self._mine.model.value.repetitions - 1
        flips = "+".join([f"{1 - value ** (1 / exits):.9g}"] * exits)
        sequences = self._mine.trace.sequences
        return (f"flips={flips},count={max(s.count for s in sequences)},sequences={len(sequences)},"
                f"first={sequences[0].first}")

    def told(self, value: float) -> str:
        """The value as --set takes it; an acceptance as the share that it is."""
        return f"{value:.9g}" if self._speed else self.text(value)

    def shown(self, value: float) -> str:
        """The value for people."""
        if self._path is None or not unit_of(self._path):
            return f"{value:.6g}"
        return human(round(value) if unit_of(self._path) == "_ps" else value, unit_of(self._path))

    def first(self) -> list[float]:
        """The values that are looked at first."""
        if self.key == "acceptance" or self.low <= 0:
            values = np.linspace(self.low, self.high, SCANNED)
        else:
            values = np.geomspace(self.low, self.high, SCANNED)
        return sorted({float(round(v)) if self.whole else float(v) for v in values})

    def closer(self, table: pd.DataFrame, figure: str, wanted: float) -> list[float] | None:
        """The next values to look at: between neighbours on both sides of the target; None when all are close."""
        more: list[float] = []
        for left, right in _brackets(table, figure, wanted):
            between = [float(v) for v in np.linspace(left, right, NARROWED + 2)[1:-1]]
            if self.whole:
                more += sorted({float(round(v)) for v in between} - {left, right})
            elif right - left > CLOSE * abs(right):
                more += between
        return more or None

    def at(self, values: list[float]) -> pd.DataFrame:
        """The figures at these values."""
        axis = ("synth" if self._speed else "acceptance") if self.key == "acceptance" else self.key
        scenario = replace(self.scenario, trace=None) if axis == "synth" else self.scenario
        if axis in ("synth", "acceptance"):
            scenario = replace(scenario, **{axis: None})  # type: ignore[arg-type]
        scenario = replace(scenario, sets=tuple(pair for pair in scenario.sets if pair[0] != self.key))
        texts = dict.fromkeys(map(self.text, values))
        table = sweep([f"{axis}={';'.join(texts)}{';' if len(texts) == 1 and ',' in next(iter(texts)) else ''}"],
                      scenario)
        return table.assign(value=list(dict(zip(map(self.text, values), values, strict=True)).values()))


def _together(table: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    return pd.concat([table, more]).sort_values("value", ignore_index=True)


def _brackets(table: pd.DataFrame, figure: str, wanted: float) -> list[tuple[float, float]]:
    """Neighbours between which the figure passes the target."""
    known = table[table[figure].notna()]
    value, off = known["value"].to_numpy(), known[figure].to_numpy() - wanted
    return [(value[i], value[i + 1]) for i in range(len(off) - 1) if off[i] * off[i + 1] < 0]


def _crossings(table: pd.DataFrame, figure: str, wanted: float, whole: bool) -> tuple[float, ...]:
    """Where the figure is the target: straight between close neighbours."""
    known = table[table[figure].notna()].set_index("value")[figure]
    found = [float(value) for value, reached in known.items() if reached == wanted]
    for left, right in _brackets(table, figure, wanted):
        if whole:
            found += [left, right]
        else:
            a, b = known[left] - wanted, known[right] - wanted
            found.append(left + (right - left) * a / (a - b))
    return tuple(sorted(set(found)))


def _why(table: pd.DataFrame, figure: str, wanted: float, search: _Search) -> str:
    """What is in the way: how near it comes, and what its time waits for there."""
    known = table[table[figure].notna()]
    if known.empty:
        return f"no value gives a run: {table['refused'].iloc[0]}"
    nearest = known.loc[(known[figure] - wanted).abs().idxmin()]
    shares = {bound: nearest[f"time_by_bound_us.{bound}"] / nearest["total_us"] for bound in BOUNDS}
    most = sorted(shares, key=lambda bound: -shares[bound])[:3]
    held = ", ".join(f"{bound} {shares[bound]:.0%}" for bound in most)
    return (f"from {search.shown(search.low)} to {search.shown(search.high)} {figure} lies between "
            f"{known[figure].min():.4g} and {known[figure].max():.4g}; nearest at {search.shown(nearest['value'])}, "
            f"where the time is {held}")
