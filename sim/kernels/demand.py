"""What a kernel asks of the machine: tensors it reads and writes, and the work on them."""

from __future__ import annotations

from typing import NamedTuple


class Tensor(NamedTuple):
    """Something that lies in memory. The same name in another pass is the same bytes."""

    name: tuple[str | int, ...]
    kind: str
    """weights, head, kv or activations (timeline.TRAFFIC)."""


class Access(NamedTuple):
    """A read or a write of a whole tensor."""

    tensor: Tensor
    bytes: int


class Grid(NamedTuple):
    """How a kernel is cut into CTAs, all alike."""

    ctas: int
    steps: float
    """Serial steps of a CTA's loop, in those whose time the stack knows."""
    inflight_bytes: int
    """Bytes a CTA keeps in flight to memory."""
    per_sm: int = 1
    """CTAs that fit on an SM at a time."""
    joined: int = 0
    """Parts that the last CTA to end joins, one after the other."""


class Tiles(NamedTuple):
    """How CTAs divide weights that lie row by row."""

    rows: int
    tile: int
    """Rows of a CTA."""
    splits: int
    """Parts of each row, of a CTA each."""


class Demand(NamedTuple):
    """A kernel's work, whatever the speed of the machine."""

    dtype: str
    """Operand type of the multiplications."""
    flop: int
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]
    grid: Grid
    again_bytes: int = 0
    """Of the reads, what several CTAs ask of the L2 beyond the first time."""
    shared: bool = False
    """Whether CTAs on all SMs read the same bytes, rather than each its own part."""
    tiles: Tiles | None = None
    """Of the first read; None: every CTA reads consecutive bytes."""

    @property
    def issued_bytes(self) -> int:
        """Bytes asked of the L2."""
        return sum([a.bytes for a in self.reads]) + sum([a.bytes for a in self.writes]) + self.again_bytes


class Kernel(NamedTuple):
    """One launch."""

    name: str
    family: str
    """gemm, gemv (a linear layer's kernel for one row), join (of a split matrix), quantise (of its input), attention,
    combine (of split contexts), transpose (of an attention's wrapper), elementwise, kv_cache or sampling: whose numbers
    of the library apply."""
    demand: Demand

    @property
    def stored(self) -> tuple[Access, ...]:
        """Weights, keys and values that it reads."""
        return tuple(access for access in self.demand.reads if access.tensor.kind != "activations")
