"""From a kernel's demand to the lines that its CTAs ask for, step by step.

    weights     a CTA takes `tile` rows of the matrix, a step the next few sectors of each of them
    others      CTAs take consecutive parts of a tensor, a step the next part of that
    inputs      once by all CTAs together, and what further tiles ask for again (Demand.again_bytes)
    results     when a CTA ends

Tensors lie one after the other in memory, large ones at multiples of 2 MiB; a tensor keeps its place. Activations
between kernels share one place, where the kernel before has just written them.
Ignored: physical pages, padding of rows.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kernels.demand import Grid, Tiles
from .cycle_l2 import KEEP, NORMAL, STREAM
from .cycle_parts import ACCESS_WIDTH, SECTOR, Job

POLICIES = {"normal": NORMAL, "keep": KEEP, "stream": STREAM}
LARGE, SMALL = 2**21, 4096
"""Tensors lie at multiples of these, large or small."""


class Use(NamedTuple):
    """A tensor that a kernel reads or writes."""

    base: int
    """Its address in bytes."""
    size: int
    write: bool = False
    policy: str = "normal"
    tiles: Tiles | None = None
    wrap: int = 0
    """Bytes after which the reading begins again; 0: never."""


class Memory:
    """Where tensors lie."""

    def __init__(self) -> None:
        self._next, self._at = LARGE, dict[Hashable, tuple[int, int]]()

    def place(self, name: Hashable, size: int) -> int:
        """The address of a tensor; one that has grown beyond the next power of two moves."""
        at, held = self._at.get(name, (0, -1))
        if held < size:
            grain = LARGE if size >= LARGE else SMALL
            at = -(-self._next // grain) * grain
            held = 1 << max(0, size - 1).bit_length()
            self._next = at + held
            self._at[name] = (at, held)
        return at


def job(grid: Grid, uses: Sequence[Use], loop_fs: int = 0) -> Job:
    """The kernel's CTAs; each keeps the steps in flight that its bytes in flight allow. `loop_fs`: all its steps."""
    # A matrix's stages hold its inputs beside it; a kernel without one has all it reads in flight.
    read = sum(use.size for use in uses if use.tiles) or sum(use.size for use in uses if not use.write)
    each = max(1, -(-read // grid.ctas))
    steps = max(math.ceil(grid.steps), -(-each // grid.inflight_bytes))
    stages = min(steps, max(1, grid.inflight_bytes * steps // each))
    rows = [_matrix(use, use.tiles, grid.ctas, steps) if use.tiles is not None and not use.size % use.tiles.rows
            else _consecutive(use, grid.ctas, steps) for use in uses if use.size]
    access = np.array(rows, np.int64).reshape(-1, ACCESS_WIDTH)
    return Job(grid.ctas, steps, stages, grid.per_sm, loop_fs // steps, 0, access)


def _matrix(use: Use, matrix: Tiles, ctas: int, steps: int) -> NDArray[np.int64]:
    """Rows of a matrix: CTA c takes part c % splits of the rows of tile c // splits."""
    pitch = -(-use.size // matrix.rows // SECTOR)
    run = max(1, -(-pitch // (matrix.splits * steps)))
    tiles = -(-matrix.rows // matrix.tile)
    base = use.base // SECTOR
    return _row(base, base + -(-use.size // SECTOR), matrix.splits, tiles, matrix.tile * pitch, steps * run, run, pitch,
                run, matrix.tile, steps, pitch, use)


def _consecutive(use: Use, ctas: int, steps: int) -> NDArray[np.int64]:
    """Consecutive parts; what is small is asked for in the first steps."""
    base, sectors = use.base // SECTOR, -(-use.size // SECTOR)
    share = -(-sectors // ctas)
    run = share if use.write else max(min(share, 4), -(-share // steps))
    wrap = -(-use.wrap // SECTOR)
    return _row(base, base + (wrap or sectors), 1, ctas, share, 0, run, 0, run, 1, -(-share // run), share, use, wrap)


def _row(base: int, end: int, group: int, modulo: int, group_stride: int, part_stride: int, step_stride: int,
         pitch: int, run: int, runs: int, steps: int, limit: int, use: Use, wrap: int = 0) -> NDArray[np.int64]:
    return np.array([base, end, group, modulo, group_stride, part_stride, step_stride, pitch, run, runs, steps, limit,
                     use.write, POLICIES[use.policy], wrap, 0], np.int64)
