"""The points of a sweep, and how they are cut into blocks that are computed together.

    point = one value of every dimension; the last dimension runs fastest
    group = the points that differ only in rates, clocks and prices: they share one walk through the program
    block = some points of one group: what a worker takes at a time, and what an interruption can lose

A point is refused like a run: with the message of the value that does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..reading.numbers_of import changed, found_at, number, placed
from ..scenario import Resolved, Scenario, resolve
from ..units import InputError, NotCoveredError
from .axes import Axis

if TYPE_CHECKING:
    from ..shelf import Shelf

MOST_POINTS = 10_000_000
ON_CHIP = ("sm.clock_hz", "sm.peak_flop_per_s", "l2.bandwidth_bytes_per_s", "l2.near_latency_ps",
           "hbm.bandwidth_bytes_per_s", "hbm.read_fraction", "hbm.latency_ps", "energy.")
"""Numbers of a GPU that only the times of kernels depend on."""
OF_LIBRARY = (".step_cycles", ".fixed_ps")
"""The same of a stack's kernels."""
BETWEEN = ("launch.", "host.")
"""Numbers of a GPU and of a stack that only the time between kernels depends on."""
ON_THE_BILL = ("price_per_hour_usd",)
"""Numbers that no time depends on."""
SIZES = {"roofline": 8_192}
"""Points of a block by tier."""
SIZE = 32
"""Points of a block in every other tier."""


class Number(NamedTuple):
    """An axis over a number that leaves the kernels and the launch units as they are."""

    owner: str
    """gpu or stack."""
    path: tuple[str, ...]
    values: tuple[float, ...]
    on_chip: bool
    """Whether the times of kernels depend on it."""


class Block(NamedTuple):
    """Points first .. stop-1 of a group."""

    group: int
    first: int
    stop: int


@dataclass(frozen=True)
class Grid:
    """All points: the scenario with every combination of the axes' values."""

    scenario: Scenario
    axes: tuple[Axis, ...]
    dimensions: tuple[tuple[int, ...], ...]
    """Axes by place; those of one dimension go together."""
    numbers: tuple[Number | None, ...]
    """By axis; None: it changes what is run."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of every dimension."""
        return tuple(len(self.axes[members[0]].texts) for members in self.dimensions)

    @property
    def size(self) -> int:
        """Points."""
        return int(np.prod(self.shape, dtype=object))

    @cached_property
    def inner(self) -> tuple[int, ...]:
        """Dimensions whose axes are all numbers: a group runs over them."""
        return tuple(d for d, members in enumerate(self.dimensions)
                     if all(self.numbers[axis] is not None for axis in members))

    @cached_property
    def outer(self) -> tuple[int, ...]:
        """The other dimensions: each of their combinations is a group."""
        return tuple(d for d in range(len(self.dimensions)) if d not in self.inner)

    def sizes(self, dimensions: tuple[int, ...]) -> tuple[int, ...]:
        """Values of some dimensions."""
        return tuple(self.shape[d] for d in dimensions)

    @property
    def groups(self) -> int:
        """Groups."""
        return int(np.prod(self.sizes(self.outer), dtype=object))

    def scenario_at(self, index: dict[int, int]) -> Scenario:
        """The scenario with some dimensions at these values."""
        scenario = self.scenario
        for dimension, value in index.items():
            for place in self.dimensions[dimension]:
                scenario = self.axes[place].over(scenario, value)
        return scenario

    def of_group(self, group: int) -> Scenario:
        """The scenario of a group, its numbers left as they are."""
        at = np.unravel_index(group, self.sizes(self.outer)) if self.outer else ()
        return self.scenario_at({d: int(value) for d, value in zip(self.outer, at, strict=True)})

    def blocks(self) -> list[Block]:
        """All blocks, group by group."""
        inside = self.size // self.groups
        tiers = [axis.texts for axis in self.axes if axis.key == "tier"]
        tier = self.scenario.tier if not tiers else "" if set(tiers[0]) != {"roofline"} else "roofline"
        size = SIZES.get(tier, SIZE)
        return [Block(group, first, min(first + size, inside))
                for group in range(self.groups) for first in range(0, inside, size)]

    def indices(self, block: Block) -> NDArray[np.int64]:
        """[dimensions, points of the block]: the value that each dimension has at each point."""
        found = np.zeros((len(self.dimensions), block.stop - block.first), dtype=np.int64)
        if self.inner:
            found[list(self.inner)] = np.unravel_index(np.arange(block.first, block.stop), self.sizes(self.inner))
        if self.outer:
            found[list(self.outer)] = np.array(np.unravel_index(block.group, self.sizes(self.outer)))[:, None]
        return found

    def points(self, block: Block) -> NDArray[np.int64]:
        """Places of the block's points among all points."""
        places: NDArray[np.int64] = np.ravel_multi_index(tuple(self.indices(block)), self.shape)
        return places


