"""What an answer about a GPU, a stack and a model would stand on: numbers by kind, fitted children, text, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..catalog import load_model, traces_of
from ..config import Loaded, resolved
from ..hardware import Gpu
from ..model import Model
from ..registry import names
from ..scenario import Scenario, resolve
from ..stack import LAUNCHES, Stack
from ..units import InputError, NotCoveredError
from .inputs import KINDS, numbers

DOUBTFUL = ("assumed", "default", "recalled")
"""Kinds that nobody looked up."""
LAUNCH_NUMBERS = {"graph+pdl": "pdl_gap_ps", "persistent": "barrier_ps", "graph": "node_gap_ps"}
"""The number of a GPU's launch block without which a mode is refused."""


def kinds_of(loaded: Loaded[Any]) -> Iterator[str]:
    """How many numbers are of which kind, and every one that nobody looked up."""
    found = [number for number in numbers(resolved(loaded)) if number.kind]
    counts = {kind: sum(number.kind == kind for number in found) for kind in KINDS}
    yield ", ".join(f"{kind} {n}" for kind, n in counts.items() if n) or "no numbers"
    for kind in DOUBTFUL:
        for number in found:
            if number.kind == kind:
                yield f"  {kind:<8} {number.key} = {number.shown}"


def children(kind: str, name: str) -> list[str]:
    """Fitted children of a GPU or stack."""
    return [found for found in names(kind) if found.startswith(f"{name}@")]


def support(gpu: Loaded[Gpu], stack: Loaded[Stack], model: str) -> tuple[list[str], bool]:
    """(lines, whether a run is possible): what covers each part, what is approximated, what is refused."""
    described = load_model(model)
    lines = [f"gpu    {gpu.value.name}: {next(kinds_of(gpu))}", *_fitted("gpus", gpu.value.name),
             *_types(gpu.value, described.value)]
    lines += [f"stack  {stack.value.name}: {next(kinds_of(stack))}", *_fitted("stacks", stack.value.name),
              *_launches(gpu.value, stack.value)]
    lines += [f"model  {described.value.name}: {next(kinds_of(described))}"]
    text, synth = _text(described.value, model)
    lines.append(text)
    lines += _memory(gpu.value, described.value)
    runs = list(_schedules(gpu.value.name, stack.value.name, model, synth))
    notes = dict.fromkeys(note for _, _, noted in runs for note in noted if "synthetic" not in note)
    lines += [*(line for line, _, _ in runs), *(f"note   {note}" for note in notes)]
    return lines, any(good for _, good, _ in runs)


def _fitted(kind: str, name: str) -> Iterator[str]:
    found = children(kind, name)
    yield f"       fitted: {', '.join(found)}" if found else "       fitted: nothing; its numbers are as described"


def _types(gpu: Gpu, model: Model) -> Iterator[str]:
    wanted = model.dtype.activations
    if wanted in gpu.sm.peak_flop_per_s:
        yield f"       multiplies {wanted}"
    else:
        yield f"       does not multiply {wanted}; it has {', '.join(gpu.sm.peak_flop_per_s)}"


def _launches(gpu: Gpu, stack: Stack) -> Iterator[str]:
    refused = [mode for mode, number in LAUNCH_NUMBERS.items() if getattr(gpu.launch, number) is None]
    yield f"       launch {stack.launch}; also {', '.join(m for m in LAUNCHES if m not in (*refused, stack.launch))}"
    if refused:
        yield f"       refused for want of a number: launch {', '.join(refused)}"


def _text(model: Model, asked: str) -> tuple[str, str | None]:
    """(line, synthetic text to try with where none is recorded)."""
    if model.default_trace is not None:
        from ..registry import find
        from ..trace import header

        origin = header(find("traces", model.default_trace))["model"]
        word = "recorded from it" if origin == model.name else f"transferred: recorded from {origin}"
        return f"text   {model.default_trace}, {word}", None
    fitting = traces_of(model.repetitions)
    if fitting:
        return f"text   none of its own; fitting: {', '.join(fitting)} (transferred)", _never(model)
    return "text   none; give --trace FILE, or --synth flips=...", _never(model)


def _never(model: Model) -> str:
    flips = "+".join(["0.1"] * (model.repetitions - 1))
    return f"flips={flips},count=64" if flips else "count=64"


def _memory(gpu: Gpu, model: Model) -> Iterator[str]:
    share = model.total_bytes / gpu.hbm.capacity_bytes
    yield f"memory weights fill {share:.1%} of the GPU" + ("" if share <= 1 else ": does not fit")


def _schedules(gpu: str, stack: str, model: str, synth: str | None) -> Iterator[tuple[str, bool, tuple[str, ...]]]:
    """(line, whether it can run, what a run would note) of every schedule."""
    for schedule in names("schedules"):
        said: list[str] = []
        notes: tuple[str, ...] = ()
        reason = ""
        for control in ("host", "lagged:2", "device"):
            try:
                asked = Scenario(gpu=gpu, stack=stack, model=model, synth=synth, schedule=schedule, control=control)
                notes = resolve(asked).notes
                said.append(control)
            except (InputError, NotCoveredError) as error:
                reason = str(error).partition(": ")[2] or str(error)
        able = f"control {', '.join(said)}" if said else f"refused: {reason}"
        yield f"run    {schedule}: {able}", bool(said), notes
