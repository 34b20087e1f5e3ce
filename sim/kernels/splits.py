"""How attention libraries cut decode attention into CTAs: which CTA takes which rows, heads and keys.

A CTA takes some query rows of one head of keys and walks through blocks of keys one after the other. Few sequences
leave SMs idle, so a context is split over several CTAs and a second kernel combines their parts. Every backend has a
rule of its own, read in its source:

    flash3       blocks a CTA = ceil(1.1 x heads x all blocks / SMs); a context has ceil(its blocks / that) splits.
                 Query heads that share keys, and rows of one sequence, are packed into one tile of 128.
                 vllm-project/flash-attention 35756f58, hopper/flash_prepare_scheduler.cu; tiles 02d073b0, tile_size.h
    flash2       the fewest splits whose waves over two CTAs a SM are at least 0.85 as full as the fullest, only for one
                 row a sequence and grouped heads: those are swapped into the place of rows. Everything else has one CTA
                 a query head and 64 rows, and no splits. Swapping copies what comes out, and what goes in where
                 neither sequences nor heads are one.
                 vllm-project/flash-attention 04325b67, csrc/flash_attn/flash_api.cpp
    trtllm_gen   as many splits as fit on the SMs at once, of at least two steps each, reduced inside the kernel. Rows
                 and heads share a tile of 8 to 128, for several rows by a model of cost.
                 flashinfer-ai/flashinfer 0232f787, include/flashinfer/trtllm/fmha/fmhaKernels.cuh
    triton       one row a sequence: 16 segments, while there are at most 128 CTAs without; else none. Rows and heads
                 share a tile of 16. vllm-project/vllm 00139433, vllm/v1/attention/ops/triton_unified_attention.py
    fill         no library's: contexts are split while SMs are idle, rows and heads share a CTA.

With rows of several contexts the longest decides where the source takes a maximum. Ignored: CTAs that find nothing to
do, causal masks among the rows of a sequence (they skip less than a block).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple


class Heads(NamedTuple):
    """The attention of a model, and how far back it looks."""

    query: int
    kv: int
    size: int
    bits: int = 16
    """Of an element of keys and values."""
    window: int = 0
    """Keys before a row that it sees; 0: all."""


class Context(NamedTuple):
    """Rows of one sequence in one layer instance."""

    keys: int
    """Those of the row that sees most."""
    rows: int = 1


class Cut(NamedTuple):
    """Kernels and CTAs of one attention."""

    ctas: int
    steps: int
    """Serial blocks of a CTA, were all alike."""
    block: int
    """Keys of a step."""
    splits: int
    """Most parts that a context has."""
    joined: int = 0
    """Parts that someone walks through at the end; 0: nothing is joined, or at once."""
    inside: bool = False
    """Whether they are joined inside the kernel rather than by a second one."""
    weight: float = 1.0
    """Time of a step over that of the smallest tile."""
    asked: tuple[int, ...] = ()
    """How often each context's keys and values are asked of the L2."""
    copies: int = 0
    """Copies that the wrapper makes of queries and results: 1 as they lie, 2 transposed."""


class _Ctas(NamedTuple):
    """CTAs that are alike."""

    many: int
    steps: int


Rule = Callable[[tuple[Context, ...], Heads, int, int], Cut]
"""(contexts, heads, SMs, most splits) -> cut."""


