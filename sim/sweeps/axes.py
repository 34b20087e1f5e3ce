"""The axes of a sweep: `--over KEY=VALUES`, as the values that each takes, in the words of the command line.

    gpu=h100_sxm,h200_sxm      names           schedule.max_in_flight=1:12             both ends are in it
    l2.capacity=25MiB,50MiB    a list          hbm.bandwidth=2TB/s:8TB/s:0.5TB/s       with a step
    batch=1:64:*2              a factor        schedule=speed:exits=1+6;autoregressive `;` where , is taken

A key is an option of `speedsim run` or what --set changes. A range whose step misses its end has the end as well. Steps
are exact decimals, so that a value is always the text that --set would take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from ..reading.provenance import did_you_mean
from ..scenario import Scenario
from ..units import InputError

OPTIONS = tuple(f.name for f in fields(Scenario) if f.name not in ("sets", "record"))
"""Keys without a dot."""
WHOLE = ("batch", "tokens", "prompt", "seed")
"""Options that are whole numbers."""
MOST_VALUES = 1_000_000
"""Of one axis."""

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?"
_END = re.compile(rf"({_NUMBER})[ ]*([^\d\s.:*+-][^:]*)?", re.IGNORECASE)
_RANGE = re.compile(r"[+-]?[\d.][^:]*:[+-]?[\d.][^:]*(:[^:]*)?")


@dataclass(frozen=True, slots=True)
class Axis:
    """A key and the values it takes."""

    key: str
    texts: tuple[str, ...]

    @property
    def own(self) -> bool:
        """Whether it is a field of the scenario, not a number of a description."""
        return self.key in OPTIONS

    def over(self, scenario: Scenario, index: int) -> Scenario:
        """The scenario with the axis at one of its values."""
        text = self.texts[index]
        if not self.own:
            return replace(scenario, sets=(*scenario.sets, (self.key, text)))
        try:
            change: Any = {self.key: int(text) if self.key in WHOLE else text}
        except ValueError:
            raise InputError(f"--over {self.key}={text}: a whole number is expected") from None
        return replace(scenario, **change)

    @property
    def plain_numbers(self) -> list[int] | list[float] | None:
        """The values as numbers where all of them are numbers without a unit."""
        try:
            return [int(text) for text in self.texts]
        except ValueError:
            pass
        try:
            return [float(text) for text in self.texts]
        except ValueError:
            return None


def axis(text: str) -> Axis:
    """The axis of one `KEY=VALUES`. Raises InputError for what is no key, no value, twice there, or an empty range."""
    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise InputError(f"--over {text}: write KEY=VALUES, such as hbm.bandwidth=2TB/s:8TB/s:0.5TB/s or gpu=l4,l40s")
    if "." not in key and key not in OPTIONS and key != "price_per_hour":
        raise InputError(f"--over {text}: {key!r} is no option of run{did_you_mean(key, OPTIONS)}; "
                         "numbers have a dot: hbm.bandwidth, schedule.max_in_flight, stack.host.turnaround")
    texts = [value for item in _items(key, values) for value in _values(item.strip(), text)]
    if not texts or not all(texts):
        raise InputError(f"--over {text}: {key}: there is no value" if not any(texts) else
                         f"--over {text}: {key}: a value is empty")
    if len(set(texts)) < len(texts):
        twice = next(value for value in texts if texts.count(value) > 1)
        raise InputError(f"--over {text}: {key}: {twice} is given twice")
    return Axis(key, tuple(texts))


def axes(texts: Iterable[str]) -> tuple[Axis, ...]:
    """All axes; no key twice."""
    found: dict[str, Axis] = {}
    for text in texts:
        one = axis(text)
        if one.key in found:
            raise InputError(f"--over {text}: {one.key} is an axis already; give all its values at once")
        found[one.key] = one
    if not found:
        raise InputError("--over: give at least one axis, such as --over gpu=h100_sxm,h200_sxm")
    return tuple(found.values())


def linked(all_axes: tuple[Axis, ...], links: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """The dimensions: axes by place, those of a `--link a,b` together where the first of them stands."""
    places = {one.key: place for place, one in enumerate(all_axes)}
    together: dict[int, tuple[int, ...]] = {}
    for text in links:
        keys = [key.strip() for key in text.split(",")]
        for key in keys:
            if key not in places:
                raise InputError(f"--link {text}: {key!r} is no axis{did_you_mean(key, places)}")
        joined = tuple(sorted({places[key] for key in keys}))
        if len(joined) < 2 or any(place in together for place in joined):
            raise InputError(f"--link {text}: two axes or more are linked, each of them once")
        sizes = {key: len(all_axes[places[key]].texts) for key in keys}
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{key} has {size}" for key, size in sizes.items())
            raise InputError(f"--link {text}: linked axes have equally many values; {told}")
        together |= dict.fromkeys(joined, joined)
    return tuple(dict.fromkeys(together.get(place, (place,)) for place in range(len(all_axes))))


def _items(key: str, values: str) -> list[str]:
    """The items of a list. An item that goes on with an option of the schedule before it belongs to it."""
    if ";" in values:
        return values.split(";")
    found: list[str] = []
    for item in values.split(","):
        goes_on = key in ("schedule", "synth", "l2") and found and "=" in item and ":" not in item
        starts = key == "synth" and item.strip().startswith("flips=")
        if goes_on and not starts:
            found[-1] += f",{item}"
        else:
            found.append(item)
    return found


def _values(item: str, text: str) -> list[str]:
    """The values of one item: itself, or what a range runs over."""
    if not _RANGE.fullmatch(item):
        return [item]
    parts = item.split(":")
    factor = len(parts) == 3 and parts[2].strip().startswith("*")
    step = parts[2].strip().removeprefix("*") if len(parts) == 3 else ""
    ends = [_END.fullmatch(part.strip()) for part in (*parts[:2], *([step] if step else []))]
    if not all(ends) or (len(parts) == 3 and not step):
        raise InputError(f"--over {text}: {item}: a range is FIRST:LAST, FIRST:LAST:STEP or FIRST:LAST:*FACTOR")
    units = {end[2].strip() for end in ends[:2 if factor else 3] if end and end[2]}
    numbers = [Decimal(end[1]) for end in ends if end]
    if len(units) > 1:
        raise InputError(f"--over {text}: {item}: write the ends and the step of a range in one unit")
    unit = next(iter(units), "")
    if len(numbers) < 3 and (unit or any(n != int(n) for n in numbers)):
        raise InputError(f"--over {text}: {item}: a range of other than whole numbers needs a step")
    first, last, by = *numbers[:2], numbers[2] if len(numbers) > 2 else Decimal(1)
    if last < first:
        raise InputError(f"--over {text}: {item}: an empty range: {last} is below {first}")
    if by <= (1 if factor else 0) or (factor and first <= 0):
        raise InputError(f"--over {text}: {item}: a step is above 0, a factor above 1 from an end above 0")
    return [f"{_written(number)}{unit}" for number in _run(first, last, by, factor, text)]


def _run(first: Decimal, last: Decimal, by: Decimal, factor: bool, text: str) -> list[Decimal]:
    found, number = [], first
    while number < last:
        found.append(number)
        number = number * by if factor else number + by
        if len(found) > MOST_VALUES:
            raise InputError(f"--over {text}: more than {MOST_VALUES:,} values")
    return [*found, last]


def _written(number: Decimal) -> str:
    """A decimal without an exponent and without zeros behind its point."""
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
