"""A comparison as one HTML file: headline, scores beside nulls, every point in a plot of predicted against measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from .statistics import NULLS

SIZE, EDGE = 460, 44
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart."""
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}
td:first-child,th:first-child{text-align:left}.bad{color:#b00020;font-weight:600}svg{max-width:100%}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#161616}td,th{border-color:#444}
svg text{fill:#ddd}svg .axis{stroke:#777}}
"""


def page(found: Mapping[str, Any]) -> str:
    """The page; whatever comes from files is escaped."""
    parts = [f"<h1>{escape(found['gpu']['name'])}: predicted against measured</h1>",
             f"<p><b>{escape(found['headline'])}</b></p>",
             f"<p>{escape(found['stack']['name'])}; measured on {escape(found['measured_on'])}, "
             f"{escape(found['began'])}; predictions committed {escape(str(found['predictions_committed']))}.</p>"]
    parts += [f"<p class=bad>broken: {escape(one)}</p>" for one in found["broken"]]
    parts += [_scatter(found["points"]), "<h2>Rungs</h2>", _scores(found["rungs"]), "<h2>Regimes</h2>",
              _scores(found["regimes"])]
    if found["speedups"]:
        parts += ["<h2>Speed-ups</h2>", _speedups(found["speedups"])]
    title = f"{escape(found['gpu']['name'])}: comparison"
    return (f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
            f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")


def _scores(group: Mapping[str, Any]) -> str:
    head = ("", "points", "MAPE %", "90 %", "bias %", "p95 %", "inside 90 %", *NULLS)
    rows = []
    for name, one in group.items():
        nulls = ["-" if not s else f"{s['mape']:.1f}" for s in one["nulls"].values()]
        rows.append([name, str(one["points"]), f"{one['mape']:.1f}", f"{one['mape_low']:.1f} to {one['mape_high']:.1f}",
                     f"{one['bias']:+.1f}", f"{one['p95']:.1f}", f"{one['coverage']:.0f} %", *nulls])
    return _table(head, rows)


def _speedups(pairs: list[dict[str, Any]]) -> str:
    head = ("pair", "predicted", "measured", "error %", "plain's error %", "schedule's error %")
    return _table(head, [[" ".join(str(v) for v in one["keys"].values()), f"{one['predicted']:.3f}",
                          f"{one['measured']:.3f}", f"{one['error']:+.1f}", f"{one['numerator_error']:+.1f}",
                          f"{one['denominator_error']:+.1f}"] for one in pairs])


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"


def _scatter(points: list[dict[str, Any]]) -> str:
    """Predicted against measured, both logarithmic, one colour a table; full marks are held out."""
    values = [v for p in points for v in (p["predicted_us"], p["measured_us"]) if v > 0]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    inner = SIZE - 2 * EDGE

    def at(value: float) -> float:
        return (math.log10(value) - low) / max(1, high - low) * inner

    marks = []
    for power in range(low, high + 1):
        where = at(10.0**power)
        marks.append(f'<text x="{EDGE + where:.1f}" y="{SIZE - EDGE + 18}" text-anchor="middle" font-size="11">'
                     f'{10.0**power:g}</text><text x="{EDGE - 6}" y="{SIZE - EDGE - where + 4:.1f}" text-anchor="end" '
                     f'font-size="11">{10.0**power:g}</text>')
    marks.append(f'<line class="axis" x1="{EDGE}" y1="{SIZE - EDGE}" x2="{SIZE - EDGE}" y2="{EDGE}" stroke="#999"/>')
    names = list(dict.fromkeys(p["table"] for p in points))
    for p in points:
        if p["predicted_us"] <= 0 or p["measured_us"] <= 0:
            continue
        colour = COLOURS[names.index(p["table"]) % len(COLOURS)]
        fill = colour if p["held_out"] else "none"
        told = f"{p['table']} {p['keys']}: {p['predicted_us']:.4g} us predicted, {p['measured_us']:.4g} us measured"
        marks.append(f'<circle cx="{EDGE + at(p["measured_us"]):.1f}" cy="{SIZE - EDGE - at(p["predicted_us"]):.1f}" '
                     f'r="3" stroke="{colour}" fill="{fill}"><title>{escape(told)}</title></circle>')
    legend = "".join(f'<text x="{EDGE + 8}" y="{EDGE + 14 * i}" font-size="12" fill="{COLOURS[i % len(COLOURS)]}">'
                     f'{escape(name)}</text>' for i, name in enumerate(names))
    return (f'<svg viewBox="0 0 {SIZE} {SIZE}" width="{SIZE}" role="img" aria-label="predicted against measured">'
            f'{"".join(marks)}{legend}<text x="{SIZE / 2}" y="{SIZE - 6}" text-anchor="middle" font-size="12">'
            f'measured us</text><text x="12" y="{SIZE / 2}" transform="rotate(-90 12 {SIZE / 2})" text-anchor="middle" '
            f'font-size="12">predicted us</text></svg>')
