"""Does a shared layer cost less than an unshared one of the same shape, everything else equal?

Twelve layers in a row inside one graph, of 12, 6, 4, 3, 2 or 1 unique sets of weights. The kernels are the same; what
differs is where the weights come from. A group that stays in the L2 is read from there from its second use on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..bench.experiment import Bench, Experiment
from .cases import decoder_for, model_for, pass_work, seated_rows

LAYERS = 12


def _points(bench: Bench) -> Iterable[dict[str, Any]]:
    rows = (1,) if bench.quick or not bench.cuda else (1, 6, 16)
    return ({"unique_layers": u, "rows": r, "heads": h} for u in (12, 6, 4, 3, 2, 1) for r in rows for h in (0, r)
            if not bench.quick or u in (12, 2))


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    unique = point["unique_layers"]
    model = replace(model_for(bench, "speed_2x6"), group_layers=unique, repetitions=LAYERS // unique)
    seated = seated_rows(point["rows"], 64, LAYERS // unique, point["heads"], one_depth=True)
    work, units = pass_work(decoder_for(bench, model), seated, "graph", sweeps=LAYERS // unique)
    found = bench.time(work)
    weights = model.group_bytes + (model.head_bytes if point["heads"] else 0)
    return {"layers": LAYERS, "unique_bytes": weights, "launch": units.launch, "plan": units.stage.plan, **found}


SHARING = Experiment(
    "sharing", "twelve layers of one shape in one graph, of so many unique ones", ("unique_layers", "rows", "heads"),
    ("layers", "unique_bytes", "launch", "plan"), _points, _measure, 20)
