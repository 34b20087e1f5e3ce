"""Linear layers of few rows: how a library cuts y[rows, n] = x[rows, k] W[n, k]^T into CTAs.

A CTA takes `tile` columns and goes through k in steps; where that leaves SMs idle for long, k is split over several
CTAs and a second kernel adds the partial sums. The library chooses the tile T and the split s by

    min over (T, s) of  ceil(ceil(n/T) * s / SMs) * k/s * (penalty of the widest T)  +  (s > 1) * split_cost

waves times serial k, blind to memory. Found by ablation over published kernel tables (aiconfigurator 095f58a5);
it reproduces the split of 83-88 % of the ambiguous shapes on an H200. Where a library says so, a split fills few waves
at most, few rows leave more of k whole, and one row has a kernel of its own (GEMV), which never splits.
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
    split_waves: int
    few_rows: int
    few_rows_whole_k: int
    vector: bool
    """Whether one row has a kernel of its own."""


def rule_of(gemm: GemmKernels, generation: str) -> Rule:
    """How the library cuts linear layers on GPUs of this generation."""
    return Rule(gemm.tiles, gemm.tile_rows, gemm.k_step, gemm.wide_penalty,
                of_generation(gemm.split_cost, generation), of_generation(gemm.split_least, generation),
                of_generation(gemm.split_waves, generation), of_generation(gemm.few_rows, generation),
                of_generation(gemm.few_rows_whole_k, generation),
                of_generation(gemm.vector_step_cycles, generation) > 0)


@lru_cache(maxsize=65536)
def tiling(rows: int, n: int, k: int, sms: int, rule: Rule) -> Tiling:
    """The library's choice for y[rows, n] on a GPU of so many SMs."""
    down = -(-rows // rule.tile_rows)
    vector = rule.vector and rows == 1
    whole = not rule.split_least or vector or (rows < rule.few_rows and k <= rule.few_rows_whole_k)
    best: tuple[float, int, int] | None = None
    for tile in rule.tiles:
        penalty = rule.wide_penalty if tile == rule.tiles[-1] and len(rule.tiles) > 1 else 1.0
        for splits in SPLITS:
            waves = -(-(-(-n // tile) * down * splits) // sms)
            if splits > 1 and (whole or k / splits < rule.split_least or waves > rule.split_waves > 0):
                break
            cost = waves * k / splits * penalty + (rule.split_cost if splits > 1 else 0)
            if best is None or cost < best[0]:
                best = (cost, tile, splits)
    assert best is not None
    _, tile, splits = best
    return Tiling(tile, splits, -(-n // tile) * down * splits, max(1, -(-k // (splits * rule.k_step))), vector)
