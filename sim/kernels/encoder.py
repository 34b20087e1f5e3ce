"""An encoder in front of a decoder: the whole source at once, once a sequence.

    encoder_layers x (attention of every token to every token, FFN)      a width of source tokens, weights of its own
    each of the decoder's unique layers: keys and values = source x W     they serve every repetition

Its layers are the decoder's in size, its kernels the plan's. Ignored: tables of relative positions, its last norm, and
that a served source may come in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..plan import Plan
from .attention import flop_per_key
from .demand import Access, Kernel, Tensor

if TYPE_CHECKING:
    from .lower import Lowering, PassShape

_ONE_MATRIX = Plan(name="matrix", title="one matrix a layer", embedding=(), attention=(), ffn=("linear:up",), exit=())


def encoder(decoder: Lowering, source: PassShape) -> Iterator[Kernel]:
    """The kernels in front of a decoder, for a source as one prompt without a head."""
    model, tokens = decoder.model, source.width
    layers = replace(model, group_layers=model.encoder_layers, repetitions=1, prelude=0, coda=0, adapter=False,
                     cross_attention=False, encoder_layers=0)
    every = tokens * tokens * flop_per_key(model)  # both ways, where a prompt's tokens attend to those before them
    for kernel in _lowered(decoder, layers, decoder.plan, source):
        both = kernel.demand._replace(flop=every) if kernel.family == "attention" else kernel.demand
        yield _own(kernel._replace(demand=both), "encoder")
    unique = model.prelude + model.group_layers + model.coda
    matrix = replace(layers, group_layers=unique, ffn=2 * model.kv_heads * model.head_dim, gated=False)
    for kernel in _lowered(decoder, matrix, _ONE_MATRIX, source):
        yield _own(kernel, "cross_kv")


def _lowered(decoder: Lowering, model: object, plan: Plan, source: PassShape) -> tuple[Kernel, ...]:
    kept: dict[str, object] = {"_known": {}, "_steps_known": {}}
    return replace(decoder, model=model, plan=plan, **kept).kernels(source)  # type: ignore[arg-type]


def _own(kernel: Kernel, name: str) -> Kernel:
    """The kernel under a name of its own, its tensors no decoder's."""
    demand = kernel.demand
    reads, writes = (tuple(Access(tensor if tensor.kind == "activations" else Tensor((name, *tensor.name), tensor.kind),
                                  size) for tensor, size in side) for side in (demand.reads, demand.writes))
    return kernel._replace(name=f"{name}.{kernel.name}", demand=demand._replace(reads=reads, writes=writes))
