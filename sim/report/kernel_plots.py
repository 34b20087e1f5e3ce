"""Kernels: what each waits for over the whole run, and where it stands under the roofs of the GPU.

A roof is a rate that cannot be beaten: flop/s of the tensor cores, or bytes/s of a memory times the flop done per byte.
A kernel far below both roofs is bound by its own latency. Attention's bytes are those of contexts rounded to its block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from markupsafe import Markup

from ..timeline import BOUNDS
from .frame import levels, uprights
from .scale import Scale, short, si, us
from .svg import circle, line, path, picture, rect, text
from .words import BOUND_NAMES

WIDTH, LEFT, ROW = 1080, 225, 26


def kernel_bars(kernels: Mapping[str, Any], tokens: int) -> Markup:
    """Microseconds a token of every kernel, a segment a bound, largest first."""
    spent = {name: sum(total["time_by_bound_us"].values()) for name, total in kernels.items()}
    order = sorted(spent, key=lambda name: -spent[name])[:24]
    most = max(spent.values(), default=0) / tokens or 1
    x = Scale(0, most, LEFT, WIDTH - 190)
    bottom = 24 + ROW * len(order)
    marks: list[object] = []
    for value in x.ticks():
        marks += [line(x(value), 20, x(value), bottom, "grid"), text(x(value), 14, short(value), "tick", "middle")]
    marks.append(text(WIDTH - 186, 14, "µs a token", "tick"))
    for place, name in enumerate(order):
        total, y, at = kernels[name], 26 + ROW * place, 0.0
        told = _told(name, total, tokens)
        marks.append(text(LEFT - 10, y + 14, name, "name", "end"))
        for bound in BOUNDS:
            time = total["time_by_bound_us"].get(bound, 0) / tokens
            if time:
                marks.append(rect(x(at), y, x(at + time) - x(at), ROW - 7, f"seg b-{bound}", told))
                at += time
        marks.append(text(x(at) + 8, y + 14, f"{us(at)} · {short(total['launches'] / tokens)} launches", "tick"))
    return picture(WIDTH, bottom + 6, *marks, label="time of each kernel by what it waits for")


def _told(name: str, total: Mapping[str, Any], tokens: int) -> str:
    time, launches = sum(total["time_by_bound_us"].values()), max(1, total["launches"])
    parts = ", ".join(f"{BOUND_NAMES[b]} {us(t / launches)}" for b, t in total["time_by_bound_us"].items())
    return (f"{name} ({total['family']})\n{short(launches / tokens)} launches a token, {us(time / launches)} each\n"
            f"waits for {parts}\n{si(total['bytes_requested'] / launches, 'B')} asked, "
            f"{si(total['bytes_hbm'] / launches, 'B')} from HBM, {si(total['flop'] / launches, 'flop')}")


def roofline(document: Mapping[str, Any], run: str) -> Markup:
    """Every kernel with arithmetic as a dot: flop per byte asked, flop/s reached; larger dots took more time."""
    gpu, dtype = document["inputs"]["gpu"], document["inputs"]["model"]["dtype"]["activations"]
    peak = _number(gpu["sm"]["peak_flop_per_s"][_plain(dtype)])
    roofs = {"HBM": _number(gpu["hbm"]["bandwidth_bytes_per_s"]), "L2": _number(gpu["l2"]["bandwidth_bytes_per_s"])}
    dots = [(name, total) for name, total in document["kernels"][run].items()
            if total["flop"] and total["bytes_requested"]]
    at = [(total["flop"] / total["bytes_requested"], _rate(total)) for _, total in dots]
    width, left, top, bottom = 1080, 80, 20, 400
    low = min([0.5, *(i / 2 for i, _ in at)])
    x = Scale(low, max(2 * peak / roofs["HBM"], *(2 * i for i, _ in at), 10), left, width - 20, True)
    y = Scale(min([peak / 1e4, *(r / 3 for _, r in at)]), peak * 2, bottom, top, True)
    marks: list[object] = []
    marks += [*uprights(x, top, bottom), *levels(y, left, width - 20, lambda rate: si(rate, "flop/s"))]
    marks.append(text(width - 20, bottom + 36, "flop per byte asked of the L2", "tick", "end"))
    for name, rate in roofs.items():
        knee = peak / rate
        ends = [(max(low, y.low / rate), max(low * rate, y.low)), (knee, peak)]
        marks.append(path([(x(i), y(r)) for i, r in ends], f"roof roof-{name.lower()}"))
        middle = x((ends[0][0] * knee) ** 0.5)
        slope = (y(ends[1][1]) - y(ends[0][1])) / (x(ends[1][0]) - x(ends[0][0]))
        turn = _degrees(slope)
        mark_y = y((ends[0][1] * peak) ** 0.5) - 7
        marks.append(text(middle, mark_y, f"{name} {si(rate, 'B/s')}", "rooflabel", "middle", turn))
    marks += [path([(x(peak / roofs["L2"]), y(peak)), (width - 20, y(peak))], "roof"),
              text(width - 24, y(peak) - 7, f"{_plain(dtype)} {si(peak, 'flop/s')}", "rooflabel", "end")]
    names: list[tuple[float, float, str]] = []
    longest = max((_time(total) for _, total in dots), default=1) or 1
    for (name, total), (intensity, rate) in sorted(zip(dots, at, strict=True), key=lambda dot: -_time(dot[0][1])):
        bound = max(total["time_by_bound_us"], key=lambda b: total["time_by_bound_us"][b])
        size = 4 + 14 * (_time(total) / longest) ** 0.5
        roof = min(peak, intensity * roofs["L2"])
        tokens = max(1, document["schedules"][run]["committed_tokens"])
        told = (f"{_told(name, total, tokens)}\n{short(intensity)} flop a byte, {si(rate, 'flop/s')}: "
                f"{rate / roof:.1%} of the roof above it")
        marks.append(circle(x(intensity), y(rate), size, f"kernel b-{bound}", told))
        names.append((y(rate), x(intensity) + size + 7, name))
    marks += _apart(names)
    return picture(width, bottom + 44, *marks, label="roofline with every kernel")


def _apart(names: Iterable[tuple[float, float, str]]) -> Iterator[Markup]:
    """Names beside their dots, moved down where they would cover each other."""
    below = -math.inf
    for y, x, name in sorted(names):
        below = max(y + 4, below + 14)
        yield text(x, below, name, "tick")


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def _time(total: Mapping[str, Any]) -> float:
    return float(sum(total["time_by_bound_us"].values()))


def _rate(total: Mapping[str, Any]) -> float:
    return float(total["flop"] / _time(total) * 1e6) if _time(total) else 1.0


def _plain(leaf: Any) -> Any:
    """The value of an input, with or without its kind."""
    return leaf["value"] if isinstance(leaf, dict) else leaf


def _number(leaf: Any) -> float:
    return float(_plain(leaf))
