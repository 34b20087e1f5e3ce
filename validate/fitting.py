"""The search for numbers that bring a model and measurements together, whatever either is.

    minimise  mean |ln(predicted / measured)|

A number of which the parent's file says something beside the measurements (a latency, a loop that was read off) costs
its distance from there: half the square of its logarithm over a width, on the scale of a row's residual.

Continuous numbers by Gauss-Newton steps with a soft absolute loss (scipy, trust region, derivatives by small steps in
the logarithm of each number), numbers that a library's rules count in by trying every choice (at first of every two
together), both again and again until neither gains. Nothing is random.

Standard errors are those of the linearised fit: s^2 (J^T J)^-1, s from the mean absolute residual; they say how well
the rows determine a number if the model is true, not how true it is.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from speedsim.config import Loaded, apply, resolved
from speedsim.reading import document
from speedsim.stack import of_generation
from speedsim.units import InputError

from .silicon_children import Number, Pair

ROUNDS = 6
"""Most turns of both searches."""
GAIN = 1e-4
"""A turn that lowers the mean |ln| by less ends the search."""
STEP = 0.01
"""Of a derivative, in the logarithm of a number."""
SOFT = 0.03
"""Residual from which the loss grows like its size rather than its square."""
_UNITS = {"us": 1e6, "ns": 1e3, "": 1.0}
"""Of the spec, in the units of plain descriptions."""


class Spec(NamedTuple):
    """A number that may be fitted."""

    key: str
    """gpu. or stack., then the dotted key of the description, with the generation where it is by generation."""
    unit: str
    low: float
    high: float
    choices: tuple[float, ...]
    start: float
    width: float
    """How far, in logarithms, it may well lie from what the parent says; 0: the parent says nothing of it."""
    cuts: bool
    """Whether kernels are lowered anew when it changes, as for every number with choices."""

    def text(self, value: float) -> str:
        """The number as descriptions have it: a choice as it is, others to four digits."""
        rounded = value if self.choices else float(f"{value:.4g}")
        told = str(int(rounded)) if rounded == int(rounded) else repr(rounded)
        return f"{told} {self.unit}".strip()


Residual = Callable[[Pair, tuple[float, ...]], NDArray[np.float64]]
"""ln(predicted / measured) of each row that may be fitted on, by these descriptions and the numbers among them on which
the library's cuts depend."""


class Fit(NamedTuple):
    """What a search found."""

    values: tuple[float, ...]
    errors: tuple[float | None, ...]
    wrong: float
    """Mean |ln(predicted / measured)| of the rows that it saw."""


def number(spec: Spec, value: float, error: float | None) -> Number:
    """A fitted value as a child's file has it."""
    text = spec.text(value)
    bare: str | int | float = text
    if not spec.unit:
        bare = int(text) if float(text) == int(float(text)) else float(text)
    return Number(bare, "" if error is None else f"{error:.2g} {spec.unit}".strip())


def specs_of(op: str, pair: Pair, spec: Path) -> tuple[Spec, ...]:
    """The numbers that may be fitted on this GPU, from a list of the form of silicon_fit.yaml.

    Each starts from the parent's value.
    """
    found = []
    generation = pair.gpu.value.generation
    for entry in document.read(spec).plain()[op]:
        if generation not in entry.get("only", [generation]):
            continue
        what, _, key = entry["key"].partition(".")
        held = _held(pair.gpu if what == "gpu" else pair.stack, key, spec)
        by_generation = isinstance(held, dict) and "value" not in held
        start = (of_generation(held, generation) if by_generation else held)["value"]
        unit, choices = entry.get("unit", ""), tuple(entry.get("choices", ()))
        low, high = entry.get("range", (min(choices, default=0), max(choices, default=0)))
        found.append(Spec(f"{entry['key']}.{generation}" if by_generation else entry["key"], unit, low, high, choices,
                          min(high, max(low, start / _UNITS[unit])), entry.get("width", 0.0),
                          entry.get("cuts", False)))
    return tuple(found)


def _held(loaded: Loaded[Any], key: str, spec: Path) -> Any:
    """What a description says at a dotted key, which is written without units."""
    at: Any = resolved(loaded)
    for part in key.split("."):
        at = next((value for name, value in at.items() if name == part or name.startswith(f"{part}_p")
                   or name in (f"{part}_hz", f"{part}_bytes", f"{part}_bytes_per_s")), None)
        if at is None:
            raise InputError(f"{spec.name}: {key} is no key of a description")
    return at


def at_values(pair: Pair, specs: Sequence[Spec], values: Sequence[float]) -> Pair:
    """The descriptions with these numbers."""
    said = [(spec.key, spec.text(value)) for spec, value in zip(specs, values, strict=True)]
    return Pair(*(apply(one, [(key.partition(".")[2], text) for key, text in said if key.startswith(f"{what}.")])
                  for what, one in (("gpu", pair.gpu), ("stack", pair.stack))))  # type: ignore[arg-type]


