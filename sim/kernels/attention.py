"""Decode attention: every row attends to its own context; what rows have in common is read once.

    bytes = keys read by any row of (layer instance, place) * 2 * kv_heads * head_dim * size
    flop = sum over rows of 4 * context * q_heads * head_dim

Rows of one sequence at different depths read different layer instances, so no read is shared between them; at one depth
they share their prefix.
Cross-attention is the opposite: its keys and values are the same at every depth, and one read serves all rows of a
sequence. A CTA takes one head of keys and values; while SMs would stand idle a context is split over several CTAs, and
a second kernel combines them (FlashDecoding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model import Model
from ..stack import AttentionKernels
from .demand import Access, Grid, Tensor

if TYPE_CHECKING:
    from .lower import RowShape


class Part(NamedTuple):
    """What attention adds to a kernel's demand."""

    flop: int
    reads: tuple[Access, ...]
    grid: Grid
    splits: int = 1
    """Parts of each context that are attended to apart and combined by a second kernel."""


def flop_per_key(model: Model) -> int:
    """Multiplications and additions of one row against one key and its value."""
    return 4 * model.q_heads * model.head_dim


def attention(model: Model, of: tuple[tuple[int, RowShape], ...], kernels: AttentionKernels, sms: int) -> Part:
    """Self-attention of rows against the keys and values of (layer instance, place); what several rows of one read,
    their common prefix, is read once."""
    flop = sum(row.context for _, row in of) * flop_per_key(model)
    keys: dict[tuple[int, int], int] = {}
    for instance, row in of:
        key = (instance, row.place)
        keys[key] = keys.get(key, 0) + (row.context if row.own is None else row.own)
    together: dict[int, int] = {}
    for (instance, _), context in sorted(keys.items()):
        together[instance] = together.get(instance, 0) + context * model.kv_bytes
    reads = tuple(Access(Tensor(("kv", instance), "kv"), size) for instance, size in together.items())
    grid, splits = _split(model, max(1, len(keys)), max(keys.values(), default=1), kernels, sms)
    return Part(flop, reads, grid, splits)


def cross_attention(model: Model, layer: str, rows: tuple[RowShape, ...], source_tokens: int,
                    kernels: AttentionKernels, sms: int) -> Part:
    """Attention to the encoder's output: one set of keys and values per physical layer and sequence."""
    flop = len(rows) * source_tokens * flop_per_key(model)
    places = dict.fromkeys(row.place for row in rows)
    reads = tuple(
        Access(Tensor(("cross", layer, place), "kv"), source_tokens * model.kv_bytes) for place in places
    )
    grid, splits = _split(model, max(1, len(places)), max(1, source_tokens), kernels, sms)
    return Part(flop, reads, grid, splits)


def _split(model: Model, parts: int, context: int, kernels: AttentionKernels, sms: int) -> tuple[Grid, int]:
    """CTAs of so many (instance, place) pairs: contexts are split while SMs would stand idle."""
    blocks = -(-context // kernels.block)
    whole = parts * model.kv_heads
    splits = max(1, min(blocks, kernels.most_splits, sms // whole))
    inflight = kernels.stages * kernels.block * model.kv_bytes // model.kv_heads
    return Grid(whole * splits, -(-blocks // splits), inflight), splits