def grid(scenario: Scenario, axes: tuple[Axis, ...], dimensions: tuple[tuple[int, ...], ...], shelf: Shelf) -> Grid:
    """The grid, with every value looked at once: each in the first point that has it. Raises InputError.

    Long ranges of numbers are looked at by their ends; what lies between is read as the same kind of number.
    """
    size = int(np.prod([len(axes[members[0]].texts) for members in dimensions], dtype=object))
    if size > MOST_POINTS:
        raise InputError(f"--over: {size:,} points; at most {MOST_POINTS:,} at a time")
    _once(axes, scenario)
    bare = Grid(scenario, axes, dimensions, (None,) * len(axes))
    origin = dict.fromkeys(range(len(dimensions)), 0)
    base = _looked_at(bare, origin, shelf)
    found: list[Number | None] = [None] * len(axes)
    for dimension, members in enumerate(dimensions):
        for place in members:
            found[place] = _number(axes[place], base)
        simple = all(found[place] is not None for place in members)
        count = len(axes[members[0]].texts)
        for value in (0, count - 1) if simple else range(count):
            _looked_at(bare, origin | {dimension: value}, shelf)
    return Grid(scenario, axes, dimensions, tuple(found))


def _once(axes: tuple[Axis, ...], scenario: Scenario) -> None:
    """Refuse what is changed twice, under whatever name: `batch` is `run.batch`, `gpu.hbm.x` is `hbm.x`."""
    seen: dict[str, str] = {}
    for key in (*(key for key, _ in scenario.sets), *(axis.key for axis in axes)):
        head, dot, rest = key.partition(".")
        same = rest if dot and head in ("run", "trace", "gpu") else key
        if same in seen:
            raise InputError(f"--over {key}: given twice ({seen[same]} is the same)")
        seen[same] = key


def _looked_at(grid: Grid, index: dict[int, int], shelf: Shelf) -> Resolved | None:
    """The point, looked up; None where no data cover it."""
    try:
        return resolve(grid.scenario_at(index), shelf)
    except NotCoveredError:
        return None
    except InputError as error:
        text = str(error)
        for axis in grid.axes:
            text = text.replace(f"--set {axis.key}=", f"--over {axis.key}=")
        raise InputError(text) from None


def _number(axis: Axis, base: Resolved | None) -> Number | None:
    """The axis as a number that leaves the run as it is; None where it may change more."""
    if axis.own or base is None:
        return None
    place = placed(axis.key)
    where = None if place is None else touches(*place)
    if place is None or where is None:
        return None
    owner, path = place
    description = getattr(base, owner).value
    if found_at(description, path) is None:
        return None
    values = tuple(_read(axis.key, text, description, path) for text in axis.texts)
    return Number(owner, path, values, where == "chip")


def touches(owner: str, path: tuple[str, ...]) -> str | None:
    """What a number touches: the times of kernels (`chip`), those between (`pace`); None: it may change what is run."""
    dotted = ".".join(path)
    if dotted.startswith(ON_CHIP) if owner == "gpu" else owner == "stack" and any(w in dotted for w in OF_LIBRARY):
        return "chip"
    between = owner != "model" and dotted.startswith(BETWEEN)
    return "pace" if between or (owner == "gpu" and dotted in ON_THE_BILL) else None


def _read(key: str, text: str, description: Any, path: tuple[str, ...]) -> float:
    """One value, as the description takes it."""
    try:
        value = number(text, path)
        if not 0 <= value < float("inf"):
            raise ValueError(f"{text} is not 0 or more")
        changed(description, path, value)
    except (InputError, ValueError) as error:
        raise InputError(f"--over {key}={text}: {key}: {error}") from None
    return value
