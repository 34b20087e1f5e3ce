"""The reference decoder: a group of U layers applied G times, with an exit after every repetition.

    x = embed[token];  repeat G times: x = group(x);  exit e reads head(norm(x)) after repetition e

Every exit goes through the same final norm and the same head (tied to the embedding), as in SPEED
(arXiv:2310.12072). Layers are pre-norm with RMSNorm (no mean, no bias), rotary positions and a gated FFN.
Each of the U x G layer instances has keys and values of its own; where they live is the caller's business:
a layer hands its query, key and value to `attend` and gets the mixed values back. Training passes a causal
attention over the whole sequence; the recorder and the CUDA harness pass one over their caches.

There is no decoding loop here beyond `greedy`, which records what every exit predicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer instance, query, key, value), each [..., heads, head_dim] -> mixed values, shaped like the query."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the decoder is built from; the field names are those of a model file."""

    d_model: int
    q_heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    group_layers: int
    repetitions: int

    def __post_init__(self) -> None:
        if self.q_heads % self.kv_heads:
            raise ValueError(f"q_heads={self.q_heads} is not a multiple of kv_heads={self.kv_heads}")


def rotary(position: Tensor, head_dim: int, base: float = 10_000.0) -> tuple[Tensor, Tensor]:
    """Cosine and sine of each position's angles, [..., 1, head_dim / 2] (RoFormer, arXiv:2104.09864)."""
    exponent = torch.arange(0, head_dim, 2, device=position.device, dtype=torch.float32) / head_dim
    angle = position.float().unsqueeze(-1) * base**-exponent
    return angle.cos().unsqueeze(-2), angle.sin().unsqueeze(-2)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of the last axis against each other by the position's angles."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


class Layer(nn.Module):
    """One physical layer; the same weights serve every repetition."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        d, hd = shape.d_model, shape.head_dim
        self.attention_norm = nn.RMSNorm(d, eps=1e-6)
        self.qkv = nn.Linear(d, (shape.q_heads + 2 * shape.kv_heads) * hd, bias=False)
        self.out = nn.Linear(shape.q_heads * hd, d, bias=False)
        self.ffn_norm = nn.RMSNorm(d, eps=1e-6)
        self.gate_up = nn.Linear(d, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, d, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, instance: int, attend: Attend) -> Tensor:
        """One layer over x [..., d_model]; `instance` names the keys and values (0 .. U*G-1)."""
        s = self.shape
        heads = self.qkv(self.attention_norm(x)).unflatten(-1, (-1, s.head_dim))
        query, key, value = heads.split((s.q_heads, s.kv_heads, s.kv_heads), dim=-2)
        mixed = attend(instance, rotate(query, cos, sin), rotate(key, cos, sin), value)
        x = x + self.out(mixed.flatten(-2))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, dim=-1)
        added: Tensor = self.down(functional.silu(gate) * up)
        return x + added


class Decoder(nn.Module):
    """Embedding, the group of layers, the final norm and the tied head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.d_model)
        self.group = nn.ModuleList(Layer(shape) for _ in range(shape.group_layers))
        self.norm = nn.RMSNorm(shape.d_model, eps=1e-6)
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights; projections into the residual stream shrink with the depth they are summed over."""
        depth = self.shape.group_layers * self.shape.repetitions
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                into_stream = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5 if into_stream else 0.02)

    def repetition(self, x: Tensor, cos: Tensor, sin: Tensor, number: int, attend: Attend) -> Tensor:
        """Repetition `number` (0-based): one trip of x through the group."""
        for index, layer in enumerate(self.group):
            x = layer(x, cos, sin, number * self.shape.group_layers + index, attend)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Logits [..., vocab] of an exit."""
        return functional.linear(self.norm(x), self.embed.weight)

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """States [batch, time, d_model] after each of the G repetitions over whole sequences."""
        cos, sin = rotary(torch.arange(tokens.shape[1], device=tokens.device), self.shape.head_dim)
        x = self.embed(tokens)
        states = []
        for number in range(self.shape.repetitions):
            x = self.repetition(x, cos, sin, number, causal)
            states.append(x)
        return states


def causal(_instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention within whole sequences [batch, time, heads, head_dim]."""
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), is_causal=True,
        enable_gqa=query.shape[-2] != key.shape[-2],
    )
    return mixed.transpose(1, 2)


@torch.no_grad()
def greedy(decoder: Decoder, prompts: Tensor, count: int) -> Iterator[Tensor]:
    """Decode `count` tokens greedily behind prompts [batch, first]; yield what each exit predicts.

    Yields [batch, G] once for each position first-1 .. first+count-2: the arg-max token of each exit, made from the
    committed text. The last exit's is the token that is committed next.
    """
    shape = decoder.shape
    batch, first = prompts.shape
    span = first + count
    kv = prompts.new_zeros(
        (shape.group_layers * shape.repetitions, 2, batch, span, shape.kv_heads, shape.head_dim),
        dtype=decoder.embed.weight.dtype,
    )
    start = 0
    tokens = prompts

    def attend(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        stop = start + query.shape[1]
        kv[instance, 0, :, start:stop] = key
        kv[instance, 1, :, start:stop] = value
        mask = torch.ones(stop - start, stop, dtype=torch.bool, device=query.device).tril(start)
        past = kv[instance, :, :, :stop].transpose(2, 3)
        mixed = functional.scaled_dot_product_attention(
            query.transpose(1, 2), past[0], past[1], attn_mask=mask, enable_gqa=shape.q_heads != shape.kv_heads,
        )
        return mixed.transpose(1, 2)

    for _ in range(count):  # the whole prompt first, then one token at a time
        position = torch.arange(start, start + tokens.shape[1], device=prompts.device)
        cos, sin = rotary(position, shape.head_dim)
        x = decoder.embed(tokens)
        exits = []
        for number in range(shape.repetitions):
            x = decoder.repetition(x, cos, sin, number, attend)
            exits.append(decoder.head(x[:, -1]).argmax(-1))
        predictions = torch.stack(exits, dim=-1)
        yield predictions
        start += tokens.shape[1]
        tokens = predictions[:, -1:]
