"""The answer to a question: the schedule beside its rivals, the gain, its uncertainty and its cause.

Rivals are decoded plainly under the same control and launch: the same model, the unshared model of the same depth (what
sharing costs or saves) and the unshared model of the group's size (what G repetitions cost). Written out this is the
document "speedsim-result/1".
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import __version__
from .compared import compared
from .config import resolved as resolved_inputs
from .intervals import intervals
from .knee import knee
from .memory import memory, refusal
from .metrics import Peaks, figures, gain, per_token_us, speedup
from .scenario import Resolved, Scenario, play, resolve, sides
from .timeline import Timeline
from .transfer import transfer

SCHEMA = "speedsim-result/1"


@dataclass(frozen=True)
class Answer:
    """A scenario's run and its rivals', by key; what is folded from them is folded once."""

    resolved: Resolved
    runs: dict[str, tuple[Resolved, Timeline]]
    """The schedule under its canonical name first, then the rivals as autoregressive@MODEL."""

    @property
    def key(self) -> str:
        """The schedule's canonical name."""
        return next(iter(self.runs))

    @property
    def plain_key(self) -> str:
        """The rival that is the same model."""
        return f"autoregressive@{self.resolved.model.value.name}"

    def timeline(self, key: str) -> Timeline:
        """The run of this key."""
        return self.runs[key][1]

    @cached_property
    def figures(self) -> dict[str, dict[str, Any]]:
        """Every figure of every run."""
        return {key: _figures(side, line) for key, (side, line) in self.runs.items()}

    @cached_property
    def gain(self) -> dict[str, float | None]:
        """What the schedule gains over the same model decoded plainly."""
        return gain(self.timeline(self.key), self.timeline(self.plain_key))

    @cached_property
    def gain_over(self) -> dict[str, float | None]:
        """Each rival's time per token over the schedule's."""
        mine = self.timeline(self.key)
        return {key: speedup(mine, line) for key, (_, line) in self.runs.items() if key != self.key}

    @cached_property
    def knee(self) -> dict[str, Any] | None:
        """Both ends of an answer that hangs on the L2's knee."""
        return knee(self)

    @cached_property
    def transfer(self) -> dict[str, Any] | None:
        """The gain on every shipped trace, where this one was recorded from another model."""
        return transfer(self)

    @property
    def speedup(self) -> float | None:
        """Time per token of plain decoding over the schedule's."""
        return speedup(self.timeline(self.key), self.timeline(self.plain_key))


def answer(scenario: Scenario) -> Answer:
    """Run the scenario and its rivals, of which passes are not kept. Raises InputError and NotCoveredError."""
    mine = resolve(scenario)
    runs: dict[str, tuple[Resolved, Timeline]] = {}
    for key, side in sides(mine).items():
        kept = side if not runs or scenario.record == "kernels" else replace(side, scenario=replace(
            side.scenario, record="summary"))
        runs[key] = (side, play(kept))
    return Answer(mine, runs)


