"""Can the L2 be told to keep the group and let the head pass through?

One SPEED pass of 2x6 (group 28 MB, head 49 MB) again and again in a graph, its weights laid one behind the other so
that one window covers the group or the head: no policy; keep the group; stream the head. Kernels captured on a stream
take its window along.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from speedsim.workloads.decoder import Decoder
from torch import Tensor, nn

from ..attention import backend, plan
from ..bench.cuda import kernels
from ..bench.experiment import Bench, Experiment
from ..units import capture
from .cases import decoder_for, model_for, pass_work, seated_rows

SET_ASIDE = 40_000_000


def _points(_bench: Bench) -> Iterable[dict[str, Any]]:
    return ({"policy": policy, "model": model} for model in ("speed_2x6", "speed_4x3")
            for policy in ("none", "keep group", "stream head", "none again"))


def in_one_piece(module: nn.Module) -> Tensor:
    """Move a module's weights into one buffer, in order; the buffer."""
    weights = list(module.parameters())
    whole = torch.empty(sum(w.numel() for w in weights), dtype=weights[0].dtype, device=weights[0].device)
    at = 0
    for weight in weights:
        piece = whole[at:at + weight.numel()].view_as(weight)
        piece.copy_(weight)
        weight.data = piece
        at += weight.numel()
    return whole


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    cuda = kernels()
    model = model_for(bench, point["model"])
    decoder: Decoder = decoder_for(bench, model)
    group = in_one_piece(decoder.group)
    head = decoder.embed.weight
    g = model.repetitions
    stream = torch.cuda.Stream()
    kept = 0
    if point["policy"] == "keep group":
        kept = cuda.call("l2_set_aside", SET_ASIDE, on_stream=False)
        size = group.numel() * group.element_size()
        cuda.call("l2_window", stream.cuda_stream, group, size, min(1.0, kept / size), 1, on_stream=False)
    elif point["policy"] == "stream head":
        size = head.numel() * head.element_size()
        cuda.call("l2_window", stream.cuda_stream, head, size, 1.0, 0, on_stream=False)
    try:
        seated = seated_rows(g, 256, g, g)
        work, units = pass_work(decoder, seated, "eager", wanted=plan("auto", "graph", backend("auto", bench.device)))
        found = bench.time(capture(work, stream=stream).replay)
    finally:
        cuda.call("l2_set_aside", 0, on_stream=False)
        cuda.call("l2_forget", on_stream=False)
    return {"group_bytes": model.group_bytes, "head_bytes": model.head_bytes, "set_aside_bytes": kept,
            "plan": units.stage.plan, **found}


POLICY = Experiment(
    "l2_policy", "one SPEED pass in a graph with and without an L2 policy", ("model", "policy"),
    ("group_bytes", "head_bytes", "set_aside_bytes", "plan"), _points, _measure, 10, ("cuda",))
