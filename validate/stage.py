"""The decoder's pass over static buffers: what a CUDA graph can be captured of.

    row r:  x = embed[word] at depth 0, else hidden[seat]
            through the group at instance block depth:  k, v -> kv[depth * U + layer, place, position]
                                                        attends to positions 0 .. position of that block
            hidden[seat] = x;   rows that are read: words[to] = arg-max head(x)

Every shape is fixed by the number of rows, heads and sweeps; what differs from pass to pass (who sits where, at which
position and depth) stands in integer tensors. Words are the tokens on the device: one a (seat, exit), then one a place
for the last token of its prompt, then one that nobody reads. Rows that only fill a captured width sit on the last seat
and the last place, which nobody reads either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from speedsim.workloads.decoder import Attend, Decoder, rotary
from torch import Tensor
from torch.nn import functional

from .attention import Backend, Lanes, gather


class Rows(NamedTuple):
    """The rows of one pass, integer tensors [rows]."""

    seat: Tensor
    word: Tensor
    """Index of the input token in `words`, for rows at depth 0."""
    position: Tensor
    place: Tensor
    depth: Tensor


@dataclass(eq=False)
class Stage:
    """A decoder and its buffers; the one mutable room of the harness."""

    decoder: Decoder
    seats: int
    """Tokens that may be in flight at a time, the last committed token of each place included."""
    places: int
    """Sequences that may be live at a time."""
    max_len: int
    """Positions of a sequence."""
    backend: Backend = gather
    plan: str = "eager"
    """Which kernels a pass is made of: `eager`, the reference decoder's own; `graph_fused`, fused.py's."""
    seed: int = 0
    kv: Tensor = field(init=False)
    """[U*G, 2, places + 1, max_len, kv_heads, head_dim]."""
    hidden: Tensor = field(init=False)
    """[seats + 1, d_model]."""
    words: Tensor = field(init=False)
    """[seats*G + places + 1], int64."""
    _sweep: Callable[..., Tensor] = field(init=False)
    _steps: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape, weight = self.decoder.shape, self.decoder.embed.weight
        instances = shape.group_layers * shape.repetitions
        size = (instances, 2, self.places + 1, self.max_len, shape.kv_heads, shape.head_dim)
        draw = torch.Generator(weight.device).manual_seed(self.seed)
        # Random, never zeros: a card multiplies zeros faster than data.
        self.kv = weight.new_empty(size).normal_(generator=draw)
        self.hidden = weight.new_empty(self.seats + 1, shape.d_model).normal_(generator=draw)
        count = self.seats * shape.repetitions + self.places + 1
        self.words = torch.randint(shape.vocab, (count,), device=weight.device, generator=draw)
        self._steps = torch.arange(instances, device=weight.device).unsqueeze(1) * (2 * (self.places + 1))
        if self.plan == "graph_fused":
            from . import fused

            self._sweep = partial(fused.sweep, self, turned=fused.turns(self))
        else:
            self._sweep = self._sweep_eagerly

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.words.device

    def word(self, seat: int, exit: int) -> int:
        """Index in `words` of what `exit` of the token on a seat predicts."""
        return seat * self.decoder.shape.repetitions + exit - 1

    def prompt_word(self, place: int) -> int:
        """Index in `words` of the last token of a place's prompt."""
        return self.seats * self.decoder.shape.repetitions + place

    @torch.no_grad()
    def sweep(self, rows: Rows, tokens: Tensor, repetitions: int, window: int) -> Tensor:
        """The states [rows, d_model] after so many repetitions; keys, values and hidden states are kept.

        `tokens` [rows] are the inputs of rows at depth 0; `window` bounds every row's position.
        """
        return self._sweep(rows, tokens, repetitions, window)

    def lanes(self, rows: Rows) -> Tensor:
        """[U*G, rows] the lane of each row's keys in the layer instances from its depth on."""
        block = self.decoder.shape.group_layers * 2 * (self.places + 1)
        return self._steps + (rows.depth * block + rows.place)

    def _sweep_eagerly(self, rows: Rows, tokens: Tensor, repetitions: int, window: int) -> Tensor:
        shape = self.decoder.shape
        cos, sin = rotary(rows.position, shape.head_dim)
        x = torch.where((rows.depth == 0).unsqueeze(-1), self.decoder.embed(tokens), self.hidden[rows.seat])
        width = self.places + 1
        flat = self.kv.view(-1, shape.kv_heads, shape.head_dim)
        lanes = self.lanes(rows)
        keys = lanes * self.max_len + rows.position
        values = keys + width * self.max_len

        def attend(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            flat.index_copy_(0, keys[instance], key)
            flat.index_copy_(0, values[instance], value)
            return self.backend(query, self.kv, Lanes(lanes[instance], width, rows.position, window))

        for number in range(repetitions):
            x = self.decoder.repetition(x, cos, sin, number, attend)
        self.hidden.index_copy_(0, rows.seat, x)
        return x

    @torch.no_grad()
    def heads(self, states: Tensor) -> Tensor:
        """The arg-max token [rows] of every state's head."""
        return self.decoder.head(states).argmax(-1)

    @torch.no_grad()
    def prefill(self, place: int, prompt: Tensor, chunk: int = 2048) -> None:
        """Keys and values of a prompt's positions but the last, in every instance; the last token becomes a word."""
        shape = self.decoder.shape
        self.words[self.prompt_word(place)] = prompt[-1]
        for start in range(0, len(prompt) - 1, chunk):
            stop = min(start + chunk, len(prompt) - 1)
            cos, sin = rotary(torch.arange(start, stop, device=self.device), shape.head_dim)
            attend = self._prefill_attention(place, start, stop)
            x = self.decoder.embed(prompt[start:stop])
            for number in range(shape.repetitions):
                x = self.decoder.repetition(x, cos, sin, number, attend)

    def _prefill_attention(self, place: int, start: int, stop: int) -> Attend:
        """Causal attention of positions start .. stop-1, which it also keeps."""
        shape = self.decoder.shape
        mask = torch.ones(stop - start, stop, dtype=torch.bool, device=self.device).tril(start)

        def attend(instance: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            self.kv[instance, 0, place, start:stop] = key
            self.kv[instance, 1, place, start:stop] = value
            past = self.kv[instance, :, place : place + 1, :stop].transpose(2, 3)
            mixed = functional.scaled_dot_product_attention(
                query.transpose(0, 1).unsqueeze(0), past[0], past[1], attn_mask=mask,
                enable_gqa=shape.q_heads != shape.kv_heads)
            return mixed.squeeze(0).transpose(0, 1)

        return attend
