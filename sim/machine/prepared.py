"""A pass's kernels ready for the cache: what each reads there, and all of its traffic that no cache can change.

Most kernels recur in every shape of a pass, most shapes on many states of the cache. So what a kernel asks for is
worked out once, and a pass on one more state costs a look-up per tensor. Keys and values of self-attention are counted
per row and key of its context, because a shape's contexts are rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..kernels.attention import flop_per_key
from ..kernels.demand import Kernel, Tensor
from ..kernels.lower import PassShape
from ..model import Model
from .work import Timed, Work

KINDS = ("weights", "head", "kv", "activations")


class Read(NamedTuple):
    """A tensor that a kernel reads through the cache."""

    name: int
    """Its number in the cache."""
    size: int
    policy: str
    kind: str
    shared: bool
    """Whether all SMs read it."""
    instance: int | None
    """Of self-attention's keys and values: the layer instance."""


class Piece:
    """A kernel as the cache and the device see it."""

    __slots__ = ("certain", "kernel", "missed", "reads", "times", "work")

    def __init__(self, kernel: Kernel, reads: tuple[Read, ...], holds: Callable[[int], bool]) -> None:
        demand = kernel.demand
        self.kernel = kernel
        self.reads = reads
        self.work = Work(kernel.name, kernel.family, demand.dtype, demand.flop, demand.issued_bytes, 0, demand.grid)
        """Without what misses the cache."""
        self.certain: list[tuple[str, int, int]] = []
        """(kind, bytes asked for, bytes that miss) of what the state of the cache does not change; bytes that may hit
        count as asked for and not as missed."""
        for tensor, size in demand.reads:
            if tensor.kind == "activations":
                self.certain.append((tensor.kind, size, 0 if holds(size) else size))
            elif tensor.name[0] != "kv":
                self.certain.append((tensor.kind, size, 0))
        for tensor, size in demand.writes:
            self.certain.append((tensor.kind, size, size if tensor.kind == "kv" or not holds(size) else 0))
        self.missed = sum(missed for _, _, missed in self.certain)
        self.times: dict[int, tuple[int, Timed]] = {}
        """(number, time) by bytes that miss; equal numbers are equal kernels."""


class Prepared(NamedTuple):
    """A pass's kernels with the sums over them."""

    pieces: tuple[Piece, ...]
    flop: int
    """Without self-attention."""
    requested: dict[str, int]
    """Bytes before the cache by kind, without self-attention's keys and values."""
    missed: dict[str, int]
    """Bytes that miss it whatever it holds."""
    instances: tuple[tuple[int, ...], ...]
    """Layer instances whose keys and values each row reads."""
    codas: tuple[int, ...]
    """How many of them, the last ones, are the coda's."""
    row_flop_per_key: tuple[int, ...]
    row_bytes_per_key: tuple[int, ...]


def prepared(pieces: tuple[Piece, ...], shape: PassShape, model: Model) -> Prepared:
    """The sums over a pass's kernels."""
    requested = dict.fromkeys(KINDS, 0)
    missed = dict(requested)
    read: set[int] = set()
    flop = 0
    for piece in pieces:
        flop += piece.work.flop
        for kind, size, gone in piece.certain:
            requested[kind] += size
            missed[kind] += gone
        read.update(r.instance for r in piece.reads if r.instance is not None)
    instances = tuple(
        tuple(i for i in _instances(model, row.depth, row.read, shape.repetitions) if i in read) for row in shape.rows
    )
    per_key = flop_per_key(model)
    row_flop = tuple(len(of) * per_key for of in instances)
    flop -= sum(each * row.context for each, row in zip(row_flop, shape.rows, strict=True))
    behind = model.prelude + model.group_layers * model.repetitions
    codas = tuple(sum(i >= behind for i in of) for of in instances)
    return Prepared(pieces, flop, requested, missed, instances, codas, row_flop,
                    tuple(len(of) * model.kv_bytes for of in instances))


def _instances(model: Model, depth: int, read: bool, repetitions: int) -> list[int]:
    """Layer instances that a row passes."""
    first = model.prelude + depth * model.group_layers
    instances = list(range(first, first + repetitions * model.group_layers))
    if depth == 0:
        instances = [*range(model.prelude), *instances]
    if read:
        behind = model.prelude + model.group_layers * model.repetitions
        instances += range(behind, behind + model.coda)
    return instances


def role(tensor: Tensor) -> str:
    """What an L2 policy calls a tensor."""
    if tensor.kind != "weights":
        return tensor.kind
    where = str(tensor.name[0])
    return "group" if where.startswith("group") or where == "adapter" else where
