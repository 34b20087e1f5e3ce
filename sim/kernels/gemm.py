"""Linear layers of few rows: how a library cuts y[rows, n] = x[rows, k] W[n, k]^T into CTAs.

A CTA takes `tile` columns and goes through k in steps; where that leaves SMs idle for long, k is split over several
CTAs and a second kernel adds the partial sums. The library chooses the tile T and the split s by

    min over (T, s) of  ceil(ceil(n/T) * s / SMs) * k/s * (penalty of the widest T)  +  (s > 1) * split_cost

waves times serial k, blind to memory. Found by ablation over published kernel tables (aiconfigurator 095f58a5);
it reproduces the split of 83-88 % of the ambiguous shapes on an H200. Some libraries have kernels that never split for
small products (rows n k < 2^21 on Ada and RTX PRO) and for one row (GEMV). Where rows fill every SM with a CTA of the
large tile, as in a prompt, that is taken and k stays whole. Matrices with quantised inputs are CUTLASS's (vLLM's w8a8
kernels, NVFP4's of FlashInfer), taken as never split. A step is so many bytes of k, whatever their type.
Ignored: rules that depend on more than rows, columns and k, such as tables of single shapes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ..stack import GemmKernels, of_generation

SPLITS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32)


class Tiling(NamedTuple):
    """How a linear layer is cut."""

    tile: int
    """Columns of a CTA."""
    splits: int
    ctas: int
    steps: int
    """Serial steps of a CTA."""
    vector: bool = False
    """Whether it is the kernel for one row."""


class Rule(NamedTuple):
    """The library's numbers on one GPU."""

    tiles: tuple[int, ...]
    tile_rows: int
    k_step: int
    wide_penalty: float
    split_cost: int
    split_least: int
    small_product: int
    small_most_k: int
    vector_elements: int
    """The largest matrix that one row's own kernel takes; 0: there is none."""
    large_tile: tuple[int, int] = (0, 0)
    """Rows and columns of a CTA where there are enough of both; 0: there is none."""


def rule_of(gemm: GemmKernels, generation: str, scaled: bool = False) -> Rule:
    """How the library cuts linear layers on GPUs of this generation.

    `scaled`: those with quantised inputs, whose kernels come from elsewhere and never split.
    """
    def own(numbers: dict[str, int]) -> int:
        return of_generation(numbers, generation)

    if scaled:
        return Rule(gemm.tiles, gemm.tile_rows, gemm.k_step, gemm.wide_penalty, 0, 0, 0, 0, 0, gemm.large_tile)

    has_vector = of_generation(gemm.vector_step_cycles, generation) > 0
    return Rule(gemm.tiles, gemm.tile_rows, gemm.k_step, gemm.wide_penalty, own(gemm.split_cost), own(gemm.split_least),
                own(gemm.small_product), own(gemm.small_most_k), own(gemm.vector_elements) if has_vector else 0,
                gemm.large_tile)


@lru_cache(maxsize=65536)
def tiling(rows: int, n: int, k: int, sms: int, rule: Rule) -> Tiling:
    """The library's choice for y[rows, n] on a GPU of so many SMs."""
    many, wide = rule.large_tile
    if many and rows > rule.tile_rows and (ctas := -(-rows // many) * -(-n // wide)) >= sms:
        return Tiling(wide, 1, ctas, max(1, -(-k // rule.k_step)))
    down = -(-rows // rule.tile_rows)
    vector = rows == 1 and n * k <= rule.vector_elements
    small = rows * n * k < rule.small_product and k <= rule.small_most_k
    whole = not rule.split_least or vector or small
    best: tuple[float, int, int] | None = None
    for tile in rule.tiles:
        penalty = rule.wide_penalty if tile == rule.tiles[-1] and len(rule.tiles) > 1 else 1.0
        for splits in SPLITS:
            if splits > 1 and (whole or k / splits < rule.split_least):
                break
            waves = -(-(-(-n // tile) * down * splits) // sms)
            cost = waves * k / splits * penalty + (rule.split_cost if splits > 1 else 0)
            if best is None or cost < best[0]:
                best = (cost, tile, splits)
    assert best is not None
    _, tile, splits = best
    return Tiling(tile, splits, -(-n // tile) * down * splits, max(1, -(-k // (splits * rule.k_step))), vector)
