"""Attention over lanes where they lie: one program a (row, query head, part of the context), then a combination where
there is more than one part.

    part p of a row:  m_p = max s,  l_p = sum exp(s - m_p),  a_p = sum exp(s - m_p) v        s = scale q.k
    row:              sum_p exp(m_p - m) a_p / sum_p exp(m_p - m) l_p

The number of parts is fixed by the window, so a captured graph serves every position; parts past a row's context end at
once. Arithmetic is fp32. Ignored: query heads that share keys read them once each, through the L2.
Source: flash decoding (Dao and others, 2023).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .attention import Lanes

BLOCK = 64
"""Positions that a program takes at a time."""
PART = 512
"""Positions of a part, as long as there are no more than MOST_PARTS."""
MOST_PARTS = 16


@triton.jit
def _part(query, kv, key_lane, position, mixed, peak, total, result, scale, to_value, max_len, q_heads, kv_heads,
          HEAD: tl.constexpr, PADDED: tl.constexpr, PARTS: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    row, head, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    context = tl.load(position + row) + 1
    length = tl.cdiv(tl.cdiv(context, PARTS), BLOCK) * BLOCK
    start = part * length
    stop = tl.minimum(start + length, context)
    dim = tl.arange(0, PADDED)
    q = tl.load(query + (row * q_heads + head) * HEAD + dim, mask=dim < HEAD, other=0.0).to(tl.float32) * scale
    lane = tl.load(key_lane + row)
    own = head // (q_heads // kv_heads)
    keys = kv + (lane * max_len * kv_heads + own) * HEAD
    values = kv + ((lane + to_value) * max_len * kv_heads + own) * HEAD
    high = tl.full((), float("-inf"), tl.float32)
    weight = tl.zeros((), tl.float32)
    sums = tl.zeros((PADDED,), tl.float32)
    for at in range(start, stop, BLOCK):
        spot = at + tl.arange(0, BLOCK)
        inside = spot < stop
        place = spot[:, None] * (kv_heads * HEAD) + dim[None, :]
        there = inside[:, None] & (dim[None, :] < HEAD)
        k = tl.load(keys + place, mask=there, other=0.0).to(tl.float32)
        score = tl.where(inside, tl.sum(k * q[None, :], axis=1), float("-inf"))
        higher = tl.maximum(high, tl.max(score, axis=0))
        share = tl.exp(score - higher)
        shrink = tl.exp(high - higher)
        v = tl.load(values + place, mask=there, other=0.0).to(tl.float32)
        sums = sums * shrink + tl.sum(share[:, None] * v, axis=0)
        weight = weight * shrink + tl.sum(share, axis=0)
        high = higher
    cell = (row * q_heads + head) * PARTS + part
    if PARTS == 1:
        tl.store(result + cell * HEAD + dim, (sums / weight).to(result.dtype.element_ty), mask=dim < HEAD)
    else:
        tl.store(mixed + cell * HEAD + dim, sums, mask=dim < HEAD)
        tl.store(peak + cell, high)
        tl.store(total + cell, weight)


@triton.jit
def _combine(mixed, peak, total, result, HEAD: tl.constexpr, PADDED: tl.constexpr, PARTS: tl.constexpr):  # noqa: N803
    cell = tl.program_id(0)
    dim, part = tl.arange(0, PADDED), tl.arange(0, PARTS)
    high = tl.load(peak + cell * PARTS + part)
    share = tl.exp(high - tl.max(high, axis=0))
    weight = tl.sum(tl.load(total + cell * PARTS + part) * share, axis=0)
    place = (cell * PARTS + part[:, None]) * HEAD + dim[None, :]
    sums = tl.load(mixed + place, mask=dim[None, :] < HEAD, other=0.0)
    value = tl.sum(sums * share[:, None], axis=0) / weight
    tl.store(result + cell * HEAD + dim, value.to(result.dtype.element_ty), mask=dim < HEAD)


def parts(window: int) -> int:
    """Into how many parts a context below `window` is cut: a power of two."""
    return min(MOST_PARTS, triton.next_power_of_2(triton.cdiv(window, PART)))


def indirect(query: Tensor, kv: Tensor, lanes: Lanes) -> Tensor:
    """See attention.Backend."""
    rows, q_heads, head = query.shape
    kv_heads, max_len = kv.shape[4], kv.shape[3]
    count = parts(lanes.window)
    query = query.contiguous()
    result = torch.empty_like(query)
    mixed = peak = total = result
    if count > 1:
        mixed = torch.empty(rows, q_heads, count, head, device=query.device, dtype=torch.float32)
        peak = torch.empty(rows, q_heads, count, device=query.device, dtype=torch.float32)
        total = torch.empty_like(peak)
    padded = triton.next_power_of_2(head)
    _part[(rows, q_heads, count)](query, kv, lanes.key, lanes.position, mixed, peak, total, result, head**-0.5,
                                  lanes.to_value, max_len, q_heads, kv_heads, HEAD=head, PADDED=padded, PARTS=count,
                                  BLOCK=BLOCK)
    if count > 1:
        _combine[(rows * q_heads,)](mixed, peak, total, result, HEAD=head, PADDED=padded, PARTS=count)
    return result
