"""SPEED's figure 3 from figure 4: latency per example of shared decoders that speculate, and of unshared ones.

    latency = encoder + n (t + passes x host),   t: time per token as simulated,   n: one free length per task

Everything but n is predicted: flip rates are figure 4's, drawn independently; all G slots are computed in every pass;
the encoder is a prefill of twelve layers over the source. The published loop is compiled (JAX): what enters the slots
is decided on the GPU, but whether the loop goes on is read by the host after every pass, at the stack's turn-around.
Models of one task wrote texts of different lengths, which nobody published, so n stands for all of them:
the table checks whether the figures are consistent with each other, it is no measure of accuracy. 4x4 and 2x8, of which
no flip rates are published, continue those of 4x3 and 2x6 at the ratio of the last two; they carry no bar.
Ignored: the host's work between examples.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..catalog import load_stack
from ..config import load
from ..files import read_text
from ..registry import find
from ..scenario import Scenario
from ..scenario import run as run_scenario
from ..units import InputError

CONFIGURATIONS = ("12l", "4l", "2l", "4x3", "4x4", "2x6", "2x8")
BASES = {"4x4": "4x3", "2x8": "2x6"}
"""Where the flip rates of a configuration without published ones come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A data set: what was measured on it, and what is assumed of its texts."""

    barred: bool
    """Whether the unshared ratios have a bar here."""
    ordered: bool
    """Whether the order of configurations has one."""
    tokens: int
    source_tokens: int
    flips: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """The suite's file."""

    name: str
    title: str
    rows: str
    """Figure 3, a file beside this one."""
    gpu: str
    stack: str
    control: str
    tiers: tuple[str, ...]
    seed: int
    sequences: int
    bar: float
    """Relative error allowed on the ratios of unshared decoders."""
    tasks: dict[str, Task]


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration on a task, simulated."""

    token_us: float
    """With the host's look at the loop's condition after every pass."""
    passes: float
    """Per token."""


Latency = dict[str, float]
"""Milliseconds per example of each configuration of a task."""


def run(name: str, rows: str | None) -> dict[str, Any]:
    """The suite as a document. `rows`: another figure 3 of the same columns. Raises InputError."""
    path = find("suites", name)
    paper = load(Paper, path).value
    measured = read(Path(rows) if rows else path.with_name(paper.rows), paper)
    tiers = {tier: _tier(paper, measured, tier) for tier in paper.tiers}
    return {"schema": "speedsim-suite/1", "suite": paper.name, "title": paper.title, "gpu": paper.gpu,
            "stack": paper.stack, "control": paper.control, "tiers": tiers,
            "held": {tier: all(bar["held"] for bar in told["bars"]) for tier, told in tiers.items()}}


def read(path: Path, paper: Paper) -> dict[str, Latency]:
    """The measured latencies of each task. InputError where a row is not one."""
    lines = [(n, line) for n, line in enumerate(read_text(path).splitlines(), 1) if not line.startswith("#")]
    found: dict[str, Latency] = {}
    for (number, _), row in zip(lines[1:], csv.DictReader(line for _, line in lines), strict=False):
        task, shape = row.get("task"), (row.get("config") or "").lower()
        if task not in paper.tasks or shape not in CONFIGURATIONS:
            raise InputError(f"{path}:{number}: task {task!r}, config {row.get('config')!r}: known are "
                             f"{', '.join(paper.tasks)} with {', '.join(CONFIGURATIONS)}")
        try:
            found.setdefault(task, {})[shape] = _positive(row.get("latency_ms"))
        except ValueError:
            raise InputError(f"{path}:{number}: latency_ms: {row.get('latency_ms')!r} is no time above 0") from None
    for task, measured in found.items():
        if lacking := [c for c in CONFIGURATIONS if c not in measured and c not in BASES]:
            raise InputError(f"{path}: {task}: no row for {', '.join(lacking)}")
    if not found:
        raise InputError(f"{path}: no row of task, config and latency_ms")
    return found


def _positive(text: str | None) -> float:
    value = float(text or "")
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _tier(paper: Paper, measured: dict[str, Latency], tier: str) -> dict[str, Any]:
    tasks, bars = {}, []
    for name, latency in measured.items():
        task = paper.tasks[name]
        points = {c: _point(paper, task, tier, c) for c in latency}
        tasks[name] = beside(latency, points, _encoder_ms(paper, task, tier))
        if task.barred:
            bars += [_ratio(name, tasks[name], other, paper.bar) for other in ("4l", "2l")]
        if task.ordered:
            bars.append(_order(name, tasks[name]))
    return {"tasks": tasks, "bars": bars}


def _point(paper: Paper, task: Task, tier: str, configuration: str) -> Point:
    """One configuration's time per token: speculating where it is shared, plain where it is not."""
    text = (f"count={task.tokens},sequences={paper.sequences},first=1,seed={paper.seed},"
            f"source_tokens={task.source_tokens}")
    flips = flips_of(task, configuration)
    if flips:
        text += f",flips={'+'.join(f'{f:.6g}' for f in flips)}"
    line = run_scenario(Scenario(gpu=paper.gpu, stack=paper.stack, control=paper.control, tier=tier, record="summary",
                        model=f"speed_{configuration}_cross", synth=text,
                        schedule="speed" if flips else "autoregressive"))
    tokens = line.counters.committed_tokens
    passes = line.counters.passes / tokens
    host_us = load_stack(paper.stack).value.host.turnaround_ps / 1e6
    return Point(sum(d.end_ps - d.start_ps for d in line.decodes) / 1e6 / tokens + passes * host_us, passes)


