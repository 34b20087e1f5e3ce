"""The parts of the reference decoder: one layer, its positions, what it remembers of a source text.

    x += attend(norm(x));   with cross-attention  x += cross(norm(x), memory);   x += ffn(norm(x))

Layers are pre-norm with RMSNorm (no mean, no bias). Positions are rotary (RoFormer, arXiv:2104.09864) or a bias per
head and distance that every layer of a stack shares (T5, arXiv:1910.10683). The feed-forward part is gated (SiLU) or
plain (ReLU). Scores are scaled by 1 / sqrt(head_dim) in both; T5 folds that factor into its initialisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer instance, query, key, value), each [..., heads, head_dim] -> mixed values, shaped like the query."""

BUCKETS = 32
"""Distances that the relative bias tells apart: half of them exactly, the rest by their logarithm."""
FARTHEST = 128
"""Distances beyond share the last bucket."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the decoder is built from; the field names are those of a model file, but for the last two."""

    d_model: int
    q_heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    group_layers: int
    repetitions: int
    gated: bool = True
    prelude: int = 0
    coda: int = 0
    adapter: bool = False
    cross_attention: bool = False
    tied: bool = True
    encoder: int = 0
    """Layers that read the source text, each applied once; 1 or more exactly where there is cross-attention."""
    positions: Literal["rotary", "relative"] = "rotary"

    def __post_init__(self) -> None:
        if self.q_heads % self.kv_heads:
            raise ValueError(f"q_heads={self.q_heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.cross_attention != (self.encoder > 0):
            raise ValueError(f"encoder={self.encoder} with cross_attention={self.cross_attention}")
        if self.positions not in ("rotary", "relative"):
            raise ValueError(f"positions={self.positions!r} is neither rotary nor relative")

    @property
    def instances(self) -> int:
        """Layer instances with keys and values of their own: the group's first, then prelude and coda."""
        return self.group_layers * self.repetitions + self.prelude + self.coda


class Memory(NamedTuple):
    """What one layer's cross-attention reads of the source: the same for every repetition."""

    key: Tensor
    """[batch, source, kv_heads, head_dim]."""
    value: Tensor
    there: Tensor
    """[batch, 1, 1, source]: false where the source is padding."""


def rotary(position: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, [..., 1, head_dim / 2]."""
    exponent = torch.arange(0, head_dim, 2, device=position.device, dtype=torch.float32) / head_dim
    angle = position.float().unsqueeze(-1) * base**-exponent
    return angle.cos().unsqueeze(-2), angle.sin().unsqueeze(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of the last axis against each other by the position's angles."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    """Mixed values [batch, time, q_heads, head_dim]; `mask` says who may be seen, or what is added to the scores."""
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask, is_causal=causal,
        enable_gqa=query.shape[-2] != key.shape[-2],
    )
    return mixed.transpose(1, 2)


class RelativeBias(nn.Module):
    """A number per head and bucket of distance, added to the scores of every layer of a stack."""

    def __init__(self, heads: int, both_ways: bool) -> None:
        super().__init__()
        self.both_ways = both_ways
        self.table = nn.Embedding(BUCKETS, heads)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """[heads, queries, keys] for the positions of both."""
        added: Tensor = self.table(self.bucket(key.unsqueeze(0) - query.unsqueeze(1)))
        return added.permute(2, 0, 1)

    def bucket(self, ahead: Tensor) -> Tensor:
        """The bucket of a key so many positions ahead of the query (behind it: negative)."""
        half = BUCKETS // 2 if self.both_ways else BUCKETS
        base = (ahead > 0) * half if self.both_ways else torch.zeros_like(ahead)
        distance = ahead.abs() if self.both_ways else (-ahead).clamp(min=0)
        exact = half // 2
        scale = (half - exact) / torch.log(torch.tensor(FARTHEST / exact))
        far = exact + (torch.log(distance.clamp(min=1) / exact) * scale).long()
        return base + torch.where(distance < exact, distance, far.clamp(max=half - 1))


class Cross(nn.Module):
    """Attention to the source; its keys and values are computed once per sequence and serve every repetition."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        d, hd = shape.d_model, shape.head_dim
        self.head_dim = hd
        self.norm = nn.RMSNorm(d, eps=1e-6)
        self.query = nn.Linear(d, shape.q_heads * hd, bias=False)
        self.key_value = nn.Linear(d, 2 * shape.kv_heads * hd, bias=False)
        self.out = nn.Linear(shape.q_heads * hd, d, bias=False)

    def remember(self, encoded: Tensor, there: Tensor) -> Memory:
        """Keys and values of an encoded source [batch, source, d_model]."""
        key, value = self.key_value(encoded).unflatten(-1, (-1, self.head_dim)).chunk(2, dim=-2)
        return Memory(key, value, there)

    def forward(self, x: Tensor, memory: Memory) -> Tensor:
        """What is added to x [batch, time, d_model]."""
        query = self.query(self.norm(x)).unflatten(-1, (-1, self.head_dim))
        added: Tensor = self.out(attention(query, memory.key, memory.value, memory.there).flatten(-2))
        return added


class Layer(nn.Module):
    """One physical layer; the same weights serve every repetition."""

    def __init__(self, shape: Shape, cross: bool | None = None) -> None:
        super().__init__()
        self.shape = shape
        d, hd = shape.d_model, shape.head_dim
        self.attention_norm = nn.RMSNorm(d, eps=1e-6)
        self.qkv = nn.Linear(d, (shape.q_heads + 2 * shape.kv_heads) * hd, bias=False)
        self.out = nn.Linear(shape.q_heads * hd, d, bias=False)
        self.cross = Cross(shape) if (shape.cross_attention if cross is None else cross) else None
        self.ffn_norm = nn.RMSNorm(d, eps=1e-6)
        self.gate_up = nn.Linear(d, (2 if shape.gated else 1) * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, instance: int, attend: Attend,
                memory: Memory | None = None) -> Tensor:
        """One layer over x [..., d_model]; `instance` names the keys and values (0 .. Shape.instances - 1)."""
        s = self.shape
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (-1, s.head_dim))
        query, key, value = heads.split((s.q_heads, s.kv_heads, s.kv_heads), dim=-2)
        if s.positions == "rotary":
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        x = x + self.out(attend(instance, query, key, value).flatten(-2))
        if self.cross is not None and memory is not None:
            x = x + self.cross(x, memory)
        up = self.gate_up(self.ffn_norm(x))
        if s.gated:
            gate, up = up.chunk(2, dim=-1)
            up = functional.silu(gate) * up
        else:
            up = functional.relu(up)
        added: Tensor = self.down(up)
        return x + added
