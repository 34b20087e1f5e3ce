"""What a run holds in the GPU's memory at its longest, and whether it fits.

    weights    of the target and of further models that do not share them
    kv         keys and values of every layer instance, every sequence at its longest, in whole pages
    rows       the same of the tokens in flight at the widest pass: live ones and those about to be squashed
    graphs     captured graphs, one for each width and model
    runtime    the CUDA context and the framework's own

Ignored: activations, a prompt's workspace, and the encoder's keys and values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .units import human

if TYPE_CHECKING:
    from .scenario import Resolved
    from .timeline import Timeline


def memory(side: Resolved, line: Timeline) -> dict[str, Any]:
    """Bytes needed in all and by part, what the GPU has, and whether they fit."""
    stack, count = side.stack.value.memory, line.counters
    places = min(side.scenario.batch, len(side.trace.sequences))
    longest = max((s.first + s.count for s in side.trace.sequences), default=0)
    widest = max(count.rows_per_pass, default=0)
    own = [further.model.value for further in side.further.values() if not further.shares]
    models = [side.model.value, *own]
    position = sum(model.layers * model.kv_bytes for model in models)
    pages = {model: -(-min(longest, model.window or longest) // stack.page) * stack.page for model in models}
    widths = side.stack.value.widths
    captured = len(count.rows_per_pass if widths is None else widths) if side.launch.startswith("graph") else 0
    parts = {
        "weights": sum(model.total_bytes + model.encoder_bytes for model in models),
        "kv": places * sum(pages[model] * model.layers * model.kv_bytes for model in models),
        "rows": widest * position,
        "graphs": captured * (1 + len(side.further)) * stack.graph_bytes,
        "runtime": stack.runtime_bytes,
    }
    needed, capacity = sum(parts.values()), side.gpu.value.hbm.capacity_bytes
    return {"needed_bytes": needed, "capacity_bytes": capacity, "fits": needed <= capacity, "parts_bytes": parts}


def refusal(side: Resolved, held: dict[str, Any]) -> str | None:
    """What is too large, in words; None where it fits."""
    if held["fits"]:
        return None
    most = max(held["parts_bytes"], key=lambda part: held["parts_bytes"][part])
    return (f"needs {human(held['needed_bytes'], '_bytes')} of memory (most of it {most}), {side.gpu.value.name} has "
            f"{human(held['capacity_bytes'], '_bytes')}: it does not fit")
