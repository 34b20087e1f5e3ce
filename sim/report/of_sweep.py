"""The report of a sweep: how the gain lies along each axis, over pairs of them, and which points are best."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from markupsafe import Markup

from .bars import legend
from .inputs import numbers
from .page import Page, Section
from .scale import short, times, us
from .sweep_plots import gain_lines, heat, throughput, time_along
from .tables import Axis, Table
from .words import BOUND_NAMES

MOST_HEATS = 3
MOST_ROWS = 100


def sweep_page(table: Table) -> Page:
    """The page of a speedsim-sweep/1."""
    gain = table.column("gain.speedup")
    scenario = table.inputs["scenario"]
    varied = ", ".join(f"{axis.name} ({len(axis.texts)})" for axis in table.axes)
    fixed = " · ".join(str(scenario[key]) for key in ("gpu", "stack", "model", "schedule", "tier") if scenario.get(key))
    return Page(f"sweep over {', '.join(axis.name for axis in table.axes)}", _sentence(table, gain),
                f"{len(gain):,} points over {varied} · otherwise {fixed} · batch {scenario['batch']}",
                list(_cards(table, gain)), list(_sections(table)), list(_wary(table)), [],
                "predicted · " + " · ".join(f"{name} {told['hash'][:12]}" for name, told
                                            in table.inputs["descriptions"].items() if isinstance(told, dict)
                                            and "hash" in told))


def _varying(table: Table) -> list[Axis]:
    return [axis for axis in table.axes if len(axis.texts) > 1]


def _at(table: Table, row: int) -> str:
    return ", ".join(f"{axis.name}={axis.texts[axis.at[row]]}" for axis in table.axes)


def _sentence(table: Table, gain: Any) -> str:
    known = np.isfinite(gain)
    if not known.any():
        return "No point of this sweep has a gain."
    best, worst = int(np.nanargmax(gain)), int(np.nanargmin(gain))
    share = float((gain[known] > 1.005).mean())
    return (f"Speculation pays at {share:.0%} of {int(known.sum()):,} points: from {times(float(gain[worst]))} at "
            f"{_at(table, worst)} to {times(float(gain[best]))} at {_at(table, best)}.")


def _cards(table: Table, gain: Any) -> Iterator[tuple[str, str, str]]:
    if not np.isfinite(gain).any():
        return
    best = int(np.nanargmax(gain))
    low, high = (float(table.column(f"gain.{side}")[best]) for side in ("low", "high"))
    yield times(float(gain[best])), "best gain", _range(low, high)
    yield times(float(np.nanmedian(gain))), "median gain", ""
    time, whole = table.column("time_per_token_us"), table.column("tokens_per_s")
    yield us(float(np.nanmin(time))), "fastest token", _at(table, int(np.nanargmin(time)))
    yield short(float(np.nanmax(whole))), "most tokens/s", _at(table, int(np.nanargmax(whole)))
    refused = sum(said is not None for said in table.refused)
    if refused:
        yield f"{refused:,}", "points refused", "see the end of the page"


def _range(low: float, high: float) -> str:
    return f"{times(low)} to {times(high)} (90 %)" if math.isfinite(low) else ""


def _wary(table: Table) -> Iterator[str]:
    near = table.column("knee_share")
    count = int((near[np.isfinite(near)] > 0.02).sum())
    if count:
        yield (f"{count:,} points read near the knee of a two-sided L2, where the answer is hard to predict")
    for name, told in table.inputs["descriptions"].items():
        if not isinstance(told, dict) or "inputs" not in told:
            continue
        assumed = [number.key for number in numbers(told["inputs"]) if number.kind in ("assumed", "default")]
        if assumed:
            yield f"{name}: {len(assumed)} numbers are assumed: {', '.join(assumed[:5])}" + (
                f" and {len(assumed) - 5} more" if len(assumed) > 5 else "")
    yield "everything here is predicted; docs/accuracy.md says what has been judged against measurements"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_]+", "-", name.rpartition(".")[2].lower()).strip("-") or "axis"


def _sections(table: Table) -> Iterator[Section]:
    axes = _varying(table)
    for axis in axes:
        yield Section(f"by-{_slug(axis.name)}", f"The gain along {axis.name}", gain_lines(table, axis),
                      "Above the dashed line speculation pays. The dotted curve is the bound by passes: what the gain "
                      "would be if every pass took as long as one of plain decoding." + (
                          " The band is the 90 % range." if len(axes) == 1 else " Further axes: medians."))
    for number, (down, across) in enumerate(itertools.islice(itertools.combinations(axes, 2), MOST_HEATS)):
        wide, tall = (across, down) if len(across.texts) >= len(down.texts) else (down, across)
        yield Section(f"map-{number + 1}", f"{tall.name} against {wide.name}", heat(table, wide, tall),
                      "Blue gains, red loses; the heavy line is where speculation breaks even.")
    if axes:
        present = [bound for bound in BOUND_NAMES if np.nansum(table.column(f"time_by_bound_us.{bound}"))]
        yield Section("time", f"What a token waits for along {axes[0].name}",
                      legend(BOUND_NAMES, "b-", present) + time_along(table, axes[0]), "Means over the other axes.")
    yield Section("throughput", "One user's speed against the whole GPU's", throughput(table),
                  "Right is faster for one user, up is more for all; the line joins the points that nothing beats in "
                  "both. Blue points gain over plain decoding, red ones lose.")
    yield Section("points", "The points", _points(table), f"By gain; the first {MOST_ROWS}.")
    refused = sorted({said for said in table.refused if said is not None})
    if refused:
        told = Markup("").join(Markup("<li>{}</li>").format(said) for said in refused[:20])
        yield Section("refused", "Refused", Markup("<ul>{}</ul>").format(told))


def _points(table: Table) -> Markup:
    gain, columns = table.column("gain.speedup"), {name: table.column(name) for name in (
        "gain.low", "gain.high", "time_per_token_us", "tokens_per_s", "passes", "committed_tokens", "l2_hit_fraction")}
    order = [int(k) for k in np.argsort(-np.nan_to_num(gain, nan=-np.inf), kind="stable")[:MOST_ROWS]]
    head = [*(axis.name for axis in table.axes), "gain", "90 % range", "per token", "tokens/s", "passes a token",
            "L2 hits"]
    rows = []
    for k in order:
        if not math.isfinite(gain[k]):
            continue
        at = {name: float(column[k]) for name, column in columns.items()}
        tokens = max(1.0, at["committed_tokens"])
        hits = at["l2_hit_fraction"]
        rows.append([*(axis.texts[axis.at[k]] for axis in table.axes), times(float(gain[k])),
                     _range(at["gain.low"], at["gain.high"]).removesuffix(" (90 %)"),
                     us(at["time_per_token_us"]), short(at["tokens_per_s"]), short(at["passes"] / tokens),
                     f"{hits:.0%}" if math.isfinite(hits) else ""])
    cells = Markup("").join(Markup("<tr>{}</tr>").format(Markup("").join(
        Markup('<td class="num">{}</td>').format(cell) for cell in row)) for row in rows)
    names = Markup("").join(Markup('<th class="num">{}</th>').format(name) for name in head)
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(names, cells)