def document(result: Answer) -> dict[str, Any]:
    """The answer as "speedsim-result/1": plain numbers, None where undefined, no time stamp, no path."""
    mine = result.resolved
    scenario = mine.scenario
    schedule = result.timeline(result.key)
    known = compared(mine.gpu.value)
    doc: dict[str, Any] = {
        "schema": SCHEMA,
        "versions": {"speedsim": __version__, "python": sys.version.split()[0],
                     **{name: _version(name) for name in ("numpy", "simpy")}},
        "gpu": {"name": mine.gpu.value.name, "hash": mine.gpu.digest, "parents": list(mine.gpu.parents),
                "compared": {"parts": list(known.parts), "decodes": list(known.decodes)}},
        "stack": {"name": mine.stack.value.name, "hash": mine.stack.digest, "parents": list(mine.stack.parents)},
        "model": {"name": mine.model.value.name, "hash": mine.model.digest, "parents": list(mine.model.parents)},
        "trace": {"name": mine.trace.name, "hash": mine.trace.digest, "model": mine.trace.model,
                  "sequences": len(mine.trace.sequences), "tokens": sum(s.count for s in mine.trace.sequences)},
        "schedule": {"name": mine.schedule_name, "plan": mine.plan.value.name, "plan_hash": mine.plan.digest},
        "further": {name: {"name": of.model.value.name, "hash": of.model.digest, "shares": of.shares}
                    for name, of in mine.further.items()},
        "sampling": scenario.sampling,
        "acceptance": {"given": scenario.acceptance, "seed": scenario.seed},
        "tier": scenario.tier, "control": str(mine.control), "launch": mine.launch,
        "rival_control": str(result.runs[result.plain_key][0].control),
        "batch": scenario.batch, "prompt": scenario.prompt,
        "inputs": {"gpu": resolved_inputs(mine.gpu), "stack": resolved_inputs(mine.stack),
                   "model": resolved_inputs(mine.model), "plan": resolved_inputs(mine.plan)},
        "schedules": result.figures,
        "kernels": {key: {name: total.document() for name, total in sorted(line.kernels.items())}
                    for key, (_, line) in result.runs.items()},
        "gain": result.gain,
        "gain_over": result.gain_over,
        "intervals": intervals(result),
        "knee": result.knee,
        "transfer": result.transfer,
        "sentence": sentence(result),
        "notes": notes(result),
    }
    if scenario.record != "summary" and schedule.record != "summary":
        doc["timeline"] = schedule.document()
    return doc


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _figures(side: Resolved, line: Timeline) -> dict[str, Any]:
    gpu, model = side.gpu.value, side.model.value
    peaks = Peaks(gpu.hbm.bandwidth_bytes_per_s, gpu.sm.peak_flop_per_s[model.dtype.activations], gpu.sm.clock_hz)
    return figures(line, peaks) | {"memory": memory(side, line)}


def notes(result: Answer) -> list[str]:
    """What a reader must know beside the figures: where the text is from, what was changed, what does not fit."""
    gpu = result.resolved.gpu.value
    told = [*result.resolved.notes, *result.timeline(result.key).notes]
    refused = ((key, refusal(side, memory(side, line))) for key, (side, line) in result.runs.items())
    return [*told, *(f"{key} {why}" for key, why in refused if why), compared(gpu).told(gpu.title)]


def sentence(result: Answer) -> str:
    """The gain and its cause, from the difference of time per token by what it waited for."""
    mine, plain = result.timeline(result.key), result.timeline(result.plain_key)
    gpu, model = result.resolved.gpu.value, result.resolved.model.value
    factor = result.speedup
    if factor is None:
        return f"{result.key} committed no token."
    if result.resolved.schedule_name == "autoregressive":
        return f"Plain decoding of {model.name} on one {gpu.title}: {_us(per_token_us(mine))} a token."
    tokens = mine.counters.committed_tokens, plain.counters.committed_tokens
    saved = {bound: plain.bound_ps[bound] / tokens[1] / 1e6 - mine.bound_ps[bound] / tokens[0] / 1e6
             for bound in mine.bound_ps}
    most, least = max(saved, key=lambda b: saved[b]), min(saved, key=lambda b: saved[b])
    passes = mine.counters.passes / tokens[0], plain.counters.passes / tokens[1]
    verb = "pays" if factor > 1.005 else "loses" if factor < 0.995 else "changes nothing"
    text = (f"{result.key} {verb}: {factor:.2f} x plain decoding of {model.name} on one {gpu.title}, with "
            f"{passes[0]:.2f} passes a token instead of {passes[1]:.2f}")
    if saved[most] > 0:
        text += f"; most of what it saves is {_WORDS[most]} ({_us(saved[most])} a token)"
    if saved[least] < -0.005:
        text += f", most of what it costs is {_WORDS[least]} ({_us(-saved[least])})"
    rest = max(mine.bound_ps, key=lambda b: mine.bound_ps[b])
    return f"{text}; what is left is mostly {_WORDS[rest]} ({mine.bound_ps[rest] / max(1, mine.decode_ps):.0%})."


_WORDS = {"host": "the host's turn-around", "wait": "waiting", "launch": "kernel launches", "latency": "kernel latency",
          "flop": "arithmetic", "l2": "L2 traffic", "hbm": "HBM traffic"}


def _us(value: float | None) -> str:
    return "no time" if value is None else f"{value:.3g} us" if value < 1000 else f"{value:,.0f} us"
