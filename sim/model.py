"""A decoder's shape: how many bytes and multiplications a row of it asks for.

    prelude layers -> (group of U layers) x G -> coda layers -> final norm -> head

Every layer instance has keys and values of its own: prelude + U x G + coda of them. Cross-attention keys and values
are the same for every repetition (U sets, computed once per sequence).
Experts: a pass reads those that its rows are sent to, the expected number of distinct ones.
A drafter is a decoder as well: of one layer, or of heads alone that stand side by side on the target's state, with the
target's head and embedding or its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from .hardware import DTYPE_BITS, FORMATS

WIDEST, MOST_LAYERS = 2**24, 10_000
"""Larger sizes and more layers are slips of the pen that would be simulated for hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtypes:
    """Storage of weights, keys and values, and activations."""

    weights: str = "bf16"
    kv: str = "bf16"
    activations: str = "bf16"

    def __post_init__(self) -> None:
        for role, known in (("weights", FORMATS), ("kv", DTYPE_BITS), ("activations", DTYPE_BITS)):
            if getattr(self, role) not in known:
                raise ValueError(f"dtype.{role}={getattr(self, role)!r} is none of {', '.join(known)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """The exit's heads."""

    count: int = 1
    """Heads that are read side by side for every row whose head is read: a drafter's guesses several tokens ahead."""
    layers: int = 0
    """Layers d_model -> d_model of each head, before its vocabulary."""
    borrowed: bool = False
    """Whether head and embedding are the target's own."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.layers < 0:
            raise ValueError(f"heads.count={self.count} is below 1, or heads.layers={self.layers} is negative")
        if self.borrowed and (self.count > 1 or self.layers):
            raise ValueError("heads.borrowed: the target has one head, without layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in the place of each layer's feed-forward part."""

    count: int
    active: int
    """Experts that a row is sent to."""
    ffn: int
    """Width of an expert."""
    shared: int = 0
    """Experts that every row passes beside them."""
    skew: float | None = None
    """Popularity of the i-th expert falls as i^-skew, each row on its own; 0: all alike. None: rows are spread as
    evenly as they can be, the most experts that a batch can touch."""
    overlap: float | None = None
    """Share of a row's experts that rows before it in the pass have asked for already, as a trace says; instead of
    skew."""

    def __post_init__(self) -> None:
        if not 1 <= self.active <= self.count or self.ffn < 1 or self.shared < 0:
            raise ValueError(f"experts: active={self.active} of count={self.count}, ffn={self.ffn} or "
                             f"shared={self.shared} makes no mixture")
        if self.skew is not None and (self.skew < 0 or self.overlap is not None):
            raise ValueError(f"experts.skew={self.skew:g} is negative, or overlap says the same another way")
        if self.overlap is not None and not 0 <= self.overlap <= 1:
            raise ValueError(f"experts.overlap={self.overlap:g} is no share")

    def distinct(self, rows: int) -> float:
        """Experts that so many rows of a pass ask for together, as expected: sum over experts of 1 - (1 - q)^rows,
        with q the chance that one row is sent there."""
        if self.overlap is not None:
            return min(self.count, self.active * (1 + (rows - 1) * (1 - self.overlap))) if rows else 0.0
        if self.skew is None:
            return float(min(self.count, self.active * rows))
        return sum(1 - (1 - q) ** rows for q in _chances(self.count, self.active, self.skew))


@lru_cache(maxsize=256)
def _chances(count: int, active: int, skew: float) -> tuple[float, ...]:
    """The chance of each expert to be among a row's: 1 - (1 - p)^x, with x such that they add up to `active`."""
    weights = [(i + 1) ** -skew for i in range(count)]
    total = sum(weights)
    shares = [w / total for w in weights]
    low, high = 0.0, 1.0
    while sum(1 - (1 - p) ** high for p in shares) < active and high < 2**40:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(1 - (1 - p) ** middle for p in shares) < active else (low, middle)
    return tuple(1 - (1 - p) ** high for p in shares)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A decoder; `name` is its file's."""

    name: str
    title: str
    d_model: int
    q_heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    gated: bool
    vocab: int
    group_layers: int
    """U: unique layers of the group; 0 for a drafter of heads alone."""
    repetitions: int
    """G: times the group is applied; 1 for an unshared decoder."""
    prelude: int = 0
    """Layers run once, before the group."""
    coda: int = 0
    """Layers run once per exit, behind the group."""
    adapter: bool = False
    """Each repetition starts with a linear layer of the state and the embedding, 2 d_model -> d_model."""
    cross_attention: bool = False
    encoder_layers: int = 0
    """Layers of the encoder that cross-attention reads, of the decoder's sizes; 0: its work is left out."""
    tied: bool = True
    """The head is the embedding's transpose."""
    heads: Heads = Heads()
    experts: Experts | None = None
    """None: a dense feed-forward part of width `ffn`."""
    window: int | None = None
    """Keys that a row attends to at most, the latest: a sliding window, or the budget of a sparse cache."""
    dtype: Dtypes = Dtypes()
    default_trace: str | None = None
    drafters: tuple[str, ...] = ()
    """SCHEDULE=MODEL: who proposes where a schedule is asked for without saying so."""

    def __post_init__(self) -> None:
        for name in ("d_model", "q_heads", "kv_heads", "head_dim", "ffn", "vocab", "repetitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")
            if getattr(self, name) > WIDEST:
                raise ValueError(f"{name}={getattr(self, name)} is above {WIDEST:,}")
        if self.encoder_layers and not self.cross_attention:
            raise ValueError("encoder_layers need cross_attention")
        for name in ("prelude", "group_layers", "coda", "encoder_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
            if getattr(self, name) > MOST_LAYERS:
                raise ValueError(f"{name}={getattr(self, name)} is above {MOST_LAYERS:,}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window={self.window} is below 1")
        if any(not all(pair.partition("=")[::2]) for pair in self.drafters):
            raise ValueError(f"drafters={list(self.drafters)} must be SCHEDULE=MODEL each")
        if self.q_heads % self.kv_heads:
            raise ValueError(f"q_heads={self.q_heads} is not a multiple of kv_heads={self.kv_heads}")

    @property
    def layers(self) -> int:
        """Layers that a token passes: prelude + U x G + coda."""
        return self.prelude + self.group_layers * self.repetitions + self.coda

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """(n, k) of each weight matrix of one layer, by name."""
        d, heads = self.d_model, self.q_heads * self.head_dim
        experts = self.experts
        ffn = self.ffn if experts is None else experts.ffn
        up = 2 * ffn if self.gated else ffn
        shapes = {"qkv": (heads + 2 * self.kv_heads * self.head_dim, d), "out": (d, heads)}
        if self.cross_attention:
            shapes |= {"cross_q": (heads, d), "cross_out": (d, heads)}
        if experts is not None:
            shapes["router"] = (experts.count, d)
            if experts.shared:
                shapes |= {"shared_up": (up * experts.shared, d), "shared_down": (d, ffn * experts.shared)}
        return shapes | {"up": (up, d), "down": (d, ffn)}

    def copies(self, weight: str, rows: int) -> float:
        """Sets of a matrix of `linear` that a pass of so many rows reads: the distinct experts, or 1."""
        return self.experts.distinct(rows) if self.experts is not None and weight in ("up", "down") else 1.0

    def weight_bytes(self, n: int, k: int) -> int:
        """Bytes of an n x k matrix as stored, rounded up."""
        return math.ceil(n * k * FORMATS[self.dtype.weights].bits / 8)

    def activation_bytes(self, elements: int) -> int:
        """Bytes of activations."""
        return -(-elements * DTYPE_BITS[self.dtype.activations] // 8)

    @property
    def layer_bytes(self) -> int:
        """Weights of one layer that a decoded row reads."""
        return sum(round(self.copies(name, 1) * self.weight_bytes(n, k)) for name, (n, k) in self.linear.items())

    @property
    def idle_bytes(self) -> int:
        """Weights of one layer that a decoded row leaves alone: experts it is not sent to."""
        if self.experts is None:
            return 0
        each = sum(self.weight_bytes(*self.linear[weight]) for weight in ("up", "down"))
        return (self.experts.count - self.experts.active) * each

    @property
    def adapter_bytes(self) -> int:
        """Weights of the input adapter, 0 without one."""
        return self.weight_bytes(self.d_model, 2 * self.d_model) if self.adapter else 0

    @property
    def group_bytes(self) -> int:
        """Weights read by one repetition."""
        return self.group_layers * self.layer_bytes + self.adapter_bytes

    @property
    def head_bytes(self) -> int:
        """Weights of the head, or of all heads with their layers."""
        block = self.weight_bytes(self.d_model, self.d_model)
        return self.heads.count * (self.weight_bytes(self.vocab, self.d_model) + self.heads.layers * block)

    @property
    def total_bytes(self) -> int:
        """All weights held in memory: layers, adapter, embedding, the head where it is not tied, and the projections to
        cross-attention's keys and values, which no decoded row reads."""
        once = (self.prelude + self.coda) * self.layer_bytes
        unique = self.prelude + self.group_layers + self.coda
        keys_values = self.weight_bytes(2 * self.kv_heads * self.head_dim, self.d_model)
        cross = unique * keys_values if self.cross_attention else 0
        embedding = self.weight_bytes(self.vocab, self.d_model) if self.layers and not self.tied else 0
        words = 0 if self.heads.borrowed else self.head_bytes + embedding
        return self.group_bytes + once + unique * self.idle_bytes + cross + words

    @property
    def encoder_bytes(self) -> int:
        """Weights of the encoder's layers."""
        own = sum(self.weight_bytes(n, k) for name, (n, k) in self.linear.items() if not name.startswith("cross"))
        return self.encoder_layers * own

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one position in one layer instance."""
        return -(-2 * self.kv_heads * self.head_dim * DTYPE_BITS[self.dtype.kv] // 8)

    def unshared(self, layers: int) -> Model:
        """The same decoder with `layers` unique layers, each applied once."""
        return replace(self, name=f"{self.name}~{layers}l", title=f"{self.title}, unshared, {layers} layers",
                       group_layers=layers, repetitions=1, prelude=0, coda=0, adapter=False, default_trace=None)