def flips_of(task: Task, configuration: str) -> tuple[float, ...]:
    """Published flip rates, or those of the shallower configuration continued at the ratio of its last two."""
    if configuration not in BASES:
        return task.flips.get(configuration, ())
    known = list(task.flips[BASES[configuration]])
    while len(known) < int(configuration[-1]) - 1:
        known.append(known[-1] ** 2 / known[-2])
    return tuple(known)


def _encoder_ms(paper: Paper, task: Task, tier: str) -> float:
    """A prefill of twelve layers over the source."""
    line = run_scenario(Scenario(gpu=paper.gpu, stack=paper.stack, control=paper.control, tier=tier, record="summary",
                        model="speed_12l", schedule="autoregressive", synth=f"count=1,first={task.source_tokens}"))
    return line.decodes[0].prefill_ps / 1e9


def beside(latency: Latency, points: dict[str, Point], encoder_ms: float) -> dict[str, Any]:
    """The free length that fits best (least squares of relative errors), and each configuration under it."""
    fitted = [c for c in points if c not in BASES]
    slopes = {c: points[c].token_us / 1e3 / latency[c] for c in fitted}
    length = (sum(slopes[c] * (1 - encoder_ms / latency[c]) for c in fitted)
              / sum(slope**2 for slope in slopes.values()))
    predicted = {c: encoder_ms + length * p.token_us / 1e3 for c, p in points.items()}
    saved = points["2x6"].passes - points["4x3"].passes
    return {
        "length": length, "encoder_ms": encoder_ms,
        "configurations": {c: {
            "measured_ms": latency[c], "predicted_ms": predicted[c], "error": predicted[c] / latency[c] - 1,
            "token_us": p.token_us, "passes_per_token": p.passes, "flips_extrapolated": c in BASES,
        } for c, p in points.items()},
        # 2x6 does more passes a token than 4x3: a cost per pass that both pay makes it the slower one beyond this.
        "host_us_per_pass_that_reverses_2x6_and_4x3":
            (points["4x3"].token_us - points["2x6"].token_us) / saved if saved else None,
    }


def _ratio(name: str, told: dict[str, Any], other: str, bar: float) -> dict[str, Any]:
    shown = told["configurations"]
    measured = shown["12l"]["measured_ms"] / shown[other]["measured_ms"]
    predicted = shown["12l"]["predicted_ms"] / shown[other]["predicted_ms"]
    error = predicted / measured - 1
    return {"bar": f"{name}: 12l / {other} within {bar:.0%}", "measured": measured, "predicted": predicted,
            "error": error, "held": abs(error) <= bar}


def _order(name: str, told: dict[str, Any]) -> dict[str, Any]:
    ms = {c: row["predicted_ms"] for c, row in told["configurations"].items()}
    middle = sorted((ms["4x3"], ms["2x6"]))
    held = ms["2l"] < ms["4l"] < middle[0] and middle[1] < ms["12l"]
    return {"bar": f"{name}: 2l < 4l < 4x3, 2x6 < 12l", "predicted": sorted((c for c in ms if c not in BASES),
                                                                          key=lambda c: ms[c]), "held": held}


def table(document: dict[str, Any]) -> Iterator[str]:
    """The document for the screen."""
    yield f"{document['title']}: consistency with one free length a task, not accuracy"
    for tier, told in document["tiers"].items():
        yield f"\ntier {tier}"
        for name, task in told["tasks"].items():
            yield f"  {name}: {task['length']:.1f} tokens an example, encoder {task['encoder_ms']:.2f} ms"
            yield f"    {'':<6}{'figure 3':>10}{'predicted':>11}{'error':>9}{'us/token':>10}{'passes':>8}"
            for c, row in task["configurations"].items():
                yield (f"    {c:<6}{row['measured_ms']:>7.1f} ms{row['predicted_ms']:>8.1f} ms{row['error']:>+9.1%}"
                       f"{row['token_us']:>10.1f}{row['passes_per_token']:>8.2f}"
                       f"{'  flips extrapolated' if row['flips_extrapolated'] else ''}")
            at = task["host_us_per_pass_that_reverses_2x6_and_4x3"]
            if at is not None:
                yield (f"    2x6 is the {'faster' if at > 0 else 'slower'} of 2x6 and 4x3; they change places at "
                       f"{at:+.0f} us of cost per pass more than simulated")
        for bar in told["bars"]:
            said = f" ({bar['predicted']:.2f} where {bar['measured']:.2f} was measured)" if "error" in bar else ""
            yield f"  {'held  ' if bar['held'] else 'MISSED'} {bar['bar']}{said}"
