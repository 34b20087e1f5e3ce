"""A linear layer as a kernel's demand: weights as they are stored, an input that may be quantised before.

    weights   n k (bits a weight, its share of the scales included), read once whatever the rows
    operand   the activations' type, or a narrower one to which a kernel before this one quantises the input
    steps     a step is as many bytes of the input as k_step elements of 16 bits

The rows of one expert are a product of their own; all experts of a layer are one kernel, whose k is never split.
"""

from __future__ import annotations

from typing import NamedTuple

from ..hardware import DTYPE_BITS, FORMATS
from ..model import Model
from ..stack import GemmKernels, of_generation
from .demand import Access, Grid, Tensor, Tiles
from .gemm import Tiling, rule_of, tiling


class Library(NamedTuple):
    """Whose kernels, on which GPU."""

    gemm: GemmKernels
    generation: str
    sms: int


class Matrix(NamedTuple):
    """What a linear layer adds to a kernel's demand."""

    flop: int
    read: Access
    grid: Grid
    splits: int
    family: str
    again_bytes: int
    shared: bool
    operand: str
    """Type that is multiplied."""
    quantised: Access | None
    """The input as a kernel before it writes it; None where it is multiplied as it is."""
    tiles: Tiles


def cut(model: Model, rows: int, n: int, k: int, library: Library, whole: bool = False) -> Tiling:
    """How the library cuts a matrix of this model; `whole`: k is never split."""
    operand, scaled = _operand(model)
    long = -(-k * DTYPE_BITS[operand] // 16) if scaled else k
    rule = rule_of(library.gemm, library.generation, scaled)
    return tiling(rows, n, long, library.sms, rule._replace(split_least=0) if whole else rule)


def linear(model: Model, where: str, weight: str, size: tuple[int, int, int, int], library: Library) -> Matrix:
    """One matrix of outputs, inputs, rows and experts a row (n, k, rows, experts)."""
    n, k, width, experts = size
    gemm, (operand, scaled) = library.gemm, _operand(model)
    sets, sent = model.copies(weight, width), width * experts
    rows, columns = -(-sent // max(1, round(sets))), round(sets * n)
    tiles = cut(model, rows, columns, k, library, whole=sent != width)
    # The weights of a step are those of as many bytes of the input as k_step elements of 16 bits.
    wide = 16 / DTYPE_BITS[operand] if scaled else 1.0
    inflight = int(gemm.stages * tiles.tile * gemm.k_step * wide * FORMATS[model.dtype.weights].bits / 8)
    kind = "head" if weight in ("head", "head_layer") else "weights"
    owner = "adapter" if weight == "adapter" else where
    again = -(-sent * k * DTYPE_BITS[operand] // 8) * (-(-n // tiles.tile) - 1)
    quantised = Access(Tensor(("activations",), "activations"), -(-width * k * DTYPE_BITS[operand] // 8))
    return Matrix(
        2 * sent * n * k, Access(Tensor((owner, weight), kind), round(sets * model.weight_bytes(n, k))),
        Grid(tiles.ctas, tiles.steps, inflight), tiles.splits, "gemv" if tiles.vector else "gemm",
        int(again * of_generation(gemm.input_share, library.generation)), rows > gemm.tile_rows, operand,
        quantised if scaled else None, Tiles(columns, tiles.tile, tiles.splits),
    )


def _operand(model: Model) -> tuple[str, bool]:
    """(type that matrices multiply, whether inputs are quantised to it)."""
    operand = FORMATS[model.dtype.weights].operand or model.dtype.activations
    return operand, operand != model.dtype.activations
