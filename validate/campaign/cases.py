"""Decoders, players and single passes as the campaign sets them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from speedsim.model import Model
from speedsim.workloads.decoder import Decoder

from ..attention import backend, plan
from ..bench.experiment import Bench
from ..refusal import NotMeasuredError
from ..seating import Seated
from ..shapes import TORCH_DTYPE, decoder_shape, load, random_decoder
from ..stage import Stage
from ..units import Units


def model_for(bench: Bench, name: str) -> Model:
    """The shape of this name; on a processor the same U x G at a width that it can bear."""
    model = load(name)
    if bench.cuda:
        return model
    width = 64 if bench.quick else 256
    return replace(model, name=f"{name} at d={width}", d_model=width, q_heads=width // 64, kv_heads=width // 64,
                   head_dim=64, ffn=11 * width // 4, vocab=512 if bench.quick else 4096, prelude=0, coda=0,
                   adapter=False, group_layers=min(model.group_layers, 12), tied=True)


def decoder_for(bench: Bench, model: Model, dtype: str | None = None) -> Decoder:
    """A random decoder of a model, kept while the points of one experiment ask for it. `bench.kept` holds one."""
    wanted = (dtype or model.dtype.weights) if bench.cuda else "fp32"
    key = ("decoder", model, wanted)
    if key not in bench.kept:
        bench.kept.clear()
        if bench.cuda:
            torch.cuda.empty_cache()
        shape = decoder_shape(model)[0]
        bench.kept[key] = random_decoder(shape, bench.device, TORCH_DTYPE[wanted], bench.seed, stir=2.0)
    decoder: Decoder = bench.kept[key]
    return decoder


def seated_rows(rows: int, context: int, repetitions: int, heads: int, one_depth: bool = False) -> Seated:
    """`rows` rows as a pipeline has them: depths 0, 1, .. G-1 of one sequence, then of the next; `heads` are read.

    With `one_depth` every row is a sequence of its own at depth 0.
    """
    depth = [0 if one_depth else r % repetitions for r in range(rows)]
    place = [r if one_depth else r // repetitions for r in range(rows)]
    exits = list(range(rows))[rows - heads:]
    return Seated(list(range(rows)), [r * repetitions for r in range(rows)], [context - 1] * rows, place, depth, exits,
                  [r * repetitions + depth[r] for r in exits])


def places_of(rows: int, repetitions: int, one_depth: bool = False) -> int:
    """Sequences that so many rows stand in."""
    return rows if one_depth else -(-rows // repetitions)


def pass_work(decoder: Decoder, seated: Seated, launch: str, sweeps: int = 1, wanted: str = "auto",
              limit_bytes: int = 100_000_000_000) -> tuple[Callable[[], object], Units]:
    """The call that runs one pass again and again, its indices on the device already; `wanted` names its plan."""
    shape, weight = decoder.shape, decoder.embed.weight
    places, length = max(seated.place) + 1, max(seated.position) + 1
    cache = 2 * shape.group_layers * shape.repetitions * (places + 1) * length * shape.kv_heads * shape.head_dim
    if cache * weight.element_size() > limit_bytes:
        raise NotMeasuredError(f"keys and values of {cache * weight.element_size() / 1e9:.0f} GB")
    rows = len(seated.seat)
    attend = backend("auto", str(weight.device))
    stage = Stage(decoder, rows, places, length, attend, plan(wanted, launch, attend))
    units = Units(stage, launch, None, max(64, rows), 1)
    return units.prepare([seated], [sweeps])[0], units
