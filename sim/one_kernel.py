"""One kernel by itself: a linear layer or decode attention, repeated in a CUDA graph as kernel benchmarks do.

    time = (gap of the graph + the kernel) for each kernel that it takes

A layer goes the simulator's own way: a model that is nothing but this layer is lowered, its bytes pass the cache, the
tier's device takes each kernel alone, a board at its power limit stretches it. What the library splits is two kernels,
and pays the gap twice. Before it, the cache saw `buffers` tensors of its size in turn, its own first:

    0  it is cold, as in a decode step whose other layers are larger than the cache
    1  one buffer is read again and again, as in published tables of attention
    6  six are read in rotation, as in published tables of linear layers (a reuse distance of six weights)

Ignored: what the buffers' activations leave in the cache, kernels that quantise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .hardware import DTYPE_BITS, FORMATS, Gpu
from .kernels.attention import Backend, cut_of
from .kernels.demand import Kernel
from .kernels.lower import Lowering, PassShape, RowShape
from .kernels.matrix import Library, cut
from .kernels.splits import Context
from .machine.build import device_of
from .machine.l2 import Residency
from .machine.power import sustained
from .machine.work import Device, Timed, Work, alone
from .model import Dtypes, Model
from .plan import Plan
from .stack import Kernels, Stack
from .units import InputError, NotCoveredError

COLD, WARM, ROTATED = 0, 1, 6
"""Buffers before: none, one (attention's benchmark), six (linear layers')."""
MOST_KEPT = 65536

_LINEAR = Plan(name="linear", title="one matrix", embedding=(), attention=(), ffn=("linear:up",), exit=())
_ATTENTION = Plan(name="attention", title="one attention", embedding=(), attention=("attention",), ffn=(), exit=())


class Linear(NamedTuple):
    """y[rows, n] = x[rows, k] W[n, k]^T."""

    rows: int
    n: int
    k: int
    dtype: str = "bf16"

    @property
    def bytes(self) -> int:
        """Its weights."""
        return self.model().weight_bytes(self.n, self.k)

    @property
    def operand(self) -> str:
        """What is multiplied: the type itself where it is a plain one, 16 bits or what they are quantised to else."""
        return self.dtype if self.dtype in DTYPE_BITS else FORMATS[self.dtype].operand or "bf16"

    def model(self) -> Model:
        """A decoder that is this layer alone; beside weights with scales, activations are bf16."""
        plain = self.dtype if self.dtype in DTYPE_BITS else "bf16"
        return _only(Dtypes(weights=self.dtype, kv=plain, activations=plain), d_model=self.k, ffn=self.n)

    def shape(self) -> PassShape:
        """The pass that runs it once."""
        return PassShape((), self.rows, 0, 0)


class Attention(NamedTuple):
    """Decode attention: `rows` queries of each of `batch` sequences, the last of them against `context` keys."""

    batch: int
    context: int
    heads: int
    kv_heads: int
    head_dim: int
    rows: int = 1
    dtype: str = "bf16"
    window: int = 0
    """Keys that a query sees, the latest; 0: all."""

    @property
    def seen(self) -> int:
        """Keys that some query of a sequence sees."""
        return min(self.context, self.window + self.rows - 1) if self.window else self.context

    @property
    def bytes(self) -> int:
        """Its keys and values."""
        return self.batch * self.seen * self.model().kv_bytes

    def model(self) -> Model:
        """A decoder that is this attention alone."""
        dtype = Dtypes(weights=self.dtype, kv=self.dtype, activations=self.dtype)
        return _only(dtype, q_heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim,
                     window=self.window or None)

    def shape(self) -> PassShape:
        """The pass that runs it once."""
        first = max(1, self.seen - self.rows + 1)
        rows = tuple(RowShape(place, 0, first if self.window else first + i, False, 1 if i else None)
                     for place in range(self.batch) for i in range(self.rows))
        return PassShape(rows, len(rows), 0, 0)


def _only(dtype: Dtypes, *, d_model: int = 1, ffn: int = 1, q_heads: int = 1, kv_heads: int = 1,
          head_dim: int = 1, window: int | None = None) -> Model:
    """A decoder of one layer with these sizes."""
    return Model(name="one", title="one kernel", d_model=d_model, q_heads=q_heads, kv_heads=kv_heads,
                 head_dim=head_dim, ffn=ffn, gated=False, vocab=1, group_layers=1, repetitions=1, window=window,
                 dtype=dtype)


class Predicted(NamedTuple):
    """What a layer takes."""

    time_ps: int
    parts_ps: dict[str, int]
    """The time by what it waits for; they add up exactly. `launch` is the gaps."""
    kernels: tuple[Timed, ...]
    hit: float
    """Fraction of its weights, or keys and values, that the cache held."""
    near_knee: bool
    """Whether that fraction is hard to predict (L2.knee)."""
    ctas: int
    waves: int
    splits: int
    """Parts of k, or of each context."""
    tile: int | None
    """Output columns of a CTA; None for attention."""


def lowered(what: Linear | Attention, gpu: Gpu, software: Kernels) -> tuple[Kernel, ...]:
    """The kernels that it takes."""
    plan = _LINEAR if isinstance(what, Linear) else _ATTENTION
    lowering = Lowering(what.model(), plan, software, gpu.generation, gpu.sm.count)
    return lowering.kernels(what.shape())


@dataclass(slots=True)
class Bench:
    """Kernels of one stack on one GPU, each alone, as one tier sees them."""

    gpu: Gpu
    stack: Stack
    tier: str = "fluid"
    _device: Device = field(init=False)
    _cache: Residency = field(init=False)
    _watched: list[dict[str, Any]] | None = None
    _known: dict[tuple[Linear | Attention, int], Predicted] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._device = device_of(self.gpu, self.stack, self.tier)
        self._cache = Residency(self.gpu.l2)

    def watch(self, interval_fs: int) -> list[dict[str, Any]]:
        """Have the cycle tier keep its counters at such intervals; what each kernel gives is added to the list."""
        if self.tier != "cycle":
            raise InputError(f"--probe: only the tier cycle has counters, not {self.tier}")
        self._device.sample_every(interval_fs)  # type: ignore[attr-defined]
        self._watched = []
        return self._watched

    def predict(self, what: Linear | Attention, buffers: int) -> Predicted:
        """The layer's time. Raises NotCoveredError where the GPU has no peak for its type."""
        known = self._known.get((what, buffers))
        if known is None:
            wanted = what.operand if isinstance(what, Linear) else what.dtype
            if wanted not in self.gpu.sm.peak_flop_per_s:
                has = ", ".join(sorted(self.gpu.sm.peak_flop_per_s))
                raise NotCoveredError(f"{self.gpu.name}: no peak for {wanted} (the file has {has})")
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            known = self._known[what, buffers] = self._predict(what, buffers)
        return known

    def _predict(self, what: Linear | Attention, buffers: int) -> Predicted:
        gpu, software = self.gpu, self.stack.kernels
        kernels = lowered(what, gpu, software)
        main = next(kernel for kernel in kernels if kernel.stored)
        hit, knee = self._fetched(main, buffers)
        if self.tier == "cycle":
            from .machine.cycle_kernels import timed_alone

            timed, hit = timed_alone(self._device, kernels, buffers, gpu.l2.capacity_bytes, self._watched)
        else:
            timed = tuple(alone(self._device, self._work(kernel, hit)) for kernel in kernels)
        timed = tuple(sustained(one, gpu.energy) for one in timed)
        parts = {"launch": gpu.launch.node_gap_ps * len(timed)}
        for one in timed:
            for why, time in one.parts:
                parts[why] = parts.get(why, 0) + time
        grid = main.demand.grid
        tile, splits = self._cut(what)
        return Predicted(sum(parts.values()), parts, timed, hit, knee, grid.ctas,
                         -(-grid.ctas // (gpu.sm.count * grid.per_sm)), splits, tile)

    def _fetched(self, kernel: Kernel, buffers: int) -> tuple[float, bool]:
        """(fraction of what the kernel reads again that the cache holds, whether that is near the knee)."""
        stored = kernel.stored
        cache = self._cache
        cache.restore(((), (), ()))
        for turn in range(buffers):
            for tensor, size in stored:
                cache.read((turn, *tensor.name), size)
        held = 0.0
        knee = False
        for tensor, size in stored:
            held += size * cache.read((0, *tensor.name), size, shared=kernel.demand.shared)
            knee |= cache.near_knee
        return held / sum(size for _, size in stored), knee

    def _work(self, kernel: Kernel, hit: float) -> Work:
        """The kernel behind the cache, of which activations ask nothing beyond it while they fit."""
        demand, missed = kernel.demand, 0
        for tensor, size in (*demand.reads, *demand.writes):
            if tensor.kind != "activations":
                missed += size - int(size * hit)
            elif not self._cache.holds(size):
                missed += size
        return Work(kernel.name, kernel.family, demand.dtype, demand.flop, demand.issued_bytes, missed, demand.grid)

    def _cut(self, what: Linear | Attention) -> tuple[int | None, int]:
        """(output columns of a CTA, parts of k or of each context)."""
        if isinstance(what, Attention):
            backend = Backend(self.stack.kernels.attention, self.gpu.generation, self.gpu.sm.count)
            return None, cut_of(what.model(), (Context(what.seen, what.rows),) * what.batch, backend).splits
        library = Library(self.stack.kernels.gemm, self.gpu.generation, self.gpu.sm.count)
        told = cut(what.model(), what.rows, what.n, what.k, library)
        return told.tile, told.splits
