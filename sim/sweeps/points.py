"""A block of points computed: one walk through each program, then the times of all its machines at once.

A group's walks are kept for the blocks of it that follow. A run that is no sum of its parts (the schedule decides on
the device, several streams) is played point by point; its columns are the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..hardware import Gpu
from ..machine.grid import Chip, Machines, Pace, times
from ..machine.tally import Tally
from ..reading.numbers_of import changed
from ..scenario import Resolved, play, resolve, sides, tallied
from ..shelf import Shelf
from ..stack import Stack
from ..timeline import BOUNDS
from ..units import InputError, NotCoveredError
from .figures import Column, Run, columns
from .grid import Block, Grid, Number

WALKS_KEPT = 32
"""Walks that are kept at a time."""
Ints = NDArray[np.int64]


class Side(NamedTuple):
    """A run or a rival of it, and its walk where it is a sum of its parts."""

    resolved: Resolved
    tally: Tally | None


Machine = tuple[Gpu, Stack]


class Spread(NamedTuple):
    """The machines of N points: the distinct ones by what kernels' times depend on, and by everything else."""

    chips: list[Machine]
    paces: list[Machine]
    chip_of: Ints
    pace_of: Ints

    def machine(self, point: int) -> Machine:
        """The whole machine of a point."""
        (chip, library), (between, host) = self.chips[self.chip_of[point]], self.paces[self.pace_of[point]]
        return (replace(between, sm=chip.sm, l2=chip.l2, hbm=chip.hbm, energy=chip.energy),
                replace(host, kernels=library.kernels))


def spread_over(machines: Sequence[Machine]) -> Spread:
    """Any machines that differ in rates, clocks and prices alone. Parts that are one object are timed once."""
    chips: dict[tuple[int, ...], int] = {}
    chip_of = [chips.setdefault(tuple(map(id, (gpu.sm, gpu.l2, gpu.hbm, gpu.energy, stack.kernels))), len(chips))
               for gpu, stack in machines]
    distinct = [machines[chip_of.index(number)] for number in range(len(chips))]
    return Spread(distinct, list(machines), np.array(chip_of), np.arange(len(machines)))


def figures_on(walked: Mapping[str, Side], spread: Spread) -> dict[str, Column]:
    """The columns of a walked run and its rivals on these machines. Raises NotCoveredError."""
    runs = {key: run_on(side, spread) for key, side in walked.items()}
    return columns({key: side.resolved for key, side in walked.items()}, runs, [gpu for gpu, _ in spread.chips],
                   [gpu for gpu, _ in spread.paces], (spread.chip_of, spread.pace_of))


