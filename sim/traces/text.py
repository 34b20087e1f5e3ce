"""A trace's figures for the terminal: what a file holds, what it says about speculation, drawn in characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files import to_json
from ..trace import check, header, load, statistics
from .files import STEPS
from .steps import MEANINGS
from .steps import read as read_steps
from .steps import statistics as step_statistics

BAR = 40
"""Columns of the longest bar."""


def figures(path: Path, deed: str, as_json: bool) -> str:
    """What a file holds (`check`), or what it says about speculation (`stats`), as JSON or as text."""
    steps = header(path)["kind"] == STEPS
    if deed == "check":
        found = _checked_steps(path) if steps else check(path)
    else:
        found = step_statistics(read_steps(path)[0]) if steps else statistics(load(path))
    if as_json:
        return to_json(found)
    lines = [f"{key:<28} {short(value)}" for key, value in found.items()]
    if deed == "stats":
        lines += ["", *(_steps_plot(found) if steps else _exits_plot(found))]
    return "\n".join(lines)


def _checked_steps(path: Path) -> dict[str, Any]:
    trace, sealed = read_steps(path)
    return {
        "name": trace.name, "kind": STEPS, "model": trace.model, "draft_tokens": trace.draft_tokens,
        "meaning": MEANINGS[trace.meaning], "sequences": len(trace.sequences), "steps": trace.steps,
        "tokens": trace.tokens, "order": trace.source.get("order"), "sealed": sealed, "digest": trace.digest,
    }


def _exits_plot(found: dict[str, Any]) -> Iterator[str]:
    """Flip rates, the histogram of r, E[r] along the text and by kind of prompt."""
    flips = found["flip_rates"]
    yield from _bars("flips between exits (%)", [f"{a}-{b}" for a, b in (f["exits"] for f in flips)],
                     [100 * f["rate"] for f in flips])
    settled = found["settle_histogram"]
    yield from _bars("settle repetition r (% of tokens)", list(settled),
                     [100 * n / found["tokens"] for n in settled.values()])
    means, block = found["mean_settle_along"]["means"], found["mean_settle_along"]["positions_each"]
    thin = max(1, -(-len(means) // 16))
    yield from _bars("E[r] along the text, by tokens decoded", [f"{i * block}-" for i in range(0, len(means), thin)],
                     means[::thin])
    by_prompt = found["mean_settle_by_prompt"]
    yield from _bars("E[r] by kind of prompt", list(by_prompt), list(by_prompt.values()))


def _steps_plot(found: dict[str, Any]) -> Iterator[str]:
    """The histogram of accepted tokens, how far proposals stay right, acceptance length by kind of prompt."""
    counts = found["acceptance_histogram"]
    yield from _bars("accepted tokens (% of steps)", list(counts), [100 * n / found["steps"] for n in counts.values()])
    places = found["per_position"]
    yield from _bars("right up to place (% of steps)", [str(n) for n in range(1, len(places) + 1)],
                     [100 * p for p in places])
    by_prompt = found["acceptance_length_by_prompt"]
    yield from _bars("tokens a step by kind of prompt", list(by_prompt), list(by_prompt.values()))


def _bars(title: str, names: Sequence[str], values: Sequence[float]) -> Iterator[str]:
    """A line a value, the longest bar BAR columns wide; nothing where there is no value."""
    if not values:
        return
    most, width = max(*values, 1e-12), max(map(len, names))
    yield title
    for name, value in zip(names, values, strict=True):
        yield f"  {name:>{width}} {value:7.3g} {'#' * round(BAR * value / most)}".rstrip()


def short(value: Any) -> str:
    """A figure, or figures in figures, on one line."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {short(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(short(item) for item in value)
    return str(value)
