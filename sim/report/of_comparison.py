"""The report of a comparison: ways of decoding side by side, on every GPU, batch and context that was asked.

The tick beyond a dot is the bound of its text: tokens a verification or passes saved, were passes all that counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .frame import uprights
from .page import Page, Section
from .scale import Scale, short, times, us
from .svg import circle, line, picture, rect, tag, text
from .words import BOUND_NAMES

COMPARISON = "speedsim-comparison/1"
WIDTH, LEFT, STEP = 1080, 270, 34
MOST_PLACES = 24

Entries = Sequence[Mapping[str, Any]]


def comparison_page(document: Mapping[str, Any]) -> Page:
    """The page of a speedsim-comparison/1."""
    entries = document["entries"]
    ranked = [entry for entry in entries if entry["why_not"] is None]
    places = list(dict.fromkeys(_place(entry) for entry in entries))
    asked = " · ".join(str(document[key]) for key in ("stack", "model", "trace", "synth", "acceptance", "tier")
                       if document[key])
    return Page(f"ways of decoding {document['model']}", _sentence(ranked, document["model"]),
                f"{len({e['schedule'] for e in entries})} ways of decoding at {len(places)} "
                f"place{'s' if len(places) != 1 else ''} · {asked}", list(_cards(ranked)),
                list(_sections(entries, ranked, places, document)),
                [*document["notes"], "everything here is predicted; docs/accuracy.md says what has been judged against "
                                     "measurements"], [], "predicted")


def _place(entry: Mapping[str, Any]) -> str:
    where = "" if entry["context"] is None else f", context {entry['context']:,}"
    return f"{entry['gpu']}, batch {entry['batch']}{where}"


def _best(entries: Entries) -> Mapping[str, Any]:
    return max(entries, key=lambda entry: entry["speedup"] or 0)


def _sentence(ranked: Entries, model: str) -> str:
    if not ranked:
        return f"No way of decoding {model} could be ranked."
    first = [entry for entry in ranked if _place(entry) == _place(ranked[0])]
    best = _best(first)
    wins: dict[str, int] = {}
    places = list(dict.fromkeys(map(_place, ranked)))
    for place in places:
        name = _best([entry for entry in ranked if _place(entry) == place])["schedule"]
        wins[name] = wins.get(name, 0) + 1
    gain = times(best["speedup"] or 0)
    text_ = f"{best['schedule']} decodes {model} fastest on {_place(best)}: {gain} plain decoding"
    if len(places) > 1:
        told = ", ".join(f"{name} at {count}" for name, count in sorted(wins.items(), key=lambda w: -w[1]))
        text_ += f"; of {len(places)} places the fastest is {told}"
    ceiling = next((note for note in best["notes"] if "ceiling" in note), None)
    return f"{text_}." if ceiling is None else f"{text_} (it {ceiling})."


def _cards(ranked: Entries) -> Iterator[tuple[str, str, str]]:
    for entry in sorted(ranked, key=lambda e: -(e["speedup"] or 0))[:1]:
        yield times(entry["speedup"] or 0), "best gain", f"{entry['schedule']} on {_place(entry)}"
    paying = sum((entry["speedup"] or 0) > 1.005 for entry in ranked)
    rivals = sum(entry["schedule"] != "autoregressive" for entry in ranked)
    yield f"{paying} of {rivals}", "entries gain", "over plain decoding there"
    if ranked:
        fastest = min(ranked, key=lambda e: e["time_per_token_us"] or math.inf)
        yield us(fastest["time_per_token_us"]), "fastest token", f"{fastest['schedule']} on {_place(fastest)}"


def _sections(entries: Entries, ranked: Entries, places: Sequence[str], document: Mapping[str, Any]
              ) -> Iterator[Section]:
    if len(places) > 1 and ranked:
        yield Section("overview", "Who wins where", _overview(ranked, places),
                      "Gain over plain decoding of the same model at the same place. Blue gains, red loses; the ring "
                      "marks the fastest.")
    if document["turns"]:
        lines = Markup("").join(Markup("<li>{}</li>").format(turn) for turn in document["turns"])
        yield Section("turns", "Where the ranking turns", Markup("<ul>{}</ul>").format(lines))
    for number, place in enumerate(places[:MOST_PLACES]):
        here = [entry for entry in ranked if _place(entry) == place]
        if here:
            yield Section(f"place-{number + 1}", place, _ranking(here) + _table(here),
                          "Dot: gain over plain decoding. Bar: its 90 % range. Dotted tick: the bound of the text, "
                          "were passes all that counted. Bytes and kernels: plain decoding's a token over this one's."
                          if number == 0 else "")
    left_out = [(entry["schedule"], entry["why_not"]) for entry in entries if entry["why_not"] is not None]
    if left_out:
        lines = Markup("").join(Markup("<li><b>{}</b>: {}</li>").format(*pair) for pair in dict.fromkeys(left_out))
        yield Section("not-ranked", "Not ranked", Markup("<ul>{}</ul>").format(lines))


def _overview(ranked: Entries, places: Sequence[str]) -> Markup:
    names = list(dict.fromkeys(entry["schedule"] for entry in sorted(ranked, key=lambda e: -(e["speedup"] or 0))))
    at = {(entry["schedule"], _place(entry)): entry["speedup"] for entry in ranked}
    most = max([0.2, *(abs(math.log2(value)) for value in at.values() if value)])
    cell, tall, top = min(150.0, (WIDTH - LEFT - 20) / len(places)), 30, 90
    marks: list[object] = []
    for column, place in enumerate(places):
        x = LEFT + cell * (column + 0.5)
        marks.append(text(x - 4, top - 10, place, "tick", "start", -24))
        best = max(names, key=lambda name: at.get((name, place)) or 0)
        for row, name in enumerate(names):
            value = at.get((name, place))
            if not value:
                continue
            share = 12 + 88 * abs(math.log2(value)) / most
            colour = f"color-mix(in oklab, var(--{'good' if value >= 1 else 'bad'}) {share:.0f}%, var(--card))"
            ring = ";stroke:var(--ink);stroke-width:2" if name == best else ""
            marks.append(tag("rect", x=LEFT + cell * column + 1, y=float(top + tall * row + 1), width=cell - 3,
                             height=float(tall - 3), rx=3, style=f"fill:{colour}{ring}",
                             data_t=f"{name}\n{place}\n{times(value)}"))
            marks.append(text(x, top + tall * (row + 0.5) + 4, f"{value:.2f}",
                              "inheat dark" if share > 55 else "inheat", "middle"))
    marks += [text(LEFT - 12, top + tall * (row + 0.5) + 4, name, "name", "end") for row, name in enumerate(names)]
    return picture(LEFT + cell * len(places) + 90, top + tall * len(names) + 8, *marks, label="gain by place")


def _ranking(here: Entries) -> Markup:
    order = sorted(here, key=lambda entry: -(entry["speedup"] or 0))
    ends = [value for entry in order for value in (
        entry["speedup"], entry["bound"], (entry["interval"] or {}).get("high")) if value]
    x = Scale(0, max([1.3, *ends]) * 1.05, LEFT, WIDTH - 90)
    bottom = 24 + STEP * len(order)
    marks: list[object] = [rect(x(0), 20, x(1) - x(0), bottom - 20, "loss")]
    marks += uprights(x, 20, bottom, times)
    marks.append(line(x(1), 12, x(1), bottom, "even"))
    for place, entry in enumerate(order):
        y, value, range_ = 24 + STEP * (place + 0.5), entry["speedup"] or 0.0, entry["interval"]
        told = f"{entry['schedule']}\n{times(value)}, {us(entry['time_per_token_us'])} a token"
        end = value
        if range_:
            end = max(value, float(range_["high"]))
            told += f"\n90 % range {times(range_['low'])} to {times(range_['high'])}, basis: {range_['basis']}"
            marks.append(rect(x(range_["low"]), y - 5, x(range_["high"]) - x(range_["low"]), 10, "range", told, 5))
        if entry["bound"]:
            marks.append(line(x(entry["bound"]), y - 8, x(entry["bound"]), y + 8, "boundtick"))
        kind = "good" if value > 1.005 else "bad" if value < 0.995 else "total"
        marks += [circle(x(value), y, 6.5, f"dot {kind}", told),
                  text(LEFT - 14, y + 5, entry["schedule"], "name strong" if place == 0 else "name", "end"),
                  text(x(end) + 12, y + 5, times(value), "value")]
    return picture(WIDTH, bottom + 26, *marks, label="gain of each way of decoding")


COLUMNS = (
    ("per token", lambda e: us(e["time_per_token_us"])),
    ("tokens a verification", lambda e: short(e["acceptance_length"])),
    ("bytes asked", lambda e: _ratio(e["requested_bytes_ratio"])),
    ("bytes from HBM", lambda e: _ratio(e["hbm_bytes_ratio"])),
    ("kernels", lambda e: _ratio(e["kernels_ratio"])), ("rows a pass", lambda e: short(e["rows_per_pass"])),
    ("memory", lambda e: f"{e['memory']['needed_bytes'] / e['memory']['capacity_bytes']:.1%}"),
    ("waits for", lambda e: BOUND_NAMES.get(e["bound_by"], e["bound_by"])),
)
"""What a row of the table says beside the gain; ratios above 1 are savings over plain decoding."""


def _ratio(value: float | None) -> str:
    return "–" if value is None else times(value)


def _table(here: Entries) -> Markup:
    names = Markup("").join(Markup('<th class="num">{}</th>').format(name) for name, _ in COLUMNS)
    rows = Markup("").join(
        Markup("<tr><td>{}</td>{}</tr>").format(entry["schedule"], Markup("").join(
            Markup('<td class="num">{}</td>').format(shown(entry)) for _, shown in COLUMNS))
        for entry in sorted(here, key=lambda e: -(e["speedup"] or 0)))
    return Markup("<table><thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table>").format(names, rows)
