"""The reference decoder: a group of U layers applied G times, with an exit after every repetition.

    x = e = prelude(embed[token]);  repeat G times: x = group(adapter(x, e));  exit e reads head(norm(coda(x)))

Every exit goes through the same coda, final norm and head, as in SPEED (arXiv:2310.12072); prelude, coda and the input
adapter are those of recurrent-depth decoders (Huginn, arXiv:2502.05171), whose noise at the start is left out: x begins
as e. With cross-attention an encoder reads a source text first, once. Parts are in layers.py.
Each layer instance has keys and values of its own; where they live is the caller's business: a layer hands its query,
key and value to `attend` and gets the mixed values back. Training passes a causal attention over the whole sequence;
the recorder and the CUDA harness pass one over their caches. The coda has one set: an exit before the last attends to
what the last exit left at earlier positions and to itself, as a decoding loop that overwrites them does.

There is no decoding loop here beyond `greedy`, which records what every exit predicts.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Attend, Layer, Memory, RelativeBias, Shape, attention, rotary, rotate

__all__ = ["Attend", "Decoder", "Memories", "Shape", "causal", "greedy", "rotary", "rotate"]

Memories = tuple[Memory | None, ...]
"""One for each physical layer: the group's, the prelude's, the coda's."""

PADDING = 0
"""Id that fills up a batch of sources; nothing attends to it."""


class Encoder(nn.Module):
    """Layers that see the whole source in both directions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.layers = nn.ModuleList(Layer(shape, cross=False) for _ in range(shape.encoder))
        self.norm = nn.RMSNorm(shape.d_model, eps=1e-6)
        self.bias = RelativeBias(shape.q_heads, both_ways=True) if shape.positions == "relative" else None

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """States [batch, source, d_model] of an embedded source."""
        positions = torch.arange(x.shape[1], device=x.device)
        cos, sin = rotary(positions, self.head_dim)
        mask = there
        if self.bias is not None:
            mask = torch.where(there, self.bias(positions, positions), float("-inf")).to(x.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, 0, lambda _, query, key, value: attention(query, key, value, mask))
        encoded: Tensor = self.norm(x)
        return encoded


class Decoder(nn.Module):
    """Embedding, prelude, the group of layers, coda, the final norm and the head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.d_model)
        self.group = nn.ModuleList(Layer(shape) for _ in range(shape.group_layers))
        self.prelude = nn.ModuleList(Layer(shape) for _ in range(shape.prelude))
        self.coda = nn.ModuleList(Layer(shape) for _ in range(shape.coda))
        self.adapter = nn.Linear(2 * shape.d_model, shape.d_model, bias=False) if shape.adapter else None
        self.encoder = Encoder(shape) if shape.encoder else None
        self.bias = RelativeBias(shape.q_heads, both_ways=False) if shape.positions == "relative" else None
        self.norm = nn.RMSNorm(shape.d_model, eps=1e-6)
        self.unembed = None if shape.tied else nn.Linear(shape.d_model, shape.vocab, bias=False)
        self._initialise()

    def _initialise(self) -> None:
        """Normal weights; projections into the residual stream shrink with the depth they are summed over."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                into_stream = name.endswith(("out.weight", "down.weight"))
                depth = self.shape.encoder if name.startswith("encoder") else self.shape.instances
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5 if into_stream else 0.02)

    def remember(self, source: Tensor) -> Memories:
        """What every layer's cross-attention reads of sources [batch, source], filled up with PADDING at their ends."""
        if self.encoder is None:
            raise ValueError("the decoder has no encoder to read a source with")
        there = (source != PADDING)[:, None, None, :]
        encoded = self.encoder(self.embed(source), there)
        return tuple(layer.cross.remember(encoded, there) for layer in (*self.group, *self.prelude, *self.coda))

    def enter(self, tokens: Tensor, cos: Tensor, sin: Tensor, attend: Attend, memories: Memories = ()) -> Tensor:
        """Embedding and prelude: the state before the first repetition."""
        x: Tensor = self.embed(tokens)
        return self._once(self.prelude, 0, x, (cos, sin), attend, memories)

    def repetition(self, x: Tensor, cos: Tensor, sin: Tensor, number: int, attend: Attend,
                   memories: Memories = (), entered: Tensor | None = None) -> Tensor:
        """Repetition `number` (0-based): one trip of x through the group; `entered` is what the adapter mixes in."""
        if self.adapter is not None:
            x = self.adapter(torch.cat((x, entered), dim=-1))
        for index, layer in enumerate(self.group):
            instance = number * self.shape.group_layers + index
            x = layer(x, cos, sin, instance, attend, memories[index] if memories else None)
        return x

    def leave(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Attend, memories: Memories = ()) -> Tensor:
        """The coda of an exit."""
        return self._once(self.coda, self.shape.prelude, x, (cos, sin), attend, memories)

    def _once(self, layers: nn.ModuleList, before: int, x: Tensor, turn: tuple[Tensor, Tensor], attend: Attend,
              memories: Memories) -> Tensor:
        """Layers applied once; `before` of them come earlier among prelude and coda."""
        s = self.shape
        for index, layer in enumerate(layers, before):
            memory = memories[s.group_layers + index] if memories else None
            x = layer(x, *turn, s.group_layers * s.repetitions + index, attend, memory)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Logits [..., vocab] of an exit, from a state behind the coda."""
        return functional.linear(self.norm(x), self.embed.weight if self.unembed is None else self.unembed.weight)

    def forward(self, tokens: Tensor, source: Tensor | None = None) -> list[Tensor]:
        """States [batch, time, d_model] of each of the G exits, behind the coda, over whole sequences."""
        memories = () if source is None else self.remember(source)
        position = torch.arange(tokens.shape[1], device=tokens.device)
        cos, sin = rotary(position, self.shape.head_dim)
        seen = position.unsqueeze(1) >= position
        attend = causal
        if self.bias is not None:
            mask = torch.where(seen, self.bias(position, position), float("-inf")).to(self.embed.weight.dtype)
            attend = lambda _, query, key, value: attention(query, key, value, mask)  # noqa: E731
        x = entered = self.enter(tokens, cos, sin, attend, memories)
        states = []
        for number in range(self.shape.repetitions):
            x = self.repetition(x, cos, sin, number, attend, memories, entered)
            states.append(x)
        return self._exits(states, cos, sin, attend, memories) if self.shape.coda else states

    def _exits(self, states: list[Tensor], cos: Tensor, sin: Tensor, attend: Attend, memories: Memories
               ) -> list[Tensor]:
        """Every exit's state behind the coda; those before the last see the last one's past and themselves."""
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        position = torch.arange(states[0].shape[1], device=states[0].device)
        past, own = position.unsqueeze(1) > position, position.unsqueeze(1) == position
        mask = torch.cat((past, own), dim=1)
        if self.bias is not None:
            added = self.bias(position, torch.cat((position, position)))
            mask = torch.where(mask, added, float("-inf")).to(states[0].dtype)

        def keep(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            kept[instance] = key, value
            return attend(instance, query, key, value)

        def behind(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            keys, values = (torch.cat(pair, dim=1) for pair in zip(kept[instance], (key, value), strict=True))
            return attention(query, keys, values, mask)

        last = self.leave(states[-1], cos, sin, keep, memories)
        return [*(self.leave(x, cos, sin, behind, memories) for x in states[:-1]), last]


def causal(_instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention within whole sequences [batch, time, heads, head_dim]."""
    return attention(query, key, value, None, causal=True)