class Points:
    """Computes blocks of a grid. A worker gets it by pickling: the grid, and everything looked up for it."""

    def __init__(self, grid: Grid, shelf: Shelf) -> None:
        self.grid, self.shelf = grid, shelf
        self._walked: OrderedDict[object, Tally | None] = OrderedDict()
        self._sides: tuple[int, dict[str, Side]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Points, (self.grid, self.shelf)

    def block(self, block: Block) -> dict[str, Column]:
        """The columns of a block's points; where no data cover them, `refused` says why and nothing else is there."""
        try:
            walked = self._walk(block.group)
            return figures_on(walked, self._spread(next(iter(walked.values())).resolved, block))
        except (NotCoveredError, InputError) as error:
            return {"refused": " ".join(str(error).split())}

    def _walk(self, group: int) -> dict[str, Side]:
        """The runs of a group's points, walked through."""
        if self._sides is None or self._sides[0] != group:
            mine = resolve(self.grid.of_group(group), self.shelf)
            walked = {key: Side(side, self.tally(side)) for key, side in sides(mine, self.shelf).items()}
            self._sides = (group, walked)
        return self._sides[1]

    def tally(self, side: Resolved) -> Tally | None:
        """The side's walk; rivals are the same in groups that differ in the schedule alone."""
        # What the names and changes of the scenario mean is in the digests; the rest of it counts as it is.
        rest = replace(side.scenario, gpu="", stack="", model="", schedule="", trace=None, synth=None, sets=())
        key = (side.schedule_name, side.control, side.launch, rest, side.trace.digest,
               *(part.digest for part in (side.gpu, side.stack, side.model, side.plan)))
        if key not in self._walked:
            self._walked[key] = _tally(side)
            if len(self._walked) > WALKS_KEPT:
                self._walked.popitem(last=False)
        return self._walked[key]

    def _spread(self, mine: Resolved, block: Block) -> Spread:
        """The group's machine with the numbers of the block's points."""
        grid, at = self.grid, self.grid.indices(block)
        numbers = [(number, at[dimension]) for dimension in grid.inner
                   for number in (grid.numbers[place] for place in grid.dimensions[dimension]) if number is not None]
        chip_of, chips = _distinct(mine, [pair for pair in numbers if pair[0].on_chip], at.shape[1])
        pace_of, paces = _distinct(mine, [pair for pair in numbers if not pair[0].on_chip], at.shape[1])
        return Spread(chips, paces, chip_of, pace_of)


def walked_side(side: Resolved) -> Side:
    """A run walked through, as far as that gives its times."""
    return Side(side, _tally(side))


def _tally(side: Resolved) -> Tally | None:
    try:
        return tallied(side)
    except NotCoveredError:
        return None


def _distinct(mine: Resolved, numbers: list[tuple[Number, Ints]], count: int
              ) -> tuple[Ints, list[Machine]]:
    """(which of the machines each point has, the distinct machines) for some numbers of `count` points."""
    if not numbers:
        return np.zeros(count, dtype=np.int64), [(mine.gpu.value, mine.stack.value)]
    combined, of = np.unique(np.stack([at for _, at in numbers]), axis=1, return_inverse=True)
    machines = []
    made = [(mine.gpu.value, mine.stack.value)]  # with the first number changed, with the first two, ...
    before: list[int] = []
    for values in combined.T.tolist():
        same = next((i for i, (a, b) in enumerate(zip(values, before, strict=False)) if a != b), len(before))
        del made[same + 1:]
        for (number, _), value in zip(numbers[same:], values[same:], strict=True):
            made.append(_with(made[-1], number, value))
        before = values
        machines.append(made[-1])
    return of.reshape(-1).astype(np.int64), machines


def _with(machine: Machine, number: Number, value: int) -> Machine:
    """The machine with one of a number's values."""
    gpu, stack = machine
    if number.owner == "gpu":
        return changed(gpu, number.path, number.values[value]), stack
    return gpu, changed(stack, number.path, number.values[value])


def run_on(side: Side, spread: Spread) -> Run:
    """The side's times on all machines."""
    if side.tally is None:
        return _played(side.resolved, spread, range(len(spread.chip_of)))
    tally, count = side.tally, side.tally.sequences
    found = times(tally, side.resolved.scenario.tier, Machines(
        [Chip(gpu, stack.kernels) for gpu, stack in spread.chips],
        [Pace(gpu.launch, stack.host) for gpu, stack in spread.paces], spread.chip_of, spread.pace_of))
    prompt = {s.id: tally.prompts.index(s.first) for s in side.resolved.trace.sequences}
    ahead = [prompt[decode.sequence] for decode in tally.line.decodes]
    run = Run(tally.line, found.rows_ps[:count], found.rows_ps[count], found.rows_ps[count + 1:][ahead], found.bound_ps)
    if found.limited.any():  # what a power limit does depends on what came before: those machines are played
        some = np.flatnonzero(found.limited)
        played = _played(side.resolved, spread, some.tolist())
        run.each_ps[:, some], run.decode_ps[some], run.prefill_ps[:, some] = played[1:4]
        for bound, time in played.bound_ps.items():
            run.bound_ps[bound][some] = time
    return run


def _played(side: Resolved, spread: Spread, points: Sequence[int]) -> Run:
    """The side played on some machines; what it ran is the same on all of them."""
    lines = []
    for point in points:
        gpu, stack = spread.machine(point)
        lines.append(play(replace(side, gpu=replace(side.gpu, value=gpu), stack=replace(side.stack, value=stack))))
    return Run(lines[0], np.array([[d.end_ps - d.start_ps for d in line.decodes] for line in lines]).T,
               np.array([line.decode_ps for line in lines]),
               np.array([[d.prefill_ps for d in line.decodes] for line in lines]).T,
               {bound: np.array([line.bound_ps[bound] for line in lines]) for bound in BOUNDS})
