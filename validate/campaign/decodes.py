"""Whole decodes: plain and SPEED, replayed and live, decided on the host and on the device.

A replay follows a recorded trace (acceptance as it was measured on a trained model) while weights of the full shape are
random: passes, shapes and kernels are real, the text is not. A live run on random weights says what its control costs,
not what a trained model would accept; `passes_per_token` tells how restless the weights were.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from speedsim import trace
from speedsim.metrics import gaps
from speedsim.model import Model
from speedsim.program import Schedule, Text
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.timeline import Timeline
from speedsim.units import NotCoveredError

from ..bench.experiment import Bench, Experiment
from ..play import Player
from .cases import decoder_for, model_for

TRACES = Path(__file__).resolve().parents[2] / "workloads" / "traces"
SCHEDULES: dict[str, Schedule] = {"autoregressive": Autoregressive(), "speed": Speed()}
PROMPT = 64
PAPERS_FLIPS = {6: (0.20, 0.09, 0.05, 0.04, 0.03), 3: (0.10, 0.06)}
"""Where no trace is at hand: flips that give E[r] = 1.46 for 2x6 and 1.19 for 4x3, as the paper's figures do."""


def _points(bench: Bench) -> Iterable[dict[str, Any]]:
    """Graph decodes of every shape, then 2x6 with the decoder's own kernels, in graphs and eager (which is slow)."""
    shared = ("speed_2x6",) if bench.quick else ("speed_2x6", "speed_4x3")
    flat = () if bench.quick else ("speed_12l", "speed_4l", "speed_2l")
    controls = [("host", "plain"), ("device", "plain")]
    if bench.cuda and not bench.quick:
        controls.append(("device", "compiled"))
    for model in (*shared, *flat):
        for schedule in SCHEDULES if model in shared else ("autoregressive",):
            for source in ("replay", "live"):
                for control, step in controls:
                    if step == "compiled" and schedule != "speed":
                        continue
                    yield {"model": model, "schedule": schedule, "source": source, "control": control, "step": step,
                           "launch": "graph", "plan": "auto"}
    for launch in ("graph", "eager") if bench.cuda else ():
        for schedule in SCHEDULES:
            yield {"model": "speed_2x6", "schedule": schedule, "source": "replay", "control": "host", "step": "plain",
                   "launch": launch, "plan": "eager"}


def tokens_of(bench: Bench, launch: str) -> int:
    """Tokens of one decode."""
    if bench.quick:
        return 6
    return 8 if not bench.cuda else 24 if launch == "eager" else 128


def facts_for(bench: Bench, model: Model, count: int) -> tuple[trace.Sequence, str]:
    """So many recorded tokens behind the prompt, of the sequence that is most like its whole trace; and its name."""
    g = model.repetitions
    found, name = None, ""
    for path in ([bench.trace] if bench.trace else []) + _shipped(model.default_trace):
        try:
            loaded = trace.load(path)
        except (ImportError, NotCoveredError):  # Parquet without pyarrow
            continue
        long_enough = [s for s in loaded.sequences if s.count >= count]
        if loaded.repetitions == g and long_enough:
            mean = np.concatenate([trace.settle(s.exit_tokens) for s in loaded.sequences]).mean()
            found = min(long_enough, key=lambda s: abs(trace.settle(s.exit_tokens[:count]).mean() - mean))
            name = f"{loaded.name} sequence {found.id}"
            break
    if found is None:
        flips = PAPERS_FLIPS.get(g, (0.1,) * (g - 1))
        (found,), name = trace.synthetic(flips, g, count, 1, bench.seed, first=PROMPT).sequences, "synthetic"
    tokens = np.asarray(found.exit_tokens)[:count]
    return trace.Sequence(0, PROMPT, count, "length", 0, tokens), name


def _shipped(name: str | None) -> list[Path]:
    return [path for suffix in ("jsonl", "parquet") if name and (path := TRACES / f"{name}.{suffix}").exists()]


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    model = model_for(bench, point["model"])
    count = tokens_of(bench, point["launch"])
    decoder = decoder_for(bench, model)
    player = Player(decoder, PROMPT + count + 2, source="campaign", control=point["control"], launch=point["launch"],
                    step=point["step"], plan=point["plan"])
    schedule = SCHEDULES[point["schedule"]]
    facts, name = facts_for(bench, model, count)
    text = Text(0, PROMPT, count, model.repetitions)
    prompt = {0: np.random.default_rng(bench.seed).integers(0, model.vocab, PROMPT + 1).tolist()}
    kept: list[Timeline] = []

    def sample() -> float:
        if point["source"] == "replay":
            kept[:] = [player.replay(schedule, [facts])]
        else:
            kept[:] = [player.live(schedule, [text], prompt)]
        return kept[0].decode_ps / 1e6

    for _ in range(2):  # the first run captures the graphs
        sample()
    return {**bench.point(sample), **_figures(kept[0]), "trace": name if point["source"] == "replay" else "none"}


def _figures(line: Timeline) -> dict[str, Any]:
    """What else a run says, of the last repeat."""
    count, between = line.counters, gaps(line)
    return {
        "tokens": count.committed_tokens, "passes": count.passes, "launch_units": count.launch_units,
        "rows_per_pass": count.row_passes / count.passes, "passes_per_token": count.passes / count.committed_tokens,
        "head_reads": count.head_reads, "idle_row_passes": count.idle_row_passes,
        "time_per_token_us": line.decode_ps / 1e6 / count.committed_tokens,
        "gap_p50_us": between["p50"], "gap_p99_us": between["p99"],
        "host_share": line.bound_ps["host"] / max(1, line.decode_ps), "notes": "; ".join(line.notes),
    }


DECODES = Experiment(
    "decodes", "a whole decode: median over repeats of the time from first issue to last commit",
    ("model", "schedule", "source", "control", "step", "launch", "plan"),
    ("tokens", "passes", "launch_units", "rows_per_pass", "passes_per_token", "head_reads", "idle_row_passes",
     "time_per_token_us", "gap_p50_us", "gap_p99_us", "host_share", "trace", "notes"),
    _points, _measure, 150)