class _Cache:
    """Keys and values of a batch of sequences, [instances, 2, batch, span, kv_heads, head_dim]."""

    def __init__(self, decoder: Decoder, batch: int, span: int) -> None:
        shape, weight = decoder.shape, decoder.embed.weight
        self.bias = decoder.bias
        self.kv = weight.new_zeros((shape.instances, 2, batch, span, shape.kv_heads, shape.head_dim))

    def attend_from(self, start: int) -> Attend:
        """Attention of rows at positions start, start + 1, ..., which are kept."""
        def attend(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            stop = start + query.shape[1]
            self.kv[instance, 0, :, start:stop] = key
            self.kv[instance, 1, :, start:stop] = value
            past = self.kv[instance, :, :, :stop]
            rows, seen = (torch.arange(a, stop, device=query.device) for a in (start, 0))
            mask = rows.unsqueeze(1) >= seen
            if self.bias is not None:
                mask = torch.where(mask, self.bias(rows, seen), float("-inf")).to(query.dtype)
            return attention(query, past[0], past[1], mask)

        return attend


@torch.no_grad()
def greedy(decoder: Decoder, prompts: Tensor, count: int, source: Tensor | None = None) -> Iterator[Tensor]:
    """Decode `count` tokens greedily behind prompts [batch, first]; yield what each exit predicts.

    Yields [batch, G] once for each position first-1 .. first+count-2: the arg-max token of each exit, made from the
    committed text. The last exit's is the token that is committed next. `source` [batch, source] is what
    cross-attention reads.
    """
    batch, first = prompts.shape
    memories = () if source is None else decoder.remember(source)
    cache = _Cache(decoder, batch, first + count)
    start, tokens = 0, prompts
    for _ in range(count):  # the whole prompt first, then one token at a time
        position = torch.arange(start, start + tokens.shape[1], device=prompts.device)
        cos, sin = rotary(position, decoder.shape.head_dim)
        attend = cache.attend_from(start)
        x = entered = decoder.enter(tokens, cos, sin, attend, memories)
        states = []
        for number in range(decoder.shape.repetitions):
            x = decoder.repetition(x, cos, sin, number, attend, memories, entered)
            states.append(x)
        if tokens.shape[1] > 1:  # what the last exit leaves at earlier positions, before any exit is read
            decoder.leave(x[:, :-1], cos[:-1], sin[:-1], attend, memories)
        at_end = cache.attend_from(start + tokens.shape[1] - 1)
        exits = [decoder.head(decoder.leave(s[:, -1:], cos[-1:], sin[-1:], at_end, memories))[:, 0] for s in states]
        predictions = torch.stack([logits.argmax(-1) for logits in exits], dim=-1)
        yield predictions
        start += tokens.shape[1]
        tokens = predictions[:, -1:]
