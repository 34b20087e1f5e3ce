"""Many layers, each by itself, whose times are asked for again and again under other numbers: what a fit does.

    lowered once:  kernels, bytes, CTAs                          (one_kernel.lowered)
    each time:     hits of the cache -> bytes missed -> times    (machine/lone.py)

The same picoseconds as one_kernel.Bench in the fluid tier, a hundred times as fast, as long as the numbers that change
decide nothing about how kernels are cut.
Ignored: that all SMs read the weights of more rows than a CTA takes (Demand.shared).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .hardware import Gpu
from .machine.l2 import Residency
from .machine.lone import durations, lone
from .machine.work import Work
from .one_kernel import Attention, Linear, lowered
from .stack import Kernels
from .units import NotCoveredError


class Many:
    """Layers that were lowered for one GPU and library."""

    def __init__(self, layers: Sequence[Linear | Attention], buffers: int, gpu: Gpu, software: Kernels) -> None:
        holds = Residency(gpu.l2).holds
        works: list[Work] = []
        of: list[int] = []
        """The layer of each kernel."""
        stored: list[tuple[int, int]] = []
        """(kernel, bytes) of what may hit."""
        self._distances: list[int] = []
        """Bytes between two readings of a layer's weights, or keys and values; 0: they are cold."""
        for number, layer in enumerate(layers):
            kernels = lowered(layer, gpu, software)
            self._distances.append(buffers * sum(size for kernel in kernels for _, size in kernel.stored))
            for kernel in kernels:
                demand, missed = kernel.demand, 0
                if demand.dtype not in gpu.sm.peak_flop_per_s:
                    raise NotCoveredError(f"{gpu.name}: no peak for {demand.dtype}")
                for tensor, size in (*demand.reads, *demand.writes):
                    if tensor.kind != "activations":
                        stored.append((len(works), size))
                    elif not holds(size):
                        missed += size
                works.append(Work("", kernel.family, demand.dtype, demand.flop, demand.issued_bytes, missed,
                                  demand.grid))
                of.append(number)
        self._kernels = lone(works, gpu)
        self._of = np.array(of)
        self._past = np.array([float(work.hbm_bytes) for work in works])
        self._stored, sizes = (np.array(column, dtype=np.int64) for column in zip(*stored, strict=True))
        self._sizes = sizes.astype(np.float64)

    def times_us(self, gpu: Gpu, software: Kernels) -> NDArray[np.float64]:
        """Microseconds of each layer with these numbers, the graph's gap before each kernel included."""
        cache = Residency(gpu.l2)
        room = gpu.l2.capacity_bytes
        hits = np.array([cache.hit(d, room) if d and room else 0.0 for d in self._distances])
        held = np.floor(self._sizes * hits[self._of[self._stored]])
        missed: NDArray[np.float64] = self._past + np.bincount(self._stored, self._sizes - held, len(self._past))
        times = durations(gpu, software, self._kernels, missed) + gpu.launch.node_gap_ps
        return np.bincount(self._of, times, len(self._distances)) / 1e6
