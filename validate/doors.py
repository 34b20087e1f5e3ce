"""`replay` and `live` from the command line: build the decoder, play, tell the figures."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from speedsim import trace
from speedsim.metrics import gaps
from speedsim.model import Model
from speedsim.program import Schedule, Text
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.timeline import Timeline
from speedsim.workloads.decoder import Decoder

from .bench.experiment import Bench
from .campaign.decodes import PROMPT, facts_for
from .environment import environment
from .execution_log import ExecutionLog, recorded
from .play import Player
from .refusal import RefusedError
from .shapes import TORCH_DTYPE, decoder_shape, load, random_decoder

SCHEDULES: dict[str, Schedule] = {"speed": Speed(), "autoregressive": Autoregressive()}


def decoder_from(options: argparse.Namespace, device: str) -> tuple[Model, Decoder, list[str]]:
    """The model's decoder: a checkpoint's weights, or random ones; fp32 on a processor."""
    model = load(options.model)
    shape, notes = decoder_shape(model)
    dtype = TORCH_DTYPE.get(model.dtype.weights) if device.startswith("cuda") else torch.float32
    if dtype is None:
        raise RefusedError(f"{model.name}: weights of {model.dtype.weights} are not played")
    weights = getattr(options, "weights", None)
    decoder = random_decoder(shape, device, dtype, options.seed, stir=2.0)
    if weights is None:
        return model, decoder, [*notes, "random weights"]
    state = torch.load(weights, weights_only=True, map_location=device)
    try:
        decoder.load_state_dict(state.get("decoder", state))
    except RuntimeError as error:
        told = " ".join(str(error).split())[:160]
        raise RefusedError(f"{weights}: not the weights of {model.name}: {told}") from None
    return model, decoder, [*notes, f"weights of {weights.name}"]


def player_for(options: argparse.Namespace, device: str) -> tuple[Model, Player]:
    """A player of the model, its source named after the device."""
    model, decoder, notes = decoder_from(options, device)
    where = environment(device)
    source = f"measured on {where['name']}, {where['began'][:10]}"
    return model, Player(decoder, PROMPT + options.tokens + 2, source=source, control=options.control,
                         launch=options.launch, plan=options.plan, notes=notes)


def replay_run(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Play a recorded trace; the last of the repeats."""
    model, player = player_for(options, device)
    bench = Bench("cpu", trace=options.trace)
    facts, name = facts_for(bench, model, options.tokens)
    for _ in range(options.repeats):
        line = player.replay(SCHEDULES[options.schedule], [facts])
    return told(line) | {"trace": name}


def live_run(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Decode live; the last of the repeats."""
    model, player = player_for(options, device)
    prompt = {0: np.random.default_rng(options.seed).integers(0, model.vocab, PROMPT + 1).tolist()}
    text = Text(0, PROMPT, options.tokens, model.repetitions)
    for _ in range(options.repeats):
        log = ExecutionLog(model.repetitions)
        line = player.live(SCHEDULES[options.schedule], [text], prompt, log=log)
    if options.record is not None:
        made = tuple(recorded(log, [c[:3] for c in line.commits]))
        whole = trace.Trace(options.record.stem, model.name, model.repetitions, {"kind": "live"}, made)
        trace.write_jsonl(whole, options.record)
    return told(line)


def told(line: Timeline) -> dict[str, Any]:
    """The figures of a run."""
    count = line.counters
    return {
        "source": line.source, "notes": line.notes, "tokens": count.committed_tokens, "passes": count.passes,
        "launch_units": count.launch_units, "rows_in_flight": count.row_passes / count.passes,
        "squashed_tokens": count.squashed_tokens, "head_reads": count.head_reads,
        "time_per_token_us": line.decode_ps / 1e6 / count.committed_tokens, "gap_us": gaps(line),
        "time_by_bound_us": {bound: ps / 1e6 for bound, ps in line.bound_ps.items()},
    }
