"""The pass with its small kernels fused, as the plan `graph_fused` counts them: nine kernels a layer.

    add+norm, linear qkv, rope+kv_write, attention, linear out, add+norm, linear gate and up, activation, linear down

The matrices are the library's; what stands between them is four Triton kernels here. The stream of a row is kept in x;
what a matrix adds to it waits in `delta` until the next norm adds it. Arithmetic between two stores is fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from speedsim.workloads.decoder import rotary
from torch import Tensor
from torch.nn import functional

from .attention import Lanes
from .attention_triton import indirect

if TYPE_CHECKING:
    from .stage import Rows, Stage

EPSILON = 1e-6
"""Of the reference decoder's norms."""


@triton.jit
def _enter(token, depth, seat, embed, hidden, x, D: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """x = embed[token] at depth 0, hidden[seat] elsewhere."""
    row, dim = tl.program_id(0), tl.arange(0, BLOCK)
    enters = tl.load(depth + row) == 0
    fresh = tl.load(embed + tl.load(token + row) * D + dim, mask=dim < tl.where(enters, D, 0), other=0.0)
    kept = tl.load(hidden + tl.load(seat + row) * D + dim, mask=dim < tl.where(enters, 0, D), other=0.0)
    tl.store(x + row * D + dim, fresh + kept, mask=dim < D)


@triton.jit
def _add_norm(x, delta, weight, y, epsilon, ADDS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """x += delta;  y = x / rms(x) * weight."""
    row, dim = tl.program_id(0), tl.arange(0, BLOCK)
    value = tl.load(x + row * D + dim, mask=dim < D, other=0.0).to(tl.float32)
    if ADDS:
        value += tl.load(delta + row * D + dim, mask=dim < D, other=0.0).to(tl.float32)
        value = value.to(x.dtype.element_ty)
        tl.store(x + row * D + dim, value, mask=dim < D)
        value = value.to(tl.float32)
    scale = 1 / tl.sqrt(tl.sum(value * value, axis=0) / D + epsilon)
    gain = tl.load(weight + dim, mask=dim < D, other=0.0).to(tl.float32)
    tl.store(y + row * D + dim, (value * scale * gain).to(y.dtype.element_ty), mask=dim < D)


@triton.jit
def _rope_write(heads, position, lane, cosine, sine, query, kv, to_value, max_len, q_heads, kv_heads,
                HALF: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """Turn queries and keys by their position; queries go on, keys and values into their lanes."""
    row, head = tl.program_id(0), tl.program_id(1)
    dim = tl.arange(0, BLOCK)
    inside = dim < HALF
    spot = tl.load(position + row)
    source = heads + (row * (q_heads + 2 * kv_heads) + head) * 2 * HALF + dim
    first = tl.load(source, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=inside, other=0.0).to(tl.float32)
    turns = head < q_heads + kv_heads
    c = tl.where(turns, tl.load(cosine + spot * HALF + dim, mask=inside, other=1.0), 1.0)
    s = tl.where(turns, tl.load(sine + spot * HALF + dim, mask=inside, other=0.0), 0.0)
    low, high = first * c - second * s, second * c + first * s
    if head < q_heads:
        to = query + (row * q_heads + head) * 2 * HALF + dim
        tl.store(to, low.to(query.dtype.element_ty), mask=inside)
        tl.store(to + HALF, high.to(query.dtype.element_ty), mask=inside)
    else:
        own = tl.load(lane + row)
        index = head - q_heads
        if index >= kv_heads:
            own += to_value
            index -= kv_heads
        into = kv + ((own * max_len + spot) * kv_heads + index) * 2 * HALF + dim
        tl.store(into, low.to(kv.dtype.element_ty), mask=inside)
        tl.store(into + HALF, high.to(kv.dtype.element_ty), mask=inside)


@triton.jit
def _activate(gate_up, y, F: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """y = silu(gate) up."""
    row = tl.program_id(0)
    dim = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up + row * 2 * F + dim, mask=dim < F, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * F + F + dim, mask=dim < F, other=0.0).to(tl.float32)
    tl.store(y + row * F + dim, (gate / (1 + tl.exp(-gate)) * up).to(y.dtype.element_ty), mask=dim < F)


@triton.jit
def _leave(x, delta, seat, hidden, D: tl.constexpr, BLOCK: tl.constexpr):  # noqa: N803
    """x += delta;  hidden[seat] = x."""
    row, dim = tl.program_id(0), tl.arange(0, BLOCK)
    value = tl.load(x + row * D + dim, mask=dim < D, other=0.0).to(tl.float32)
    value += tl.load(delta + row * D + dim, mask=dim < D, other=0.0).to(tl.float32)
    tl.store(x + row * D + dim, value.to(x.dtype.element_ty), mask=dim < D)
    tl.store(hidden + tl.load(seat + row) * D + dim, value.to(hidden.dtype.element_ty), mask=dim < D)


def turns(stage: Stage) -> tuple[Tensor, Tensor]:
    """Cosines and sines [max_len, head_dim / 2] of every position."""
    cos, sin = rotary(torch.arange(stage.max_len, device=stage.device), stage.decoder.shape.head_dim)
    return cos.squeeze(1).contiguous(), sin.squeeze(1).contiguous()


def sweep(stage: Stage, rows: Rows, tokens: Tensor, repetitions: int, window: int,
          turned: tuple[Tensor, Tensor]) -> Tensor:
    """See Stage.sweep: the same work in fewer kernels."""
    shape, count = stage.decoder.shape, len(tokens)
    d, wide = shape.d_model, stage.places + 1
    block = triton.next_power_of_2(d)
    x = torch.empty(count, d, device=stage.device, dtype=stage.hidden.dtype)
    y = torch.empty_like(x)
    _enter[(count,)](tokens, rows.depth, rows.seat, stage.decoder.embed.weight, stage.hidden, x, D=d, BLOCK=block)
    lanes = stage.lanes(rows)
    delta = x
    adds = False
    for instance in range(repetitions * shape.group_layers):
        layer = stage.decoder.group[instance % shape.group_layers]
        _add_norm[(count,)](x, delta, layer.attention_norm.weight, y, EPSILON, ADDS=adds, D=d, BLOCK=block)
        query = _rotated(stage, functional.linear(y, layer.qkv.weight), rows.position, lanes[instance], turned)
        mixed = indirect(query, stage.kv, Lanes(lanes[instance], wide, rows.position, window))
        delta, adds = functional.linear(mixed.flatten(-2), layer.out.weight), True
        _add_norm[(count,)](x, delta, layer.ffn_norm.weight, y, EPSILON, ADDS=True, D=d, BLOCK=block)
        delta = functional.linear(_activated(functional.linear(y, layer.gate_up.weight)), layer.down.weight)
    _leave[(count,)](x, delta, rows.seat, stage.hidden, D=d, BLOCK=block)
    return x


def _rotated(stage: Stage, heads: Tensor, position: Tensor, lane: Tensor, turned: tuple[Tensor, Tensor]) -> Tensor:
    """The turned queries [rows, q_heads, head_dim]; keys and values are in the cache behind this."""
    shape = stage.decoder.shape
    half = shape.head_dim // 2
    query = torch.empty(len(heads), shape.q_heads, shape.head_dim, device=heads.device, dtype=heads.dtype)
    grid = (len(heads), shape.q_heads + 2 * shape.kv_heads)
    _rope_write[grid](heads, position, lane, *turned, query, stage.kv, stage.places + 1, stage.max_len,
                      shape.q_heads, shape.kv_heads, HALF=half, BLOCK=triton.next_power_of_2(half))
    return query


def _activated(gate_up: Tensor) -> Tensor:
    """silu(gate) up, [rows, ffn]."""
    rows, ffn = len(gate_up), gate_up.shape[1] // 2
    y = torch.empty(rows, ffn, device=gate_up.device, dtype=gate_up.dtype)
    _activate[(rows, triton.cdiv(ffn, 1024))](gate_up, y, F=ffn, BLOCK=1024)
    return y
