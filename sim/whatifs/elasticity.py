"""Which number matters most: the elasticity of the time and of the gain to every number of the GPU and the stack.

    e = d ln figure / d ln number,  by a step of STEP up and down around the number      (1: proportional, 0: no matter)

Numbers that leave the kernels as they are share one walk; the cache's size, the SMs and the library's cuts are walked
anew. Whole numbers move by one at least, and the elasticity is that of the step taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import log
from typing import TYPE_CHECKING, Any, NamedTuple

from ..reading.numbers_of import Path, changed, every, key_of, text_of, unit_of
from ..scenario import Resolved, Scenario, resolve, sides
from ..shelf import Shelf
from ..sweeps.grid import touches
from ..sweeps.points import Machine, figures_on, spread_over, walked_side
from ..units import InputError, NotCoveredError, human

if TYPE_CHECKING:
    import pandas as pd

STEP = 1.1
FIGURES = ("time_per_token_us", "gain.speedup")
LEFT_OUT = ("gpu.hbm.capacity_bytes", "gpu.hbm.label_bandwidth_bytes_per_s", "gpu.sm.peak_clock_hz",
            "gpu.price_per_hour_usd", "stack.uncertainty", "stack.widths")
"""What no time depends on."""


class Step(NamedTuple):
    """A number with its two neighbours."""

    owner: str
    path: Path
    value: float
    low: float
    high: float

    @property
    def key(self) -> str:
        """As --set calls it."""
        return key_of(self.owner, self.path)


def sensitivity(scenario: Scenario | None = None) -> pd.DataFrame:
    """One row a number, the strongest first; numbers without any effect are left out.

    Columns: key, value, shown (the value for people), and for each figure its elasticity.FIGURE, low.FIGURE (the number
    divided by 1.1) and high.FIGURE (times 1.1).
    """
    import pandas as pd

    mine = resolve(replace(scenario or Scenario(), record="summary"))
    rows = [row for row in _rows(mine) if any(row[f"elasticity.{figure}"] for figure in FIGURES)]
    table = pd.DataFrame(rows, columns=["key", "value", "shown", *(f"{what}.{figure}" for figure in FIGURES
                                                          for what in ("elasticity", "low", "high"))])
    order = table[f"elasticity.{FIGURES[0]}"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _rows(mine: Resolved) -> Iterator[dict[str, Any]]:
    walked = {key: walked_side(side) for key, side in sides(mine).items()}
    steps = [Step(owner, path, value, *_neighbours(value)) for owner in ("gpu", "stack")
             for path, value in every(getattr(mine, owner).value) if _counts(mine, owner, path)]
    light = [step for step in steps if touches(step.owner, step.path)]
    machines = [_machine(mine, step, value) for step in light for value in (step.low, step.high)]
    found = figures_on(walked, spread_over(machines)) if machines else {}
    for place, step in enumerate(light):
        yield _row(step, *({figure: float(found[figure][2 * place + end]) for figure in FIGURES} for end in (0, 1)))
    for step in steps:
        if step not in light:
            ends = [_walked_anew(mine, step, value) for value in (step.low, step.high)]
            if all(ends):
                yield _row(step, *ends)


def _counts(mine: Resolved, owner: str, path: Path) -> bool:
    """Whether a time can depend on it: not another generation's number, nor one that no time depends on."""
    if f"{owner}.{'.'.join(path)}".startswith(LEFT_OUT):
        return False
    if owner == "stack" and path[0] == "kernels" and len(path) == 4:
        numbers = getattr(getattr(mine.stack.value.kernels, path[1]), path[2])
        return path[3] == (mine.gpu.value.generation if mine.gpu.value.generation in numbers else "default")
    return path[:2] != ("sm", "peak_flop_per_s") or path[2] == mine.model.value.dtype.activations


def _neighbours(value: float) -> tuple[float, float]:
    if isinstance(value, int) and value < 1000:
        return max(1, min(value - 1, round(value / STEP))), max(value + 1, round(value * STEP))
    low, high = value / STEP, value * STEP
    return (round(low), round(high)) if isinstance(value, int) else (low, high)


def _machine(mine: Resolved, step: Step, value: float) -> Machine:
    gpu, stack = mine.gpu.value, mine.stack.value
    if step.owner == "gpu":
        return changed(gpu, step.path, _legal(gpu, step, value)), stack
    return gpu, changed(stack, step.path, value)


def _legal(description: Any, step: Step, value: float) -> float:
    """The value, or the number's own where the description refuses it (a fraction above 1)."""
    try:
        changed(description, step.path, value)
    except ValueError:
        return step.value
    return value


def _walked_anew(mine: Resolved, step: Step, value: float) -> dict[str, float]:
    """The figures with the number changed as --set would; none where no run takes it."""
    scenario = replace(mine.scenario, sets=(*(pair for pair in mine.scenario.sets if pair[0] != step.key),
                                            (step.key, text_of(value, step.path))))
    try:
        other = resolve(scenario, Shelf())
        walked = {key: walked_side(side) for key, side in list(sides(other).items())[:2]}
        found = figures_on(walked, spread_over([(other.gpu.value, other.stack.value)]))
    except (InputError, NotCoveredError):
        return {}
    return {figure: float(found[figure][0]) for figure in FIGURES}


def _row(step: Step, low: dict[str, float], high: dict[str, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"key": step.key, "value": text_of(step.value, step.path),
                           "shown": human(step.value, unit_of(step.path))}
    for figure in FIGURES:
        row[f"low.{figure}"], row[f"high.{figure}"] = low[figure], high[figure]
        row[f"elasticity.{figure}"] = log(high[figure] / low[figure]) / log(step.high / step.low)
    return row

