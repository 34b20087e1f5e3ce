"""A kernel on the cycle tier: the lines it uses and where they lie; alone, as kernel benchmarks repeat it.

A rotation of buffers that is larger than COLD_FROM times the cache finds nothing there, as one cold buffer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..kernels.demand import Kernel
from .cycle_device import CycleDevice
from .cycle_jobs import Memory, Use, job
from .work import Device, Timed, Work

COLD_FROM = 1.4
BETWEEN = "activations"
"""Name of the place where activations lie."""


def between(memory: Memory, kernel: Kernel) -> list[Use]:
    """What a kernel takes over from others, and what it writes."""
    demand = kernel.demand
    inputs = [access for access in demand.reads if access.tensor.kind == BETWEEN]
    uses = [Use(memory.place(BETWEEN, access.bytes), access.bytes) for access in inputs]
    if demand.again_bytes and inputs:
        whole = inputs[0].bytes
        uses.append(Use(memory.place(BETWEEN, whole), demand.again_bytes, wrap=whole))
    return uses + [Use(memory.place((BETWEEN, access.tensor.kind), access.bytes), access.bytes, write=True)
                   for access in demand.writes]


def timed_alone(device: Device, kernels: Sequence[Kernel], buffers: int,
                capacity: int, watched: list[dict[str, Any]] | None = None) -> tuple[tuple[Timed, ...], float]:
    """(times of a layer's kernels, the fraction of its weights or keys and values that hit).

    Before, `buffers` sets of its tensors were read in turn, its own first. Each kernel's counters go to `watched`.
    """
    assert isinstance(device, CycleDevice)
    memory, main = device.memory, next(kernel for kernel in kernels if kernel.stored)
    first, stored = main.demand, main.stored
    size = sum(access.bytes for access in stored)

    def uses(turn: int) -> list[Use]:
        return [Use(memory.place((turn, *tensor.name), bytes_), bytes_, tiles=None if at else first.tiles)
                for at, (tensor, bytes_) in enumerate(stored)]

    device.empty()
    if size * buffers <= COLD_FROM * capacity:
        for turn in range(buffers):
            device.read(job(first.grid, uses(turn)))
    inputs = between(memory, main)
    device.read(job(first.grid, [use for use in inputs if not use.write]))
    timed, hit = [], 0.0
    for kernel in kernels:
        demand = kernel.demand
        work = Work(kernel.name, kernel.family, demand.dtype, demand.flop, demand.issued_bytes, 0, demand.grid)
        one, missed = device.kernel(work, (uses(0) if kernel is main else []) + between(memory, kernel))
        timed.append(one)
        if watched is not None:
            watched.append(device.probed())
        if kernel is main:
            hit = 1.0 - sum(missed[:len(stored)]) / size
    return tuple(timed), hit
