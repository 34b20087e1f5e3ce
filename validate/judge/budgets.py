"""validate/budgets.yaml: the errors that a comparison may have. A broken one makes `compare` end with exit code 1.

    budgets:
      - {of: rungs.pass, figure: mape, most: 8}
      - {of: speedups, figure: error, most: 4}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..refusal import RefusedError

FILE = Path(__file__).resolve().parents[1] / "budgets.yaml"
FIGURES = ("mape", "bias", "median", "p95", "geometric", "coverage", "error", "regret")


class Budget(NamedTuple):
    """The most (and least) that a figure may be; only where there are enough points."""

    of: str
    figure: str
    most: float
    least: float = float("-inf")
    points: int = 10
    """Fewer points break nothing."""


def budgets(path: Path | None) -> list[Budget]:
    """The budgets of a file; refused, in one line, where it is none."""
    path = path or FILE
    try:
        given = yaml.safe_load(path.read_text())
        found = [Budget(**one) for one in given["budgets"]]
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, TypeError, KeyError) as error:
        raise RefusedError(f"{path}: budgets: {' '.join(str(error).split())}") from None
    for one in found:
        if one.figure not in FIGURES:
            raise RefusedError(f"{path}: {one.figure}: no figure; there are {', '.join(FIGURES)}")
    return found


def broken(found: Mapping[str, Any], limits: Sequence[Budget]) -> list[str]:
    """Every budget that a comparison breaks, in words. What was not held out breaks nothing: it proves nothing."""
    if not found["held_out"] or found["quick"]:
        return []
    told = []
    for one in limits:
        for name, value, points in _values(found, one):
            if points >= one.points and not one.least <= abs(value) <= one.most:
                told.append(f"{name}: {one.figure} {value:.1f}, budget {one.most:g}" + (
                    f" and {one.least:g} at least" if one.least > 0 else ""))
    return told


def _values(found: Mapping[str, Any], budget: Budget) -> list[tuple[str, float, int]]:
    """(name, figure, points) of what a budget is about: `rungs.pass`, `regimes.*`, `speedups`, `choices.ours`."""
    if budget.of == "speedups":
        errors = [abs(one["error"]) for one in found["speedups"]]
        return [("speedups", sum(errors) / len(errors), len(errors))] if errors else []
    group, _, name = budget.of.partition(".")
    part = found.get(group) or {}
    chosen = part.items() if name == "*" else [(name, part.get(name))]
    return [(f"{group}.{key}", one[budget.figure], one.get("points", part.get("interior", 0)))
            for key, one in chosen if one and one.get(budget.figure) is not None]
