"""Answers and descriptions as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .units import InputError

if TYPE_CHECKING:
    from .result import Answer
    from .scenario import Resolved
    from .timeline import Timeline

BAR = 28
"""Columns of the widest bar."""


def table(result: Answer) -> str:
    """The answer for the screen: what was asked, the schedule beside its rivals, the gain and its cause."""
    from .intervals import intervals
    from .result import notes, sentence

    mine, scenario = result.resolved, result.resolved.scenario
    trace = mine.trace
    lines = [
        f"{mine.gpu.value.title}, {mine.stack.value.name} (launch {mine.launch}, control {mine.control}), "
        f"{mine.model.value.name}, batch {scenario.batch}, tier {scenario.tier}: predicted",
        f"text: {trace.name}, {len(trace.sequences)} sequences, "
        f"{sum(s.count for s in trace.sequences):,} tokens, first at position {trace.sequences[0].first}",
        "",
    ]
    ranges = intervals(result)
    head = ("", "us/token", "tokens/s", "passes", "rows", "kernels", "MB asked", "MB HBM", "gain")
    rows = [head, *(_row(result, key, side, line, ranges) for key, (side, line) in result.runs.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)).rstrip())
    lines += ["", "time by what it waits for (us a token)", *_bars(result), "", sentence(result)]
    ends = result.knee
    if ends:
        early, late = ends["early"], ends["late"]
        lines.append(f"note: {ends['share']:.0%} of the bytes are read near the knee of the two-sided L2, hard to "
                     f"predict: the gain is {early['speedup']:.2f} x if its plateau ends at {early['plateau']} of the "
                     f"capacity, {late['speedup']:.2f} x at {late['plateau']}")
    lines += [f"note: {note}" for note in notes(result)]
    others = result.transfer
    if others:
        shown = ", ".join(f"{gain:.2f} x on {name}" for name, gain in others["traces"].items())
        lines.append(f"note: over the shipped traces of {mine.model.value.repetitions} repetitions the gain is "
                     f"{others['low']:.2f} to {others['high']:.2f} x: {shown}")
    return "\n".join(lines)


def _row(result: Answer, key: str, side: Resolved, line: Timeline, ranges: dict[str, Any]) -> tuple[str, ...]:
    """One run of the table; passes, rows, kernels and bytes are per token, bytes of weights and head only."""
    from .metrics import speedup

    count = line.counters
    tokens = max(1, count.committed_tokens)
    over = "" if key == result.key else f"{speedup(result.timeline(result.key), line) or 0:.2f} x"
    interval = ranges.get(f"gain_over.{key}")
    if interval:
        over += f" ({interval['low']:.2f} to {interval['high']:.2f})"
    per_token = sum(d.end_ps - d.start_ps for d in line.decodes) / tokens / 1e6
    seconds = line.decode_ps / 1e12
    return (
        key, f"{per_token:.1f}", f"{count.committed_tokens / seconds if seconds else 0:,.0f}",
        f"{count.passes / tokens:.2f}", f"{count.row_passes / max(1, count.passes):.2f}",
        f"{count.kernels / tokens:.0f}", *(
            f"{(which['weights'] + which['head']) / tokens / 1e6:.1f}"
            for which in (count.requested_bytes, count.hbm_bytes)
        ), over,
    )


def _bars(result: Answer) -> Iterator[str]:
    """Time per token of every run, one bar a bound."""
    runs = {key: line for key, (_, line) in result.runs.items()}
    most = max(line.decode_ps / max(1, line.counters.committed_tokens) for line in runs.values()) or 1
    for key, line in runs.items():
        parts = {bound: time / max(1, line.counters.committed_tokens) for bound, time in line.bound_ps.items() if time}
        yield f"  {key}"
        for bound, time in sorted(parts.items(), key=lambda pair: -pair[1]):
            yield f"    {bound:<8}{time / 1e6:9.2f} {'#' * round(BAR * time / most)}".rstrip()


def listing(what: str) -> Iterator[str]:
    """Names of one kind with a title each; of a file that cannot be read, why."""
    from .registry import names

    all_names = names(what)
    width = max((len(name) for name in all_names), default=0)
    for name in all_names:
        try:
            title = _title(what, name)
        except InputError as error:
            title = f"cannot be read: {str(error).splitlines()[0]}"
        yield f"{name:<{width}}  {title}"


def _title(what: str, name: str) -> str:
    from .catalog import load_acceptance, load_gpu, load_model, load_stack
    from .registry import find, schedule

    if what == "schedules":
        return (schedule(name).__doc__ or "").strip().split("\n")[0]
    if what == "traces":
        from .trace import header

        head = header(find("traces", name))
        steps = f"steps of {head.get('draft_tokens')} proposed tokens"
        held = steps if head["kind"] == "steps" else f"{head['repetitions']} repetitions"
        return f"recorded from {head['model']}, {held}"
    load: Any = {"gpus": load_gpu, "stacks": load_stack, "models": load_model,
                 "acceptance": load_acceptance}[what]
    title: str = load(name).value.title
    return title


def description(what: str, name: str, as_json: bool) -> str:
    """One description: every number with its kind and source."""
    from .files import to_json

    if what == "trace":
        from .registry import find
        from .traces.text import figures

        return figures(find("traces", name), "stats", as_json)
    from .catalog import load_gpu, load_model, load_stack
    from .config import resolved
    from .traces.text import short
    from .units import human, stem_of, suffix_of

    load: Any = {"gpu": load_gpu, "stack": load_stack, "model": load_model}[what]
    loaded = load(name)
    document = resolved(loaded)
    if as_json:
        return to_json(document)
    counts: dict[str, int] = {}
    lines = [f"{loaded.value.name}: {loaded.value.title}", ""]
    for key, leaf in _leaves(document):
        if isinstance(leaf, dict):
            counts[leaf["kind"]] = counts.get(leaf["kind"], 0) + 1
            shown = human(leaf["value"], key) if suffix_of(key) and leaf["value"] is not None else short(leaf["value"])
            lines.append(f"{stem_of(key):<28} {shown:<24} {leaf['kind']:<10} {leaf.get('source') or ''}".rstrip())
        elif leaf is not None:
            lines.append(f"{key:<28} {leaf!s}")
    lines += ["", "numbers by kind: " + ", ".join(f"{kind} {n}" for kind, n in sorted(counts.items()))]
    return "\n".join(lines)


def _leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, leaf) pairs; a leaf is a plain value, or a number with its kind."""
    for key, value in node.items():
        if isinstance(value, dict) and not {"value", "kind"} <= value.keys():
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
