"""Part 2: single passes by the committed design.

A pass runs again and again with its indices on the device, so neither upload nor decision is in its time: the `pass`
rung of the validation. Rows stand as a pipeline's do: depths 0 .. G-1 of one sequence, then of the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..bench.experiment import Bench, Experiment
from ..shapes import decoder_shape, load
from .cases import decoder_for, model_for, pass_work, seated_rows
from .design import read


def _points(bench: Bench) -> Iterable[dict[str, Any]]:
    """The design, one decoder after the other; on a processor its smallest points at a width that it can bear."""
    points = sorted(read(), key=lambda p: (p.model, p.dtype, p.id))
    if not bench.cuda:
        points = [p for p in points if p.context <= 1024 and p.rows <= 8 and p.model.startswith("speed")]
    if bench.quick:
        points = points[:2]
    return ({"id": p.id, "model": p.model, "rows": p.rows, "context": p.context, "heads": p.heads, "dtype": p.dtype,
             "launch": p.launch, "regime": p.regime, "held_out": int(p.held_out)} for p in points)


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    model = model_for(bench, point["model"])
    decoder = decoder_for(bench, model, point["dtype"])
    seated = seated_rows(point["rows"], point["context"], model.repetitions, point["heads"])
    work, units = pass_work(decoder, seated, point["launch"])
    notes = decoder_shape(load(point["model"]))[1]
    return {"ran": units.launch, "plan": units.stage.plan, "attention": units.stage.backend.__name__,
            "notes": "; ".join(notes), **bench.time(work)}


PASSES = Experiment(
    "passes", "one pass again and again, by the committed design",
    ("id", "model", "rows", "context", "heads", "dtype", "launch", "regime", "held_out"),
    ("ran", "plan", "attention", "notes"), _points, _measure, 240)
