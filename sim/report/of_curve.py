"""The report of a curve: what one user gets against what the GPU gives, as more are served at a time.

Along a line the number of sequences grows: each user waits longer, the GPU gives more. A schedule helps where its line
lies above and to the right of plain decoding's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from .frame import levels, uprights
from .page import Page, Section
from .scale import Scale, short, times, us
from .svg import line, picture, rect, tag, text
from .sweep_plots import around

CURVE = "speedsim-curve/1"
WIDTH, LEFT, RIGHT = 1080, 80, 190
TOP, BOTTOM = 24, 360

Points = Sequence[Mapping[str, Any]]


def curve_page(document: Mapping[str, Any]) -> Page:
    """The page of a speedsim-curve/1."""
    points = [point for point in document["points"] if point["tokens_per_s"] and point["tokens_per_s_user"]]
    best = max(points, key=lambda p: p["tokens_per_s"])
    fastest = max(points, key=lambda p: p["tokens_per_s_user"])
    user, whole = short(fastest["tokens_per_s_user"]), short(best["tokens_per_s"])
    sentence = (f"One user gets up to {user} tokens a second ({fastest['schedule']}, batch {fastest['batch']}); the "
                f"GPU gives up to {whole} ({best['schedule']}, batch {best['batch']}).")
    cards = [(user, "tokens/s for one user", f"{fastest['schedule']}, batch {fastest['batch']}"),
             (whole, "tokens/s in all", f"{best['schedule']}, batch {best['batch']}")]
    missed = sum(not point["meets_slo"] for point in points)
    if missed:
        cards.append((f"{missed} of {len(points)}", "points miss the promise", "hollow dots"))
    names = ", ".join(dict.fromkeys(str(point["schedule"]) for point in points))
    return Page("tokens for one user against tokens in all", sentence, names, cards, list(_sections(points)),
                ["everything here is predicted; docs/accuracy.md says what has been judged against measurements"], [],
                "predicted")


def _sections(points: Points) -> Iterator[Section]:
    yield Section("throughput", "One user's speed against the whole GPU's", _throughput(points),
                  "Numbers are sequences at a time. A ring marks a point that no other beats in both; hollow dots miss "
                  "the promised time a token.")
    yield Section("gain", "The gain as more are served", _gain(points),
                  "Over plain decoding at the same number of sequences. The band is the 90 % range.")


def _lines(points: Points) -> list[tuple[str, str, Points]]:
    names = list(dict.fromkeys(str(point["schedule"]) for point in points))
    return [(name, f"var(--c{number % 6})", [p for p in points if p["schedule"] == name])
            for number, name in enumerate(names)]


def _throughput(points: Points) -> Markup:
    x = around([p["tokens_per_s_user"] for p in points], LEFT, WIDTH - RIGHT)
    y = around([p["tokens_per_s"] for p in points], BOTTOM, TOP)
    marks: list[object] = []
    marks += [*uprights(x, TOP, BOTTOM), *levels(y, LEFT, WIDTH - RIGHT)]
    for number, (name, colour, own) in enumerate(_lines(points)):
        through = "L".join(f"{x(p['tokens_per_s_user']):.1f} {y(p['tokens_per_s']):.1f}" for p in own)
        marks.append(tag("path", d=f"M{through}", class_="curve", style=f"stroke:{colour}"))
        for p in own:
            at = x(p["tokens_per_s_user"]), y(p["tokens_per_s"])
            told = (f"{name}, batch {p['batch']}\n{short(p['tokens_per_s_user'])} tokens/s a user, "
                    f"{short(p['tokens_per_s'])} in all\n{us(p['time_per_token_us'])} a token, gain {times(p['gain'])}")
            ring = "stroke:var(--ink);stroke-width:2" if p["pareto"] else f"stroke:{colour};stroke-width:2"
            fill = colour if p["meets_slo"] else "var(--card)"
            marks += [tag("circle", cx=at[0], cy=at[1], r=6, style=f"fill:{fill};{ring}", data_t=told),
                      text(at[0] + 10, at[1] + 4, p["batch"], "tick")]
        marks.append(_key(name, colour, number))
    marks += [text(WIDTH - RIGHT, BOTTOM + 38, "tokens a second, one user", "name", "end"),
              text(LEFT - 60, 12, "tokens a second, whole GPU", "name")]
    return picture(WIDTH, BOTTOM + 46, *marks, label="throughput against speed of one user")


def _key(name: str, colour: str, number: int) -> Markup:
    y = TOP + 20 * number
    return tag("g", tag("rect", x=WIDTH - RIGHT + 20, y=y - 9, width=12, height=12, rx=3, style=f"fill:{colour}"),
               text(WIDTH - RIGHT + 38, y + 2, name, "name"))


def _gain(points: Points) -> Markup:
    batches = sorted({int(point["batch"]) for point in points})
    x = Scale(batches[0], max(batches[-1], batches[0] + 1), LEFT, WIDTH - RIGHT, True)
    top = max([1.2, *(p["high"] or p["gain"] or 0 for p in points)]) * 1.05
    y = Scale(0, top, BOTTOM - 80, TOP)
    marks: list[object] = [rect(LEFT, y(1), WIDTH - RIGHT - LEFT, y(0) - y(1), "loss")]
    marks += levels(y, LEFT, WIDTH - RIGHT, times, 5)
    marks += [text(x(batch), y(0) + 18, batch, "tick", "middle") for batch in batches]
    marks.append(line(LEFT, y(1), WIDTH - RIGHT, y(1), "even"))
    for number, (name, colour, own) in enumerate(_lines(points)):
        known = [p for p in own if p["gain"] and math.isfinite(p["gain"])]
        if name == "autoregressive" or not known:
            continue
        band = [p for p in known if p["low"] and p["high"]]
        edge = [(x(p["batch"]), y(p["high"])) for p in band] + [(x(p["batch"]), y(p["low"])) for p in band[::-1]]
        marks += [tag("path", d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in edge) + "Z",
                      style=f"fill:{colour};opacity:.18") if edge else "",
                  tag("path", d="M" + "L".join(f"{x(p['batch']):.1f} {y(p['gain']):.1f}" for p in known),
                      class_="curve", style=f"stroke:{colour}")]
        marks += [tag("circle", cx=x(p["batch"]), cy=y(p["gain"]), r=4.5, style=f"fill:{colour}",
                      data_t=f"{name}, batch {p['batch']}\n{times(p['gain'])}") for p in known]
        marks.append(_key(name, colour, number))
    marks.append(text((LEFT + WIDTH - RIGHT) / 2, y(0) + 38, "sequences at a time", "name", "middle"))
    return picture(WIDTH, BOTTOM - 36, *marks, label="gain against sequences at a time")
