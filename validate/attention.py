"""Attention of rows that sit in different layer instances, each over its own part of the cache.

    row r:  softmax(q_r . K[lane_r, 0 .. position_r]) V[lane_r, 0 .. position_r]

A lane is the keys, or the values, of one sequence in one layer instance: kv.view(lanes, max_len, kv_heads, head_dim).
Rows of a pass stand in different lanes and at different positions, which the attention kernels that torch carries do
not take. `gather` copies each row's lane into a batch and calls torch's attention with a mask; it runs anywhere and
reads and writes every key twice more than it must. `indirect` (attention_triton.py) reads the lanes where they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .refusal import RefusedError


class Lanes(NamedTuple):
    """Where each row's keys and values lie."""

    key: Tensor
    """[rows] lane of the keys."""
    to_value: int
    """Lanes from a row's keys to its values."""
    position: Tensor
    """[rows] the last position a row attends to."""
    window: int
    """More than every position: a static bound."""


Backend = Callable[[Tensor, Tensor, Lanes], Tensor]
"""(query [rows, q_heads, head_dim], kv, lanes) -> mixed values, shaped like the query."""


def gather(query: Tensor, kv: Tensor, lanes: Lanes) -> Tensor:
    """Copy the lanes' first `window` positions into a batch, then torch's own attention under a mask."""
    flat = kv.view(-1, *kv.shape[3:])[:, : lanes.window]
    keys = flat.index_select(0, lanes.key).transpose(1, 2)
    values = flat.index_select(0, lanes.key + lanes.to_value).transpose(1, 2)
    spot = torch.arange(lanes.window, device=query.device)
    mask = (spot <= lanes.position.unsqueeze(-1))[:, None, None]
    mixed = functional.scaled_dot_product_attention(query.unsqueeze(2), keys, values, attn_mask=mask,
                                                    enable_gqa=query.shape[1] != kv.shape[4])
    return mixed.squeeze(2)


def backend(name: str, device: str) -> Backend:
    """The backend of this name; `auto` is `indirect` on a GPU that has Triton, `gather` elsewhere."""
    if name == "gather" or (name == "auto" and not device.startswith("cuda")):
        return gather
    try:
        from .attention_triton import indirect
    except ImportError:
        if name == "auto":
            return gather
        raise
    return indirect


def plan(name: str, launch: str, attend: Backend) -> str:
    """The execution plan of this name; `auto` is `graph_fused` in graphs with `indirect` attention, else `eager`."""
    if name not in ("auto", "eager", "graph_fused"):
        raise RefusedError(f"plan {name!r}: this machine plays eager and graph_fused")
    if name != "auto":
        return name
    return "graph_fused" if launch == "graph" and attend is not gather else "eager"
