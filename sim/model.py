"""A decoder's shape: how many bytes and multiplications a row of it asks for.

    prelude layers -> (group of U layers) x G -> coda layers -> final norm -> head

Every layer instance has keys and values of its own: prelude + U x G + coda of them. Cross-attention keys and values
are the same for every repetition (U sets, computed once per sequence).
A drafter is a decoder as well: of one layer, or of heads alone that stand side by side on the target's state, with the
target's head and embedding or its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .hardware import DTYPE_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Dtypes:
    """Storage of weights, keys and values, and activations."""

    weights: str = "bf16"
    kv: str = "bf16"
    activations: str = "bf16"

    def __post_init__(self) -> None:
        for role in ("weights", "kv", "activations"):
            if getattr(self, role) not in DTYPE_BITS:
                raise ValueError(f"dtype.{role}={getattr(self, role)!r} is none of {', '.join(DTYPE_BITS)}")


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
    window: int | None = None
    """Keys that a row attends to at most, the latest: a sliding window, or the budget of a sparse cache."""
    dtype: Dtypes = Dtypes()
    default_trace: str | None = None

    def __post_init__(self) -> None:
        for name in ("d_model", "q_heads", "kv_heads", "head_dim", "ffn", "vocab", "repetitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is below 1")
        if self.encoder_layers and not self.cross_attention:
            raise ValueError("encoder_layers need cross_attention")
        for name in ("prelude", "group_layers", "coda", "encoder_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} is negative")
        if self.window is not None and self.window < 1:
            raise ValueError(f"window={self.window} is below 1")
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
        up = 2 * self.ffn if self.gated else self.ffn
        shapes = {"qkv": (heads + 2 * self.kv_heads * self.head_dim, d), "out": (d, heads)}
        if self.cross_attention:
            shapes |= {"cross_q": (heads, d), "cross_out": (d, heads)}
        return shapes | {"up": (up, d), "down": (d, self.ffn)}

    def weight_bytes(self, n: int, k: int) -> int:
        """Bytes of an n x k matrix as stored, rounded up."""
        return -(-n * k * DTYPE_BITS[self.dtype.weights] // 8)

    def activation_bytes(self, elements: int) -> int:
        """Bytes of activations."""
        return -(-elements * DTYPE_BITS[self.dtype.activations] // 8)

    @property
    def layer_bytes(self) -> int:
        """Weights of one layer that a decoded row reads."""
        return sum(self.weight_bytes(n, k) for n, k in self.linear.values())

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
        return self.group_bytes + once + cross + (0 if self.heads.borrowed else self.head_bytes + embedding)

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