@lru_cache(maxsize=8192)
def cut(backend: str, contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """The backend's choice on a GPU of so many SMs. Contexts are at least one, with a key and a row each."""
    return RULES[backend](contexts, heads, sms, most)


def seen(context: Context, heads: Heads) -> int:
    """Keys that the context's rows look at."""
    if not heads.window:
        return context.keys
    return min(context.keys, heads.window + context.rows - 1)


# FlashAttention 3

_FLASH3_BLOCK = {16: ((64, 160), (96, 128), (128, 128), (192, 96), (256, 80)),
                 8: ((64, 160), (96, 128), (128, 160), (192, 160), (256, 128))}
"""Keys of a step by the bits of an element and the largest head size, for pages smaller than a step."""
_FLASH3_MARGIN = 1.1
_FLASH3_TILE = 128
"""Rows times heads of a group in a CTA."""


def flash3(contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """Equal shares of all blocks for every SM, with a margin."""
    block = _by_size(_FLASH3_BLOCK[8 if heads.bits <= 8 else 16], heads.size)
    group = heads.query // heads.kv
    tiles = [-(-c.rows * group // _FLASH3_TILE) for c in contexts]
    blocks = [-(-c.keys // block) for c in contexts]
    each = math.ceil(_FLASH3_MARGIN * heads.kv * sum(t * b for t, b in zip(tiles, blocks, strict=True)) / sms)
    splits = [max(1, min(-(-b // each), most)) for b in blocks]
    ctas = [_Ctas(heads.kv * t * s, -(-_blocks(c, heads, block) // s))
            for c, t, s in zip(contexts, tiles, splits, strict=True)]
    widest = max(splits)
    return Cut(*_alike(ctas, sms), block, widest, widest if widest > 1 else 0, asked=tuple(tiles))


# FlashAttention 2

_FLASH2_BLOCK = ((64, 256), (128, 128), (256, 64))
_FLASH2_TILE = 64
_FLASH2_ENOUGH = 0.85
_FLASH2_FULL = 0.8
"""Share of the places from which on nothing is split."""


def flash2(contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """Split where one row a sequence lets the heads of a group take the place of rows."""
    block = _by_size(_FLASH2_BLOCK, heads.size)
    group = heads.query // heads.kv
    if max(c.rows for c in contexts) > 1 or group == 1 or heads.window:
        tiles = [-(-c.rows // _FLASH2_TILE) for c in contexts]
        ctas = [_Ctas(heads.query * t, _blocks(c, heads, block)) for c, t in zip(contexts, tiles, strict=True)]
        return Cut(*_alike(ctas, sms), block, 1, 0, asked=tuple(t * group for t in tiles))
    tile = -(-group // _FLASH2_TILE)
    whole = len(contexts) * heads.kv * tile
    splits = _fullest(whole, 2 * sms, max(-(-c.keys // block) for c in contexts), most)
    ctas = [_Ctas(heads.kv * tile * splits, -(-_blocks(c, heads, block) // splits)) for c in contexts]
    copies = 2 if len(contexts) > 1 and heads.kv > 1 else 1
    return Cut(*_alike(ctas, sms), block, splits, splits if splits > 1 else 0,
               asked=(tile,) * len(contexts), copies=copies)


def _fullest(whole: int, places: int, blocks: int, most: int) -> int:
    """Fewest splits whose waves are nearly as full as the fullest."""
    if whole >= _FLASH2_FULL * places:
        return 1
    fills = {}
    for splits in range(1, min(most, places, blocks) + 1):
        if splits == 1 or -(-blocks // splits) != -(-blocks // (splits - 1)):
            waves = whole * splits / places
            fills[splits] = waves / math.ceil(waves)
    enough = _FLASH2_ENOUGH * max(fills.values())
    return next(splits for splits, fill in fills.items() if fill >= enough)


# trtllm-gen

_TRTLLM_STEP = 256
_TRTLLM_LEAST = 2
"""Fewest steps of a split."""
_TRTLLM_CLUSTER = 16
"""Splits up to which the CTAs of a context are one cluster and join their parts at once, in shared memory; only with
tiles up to 16. Others leave them in memory, where the last CTA joins them one by one."""
_TRTLLM_TILES = {8: (1.0, 1.0), 16: (1.2, 1.03), 32: (1.48, 1.08), 64: (1.68, 1.2), 128: (2.2, 1.32)}
"""Rows times heads of a group in a CTA: the library's own (cost of a step, cost of a join)."""
_TRTLLM_JOIN = 128
"""Keys that joining a part counts as in its choice of a tile."""


def trtllm_gen(contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """As many splits as fit on the SMs at once."""
    group, rows = heads.query // heads.kv, max(c.rows for c in contexts)
    longest = max(c.keys for c in contexts)
    if heads.window:
        longest = min(longest, heads.window + _TRTLLM_STEP - 1)

    def grid(tile: int) -> tuple[int, int]:
        """(CTAs of a sequence without splits, splits)."""
        ctas = -(-rows // max(1, tile // group)) * (heads.query // min(group, tile))
        room = max(1, sms // (ctas * len(contexts)))
        return ctas, min(-(-longest // (_TRTLLM_LEAST * _TRTLLM_STEP)), room, most)

    def cost(tile: int) -> float:
        ctas, splits = grid(tile)
        step, join = _TRTLLM_TILES[tile]
        steps = -(-longest // _TRTLLM_STEP)
        keys = -(-steps // splits) * _TRTLLM_STEP
        return -(-ctas * splits * len(contexts) // sms) * (step * keys + join * _TRTLLM_JOIN * splits)

    tile = next((t for t in _TRTLLM_TILES if t >= rows * group), max(_TRTLLM_TILES))
    ctas, splits = grid(tile)
    if rows > 1 and 2 * ctas * splits * len(contexts) <= sms:
        tile = min((t for t in _TRTLLM_TILES if group <= t <= tile), key=cost, default=tile)
        ctas, splits = grid(tile)
    parts = [_Ctas(ctas * splits, -(-_blocks(c, heads, _TRTLLM_STEP) // splits)) for c in contexts]
    at_once = splits == 1 or (splits <= _TRTLLM_CLUSTER and tile <= 16)
    return Cut(*_alike(parts, sms), _TRTLLM_STEP, splits, 0 if at_once else splits, inside=True,
               weight=_TRTLLM_TILES[tile][0], asked=(ctas // heads.kv,) * len(contexts))


# Triton

_TRITON_BLOCK = 32
_TRITON_TILE = 16
_TRITON_SEGMENTS = 16
_TRITON_FEW = 128
"""CTAs without segments up to which there are segments."""


def triton(contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """A fixed number of segments for one row a sequence."""
    group = heads.query // heads.kv
    tile = max(_TRITON_TILE, 1 << (group - 1).bit_length()) // group
    tiles = [-(-c.rows // tile) for c in contexts]
    few = max(c.rows for c in contexts) == 1 and len(contexts) <= _TRITON_FEW // heads.kv
    splits = min(_TRITON_SEGMENTS, most) if few else 1
    ctas = [_Ctas(heads.kv * t * splits, -(-_blocks(c, heads, _TRITON_BLOCK) // splits))
            for c, t in zip(contexts, tiles, strict=True)]
    return Cut(*_alike(ctas, sms), _TRITON_BLOCK, splits, splits if splits > 1 else 0, asked=tuple(tiles))


# No library's

_FILL_BLOCK = 128


def fill(contexts: tuple[Context, ...], heads: Heads, sms: int, most: int) -> Cut:
    """Split while SMs are idle."""
    blocks = [_blocks(c, heads, _FILL_BLOCK) for c in contexts]
    splits = max(1, min(max(blocks), most, sms // (len(contexts) * heads.kv)))
    ctas = [_Ctas(heads.kv * splits, -(-b // splits)) for b in blocks]
    return Cut(*_alike(ctas, sms), _FILL_BLOCK, splits, splits if splits > 1 else 0,
               asked=(1,) * len(contexts))


RULES: dict[str, Rule] = {"flash3": flash3, "flash2": flash2, "trtllm_gen": trtllm_gen, "triton": triton, "fill": fill}


def _by_size(table: tuple[tuple[int, int], ...], size: int) -> int:
    """Keys of a step for heads of this size."""
    return next((keys for largest, keys in table if size <= largest), table[-1][1])


def _blocks(context: Context, heads: Heads, block: int) -> int:
    """Steps through the keys that a context's rows look at; a window need not begin at a step's border."""
    keys = seen(context, heads)
    whole = -(-context.keys // block)
    return min(whole, -(-(keys + block - 1) // block)) if keys < context.keys else whole


def _alike(ctas: list[_Ctas], sms: int) -> tuple[int, int]:
    """(CTAs, serial steps of each) that end when these do, given to the SM that is free first, longest first."""
    count = sum(one.many for one in ctas)
    lengths = sorted({one.steps for one in ctas}, reverse=True)
    if len(lengths) == 1:
        return count, max(1, lengths[0])
    free = [0] * min(sms, count)
    for one in sorted(ctas, key=lambda c: -c.steps):
        for _ in range(one.many):
            heapq.heapreplace(free, free[0] + one.steps)
    return count, max(1, -(-max(free) // -(-count // sms)))
