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


class Demand(NamedTuple):
    """A kernel's work, whatever the speed of the machine."""

    dtype: str
    """Operand type of the multiplications."""
    flop: int
    reads: tuple[Access, ...]
    writes: tuple[Access, ...]

    @property
    def issued_bytes(self) -> int:
        """Bytes asked of the L2."""
        return sum([a.bytes for a in self.reads]) + sum([a.bytes for a in self.writes])


class Kernel(NamedTuple):
    """One launch."""

    name: str
    family: str
    """gemm, attention, elementwise, kv_cache or sampling."""
    demand: Demand
