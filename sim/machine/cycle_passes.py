"""Passes on the cycle tier: kernel after kernel, line by line, on the cache that the recency list implies.

The recency list says which tensors were used last and in what order; before a pass they are read through the cache
again, without time. What then hits is what lines and sets say, not the card's hit curve.
"""

from __future__ import annotations

from ..kernels.demand import Grid, Kernel
from ..kernels.lower import PassShape
from .computed import Computed, Computer
from .cycle_device import CycleDevice
from .cycle_jobs import Use, job
from .cycle_kernels import between
from .l2 import State
from .prepared import Piece, Prepared
from .work import Timed

AGES = 64
"""A class of kernels knows how long ago its tensors were used to so many parts of the capacity,"""
OLDEST = 2 * AGES
"""and no more where nothing can be left of them."""


class LineComputer(Computer):
    """Computes passes line by line."""

    def _compute(self, shape: PassShape) -> Computed:
        ready = self._prepare(shape)
        residency, device = self._residency, self._lines
        self._restore(residency.state(), ready)
        hbm = dict(ready.missed)
        missing: dict[int, float] = {}
        timed: list[Timed] = []
        content: list[int] = []
        knee = 0
        for piece in ready.pieces:
            ages = []
            for name, size, policy, _, shared, _ in piece.reads:
                residency.read(name, size, policy, shared)
                ages.append(min(OLDEST, -(-residency.distance * AGES // residency.cache.capacity_bytes)))
                knee += size if residency.near_knee else 0
            uses = self._uses(piece)
            time, missed = device.kernel(piece.work, uses, (tuple(ages), tuple(use[1:] for use in uses)))
            for (_, size, _, kind, _, instance), gone in zip(piece.reads, missed, strict=False):
                if instance is None:
                    hbm[kind] += gone
                else:
                    missing[instance] = min(1.0, gone / size)
            timed.append(time)
            content.append(self._timings.setdefault(time, len(self._timings)))
        return self._made(shape, timed, content, hbm, missing, knee)

    def _forget(self) -> None:
        super()._forget()
        self._timings: dict[Timed, int] = {}

    @property
    def _lines(self) -> CycleDevice:
        assert isinstance(self._device, CycleDevice)
        return self._device

    def _uses(self, piece: Piece) -> list[Use]:
        """What a kernel reads and writes and where it lies, its reads through the cache first."""
        memory, tiles = self._lines.memory, piece.kernel.demand.tiles
        uses = [Use(memory.place(read.name, read.size), read.size, False, read.policy, None if at else tiles)
                for at, read in enumerate(piece.reads)]
        return uses + between(memory, piece.kernel)

    def _restore(self, held: State, ready: Prepared) -> None:
        """Have the cache hold what the recency list implies, each tensor read as this pass's kernels will."""
        device = self._lines
        device.empty()
        sms = device.organisation.paths.sms
        readers: dict[int, Kernel] = {read.name: piece.kernel for piece in ready.pieces for read in piece.reads[:1]}
        names, sizes, kept = held
        for policy, tensors in (("keep", kept), ("normal", tuple(zip(names, sizes, strict=True)))):
            for name, size in tensors:
                assert isinstance(name, int)
                kernel = readers.get(name)
                grid, tiles = ((Grid(sms, 1, self._lowering.software.inflight_bytes), None) if kernel is None else
                               (kernel.demand.grid, kernel.demand.tiles))
                use = Use(device.memory.place(name, size), size, False, policy, tiles)
                device.read(job(grid, [use]))