class _Problem:
    """The share's residuals as a function of the numbers, each search moving some of them."""

    def __init__(self, pair: Pair, specs: Sequence[Spec], residual: Residual) -> None:
        self.pair, self.specs, self.residual = pair, specs, residual
        self.values = [spec.start for spec in specs]
        self.smooth = [i for i, spec in enumerate(specs) if not spec.choices]
        self._cuts = [i for i, spec in enumerate(specs) if spec.cuts or spec.choices]

    def residuals(self, values: Sequence[float]) -> NDArray[np.float64]:
        """ln(predicted / measured) of each row."""
        return self.residual(at_values(self.pair, self.specs, values), tuple(values[i] for i in self._cuts))

    def _doubts(self, values: Sequence[float]) -> NDArray[np.float64]:
        """Distances from what the parents say, on the scale of residuals."""
        return np.array([SOFT * math.log(value / spec.start) / spec.width
                         for spec, value in zip(self.specs, values, strict=True) if spec.width])

    def wrong(self, values: Sequence[float]) -> float:
        """What is minimised: the mean |ln| and, as of so many rows, the doubts squared."""
        residuals = self.residuals(values)
        return float(np.abs(residuals).mean() + (self._doubts(values) ** 2).sum() / (2 * SOFT * len(residuals)))

    def _all(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        values = self._moved(x)
        return np.concatenate([self.residuals(values), self._doubts(values)])

    def _moved(self, x: NDArray[np.float64]) -> list[float]:
        values = list(self.values)
        for i, log in zip(self.smooth, x.tolist(), strict=True):
            values[i] = min(self.specs[i].high, max(self.specs[i].low, math.exp(log)))
        return values

    def _jacobian(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        middle, columns = self._all(x), []
        for i in range(len(x)):
            step = STEP if x[i] + STEP <= math.log(self.specs[self.smooth[i]].high) else -STEP
            aside = x.copy()
            aside[i] += step
            columns.append((self._all(aside) - middle) / step)
        return np.stack(columns, axis=1)

    def descend(self) -> None:
        """Move the continuous numbers."""
        from scipy.optimize import least_squares

        limits = [(math.log(self.specs[i].low), math.log(self.specs[i].high)) for i in self.smooth]
        start = [min(high - 1e-6, max(low + 1e-6, math.log(max(self.values[i], 1e-12))))
                 for i, (low, high) in zip(self.smooth, limits, strict=True)]
        found = least_squares(self._all, start, self._jacobian, bounds=tuple(zip(*limits, strict=True)),
                              loss="soft_l1", f_scale=SOFT, xtol=1e-3, ftol=1e-4, max_nfev=12)
        moved = self._moved(found.x)
        if self.wrong(moved) < self.wrong(self.values):
            self.values = moved

    def choose(self, pairs: bool) -> None:
        """Try every choice of each number that has some, or of every two of them, as a split has a cost and bounds."""
        chosen = [i for i, spec in enumerate(self.specs) if spec.choices]
        best = self.wrong(self.values)
        for group in combinations(chosen, 2 if pairs and len(chosen) > 1 else 1):
            for choices in product(*(self.specs[i].choices for i in group)):
                tried = list(self.values)
                for i, choice in zip(group, choices, strict=True):
                    tried[i] = choice
                wrong = self.wrong(tried)
                if wrong < best:
                    best, self.values = wrong, tried

    def errors(self) -> list[float | None]:
        """Standard errors of the continuous numbers; None where the rows say nothing of one."""
        found: list[float | None] = [None] * len(self.specs)
        x = np.array([math.log(max(self.values[i], 1e-12)) for i in self.smooth])
        jacobian = self._jacobian(x)
        told = np.flatnonzero(np.abs(jacobian).sum(axis=0) > 0)
        if len(told):
            spread = 1.2533 * float(np.abs(self.residuals(self.values)).mean())
            variance = spread**2 * np.linalg.pinv(jacobian[:, told].T @ jacobian[:, told]).diagonal()
            for place, v in zip(told.tolist(), variance.tolist(), strict=True):
                found[self.smooth[place]] = math.sqrt(max(0.0, v)) * self.values[self.smooth[place]]
        return found


def search(pair: Pair, specs: Sequence[Spec], residual: Residual) -> Fit:
    """The numbers with the least mean |ln(predicted / measured)| that both searches find."""
    problem = _Problem(pair, specs, residual)
    wrong = problem.wrong(problem.values)
    for turn in range(ROUNDS):
        problem.choose(pairs=not turn)
        if problem.smooth:
            problem.descend()
        before, wrong = wrong, problem.wrong(problem.values)
        print(f"  turn {turn + 1}: mean |ln| {100 * wrong:.2f} %", file=sys.stderr)
        if before - wrong < GAIN:
            break
    wrong = float(np.abs(problem.residuals(problem.values)).mean())
    return Fit(tuple(problem.values), tuple(problem.errors() if problem.smooth else [None] * len(specs)), wrong)
