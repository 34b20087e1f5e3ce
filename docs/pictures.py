"""The pictures of the concepts page, each drawn from a run of this version: standalone SVG by name.

The report's own plots are used, with its style inside, so a picture here and in a report cannot say different things.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from speedsim.catalog import load_gpu
from speedsim.report import page
from speedsim.report.bars import time_bars, traffic_bars, waterfall
from speedsim.report.kernel_plots import roofline
from speedsim.report.scale import Scale, short, us
from speedsim.report.svg import line, path, picture, rect, text
from speedsim.report.sweep_plots import gain_lines
from speedsim.report.tables import sweep as read_sweep
from speedsim.result import answer, document
from speedsim.scenario import Scenario
from speedsim.sweeps.engines import serial
from speedsim.sweeps.run import planned, run_in
from speedsim.trace import statistics

TOKENS = 300
LAUNCHES = ("graph", "eager", "persistent")


def pictures() -> dict[str, str]:
    """SVG texts by file name."""
    told = document(answer(Scenario(tokens=TOKENS)))
    found = {
        "time": time_bars(told), "bytes": traffic_bars(told), "roofline": roofline(told, "speed"),
        "waterfall": waterfall(told, "speed", "autoregressive@speed_2x6"), "hit_curve": hit_curve(), "depth": depth(),
    }
    for launch in LAUNCHES:
        found[f"strip_{launch}"] = strip(launch)
    return {name: standalone(svg) for name, svg in found.items()}


def standalone(svg: Markup) -> str:
    """The picture with the report's style inside, on a white ground."""
    whole = page.source("style.css")
    rules = re.findall(r"^(?:svg [^\n]*|\.[bt]-[^\n]*|:root \{ --c0[^\n]*)$", whole, re.MULTILINE)
    ground = "svg { font: 13px system-ui, sans-serif; background: #fff; }"
    style = "\n".join([whole.split("[data-theme", 1)[0], *rules, ground])
    head, body = str(svg).split(">", 1)
    head = re.sub(r' style="[^"]*"', "", head)
    return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{body}\n'


def strip(launch: str, passes: int = 2) -> Markup:
    """A few passes of the default run on a time axis: the host, the launch path, the SMs."""
    run = answer(Scenario(tokens=1, launch=launch, record="kernels"))
    timeline = run.timeline(run.key)
    first, stop = timeline.occurrence_ps[4], timeline.occurrence_ps[4 + passes]
    begin, end = (first - 30_000_000) / 1e6, stop / 1e6
    width, left, row = 1080, 90, 30
    x = Scale(0, end - begin, left, width - 20)
    marks: list[Any] = [text(8, 16, f"launch {launch}: {passes} passes in {us((stop - first) / 1e6)}", "name strong")]
    tracks = {"host": 1, "launch": 2, "sm": 3}
    for name, place in tracks.items():
        marks.append(text(left - 10, 20 + row * place, {"sm": "SMs"}.get(name, name), "name", "end"))
    spans = [(s.track, s.name, s.start_ps, s.duration_ps, s.bound) for s in timeline.waits]
    spans += [("sm", s.name, s.start_ps, s.duration_ps, s.bound) for _, s in timeline.expand(3, 5 + passes)]
    for track, _, start, duration, bound in spans:
        low, high = max(start / 1e6, begin), min((start + duration) / 1e6, end)
        if high > low and track in tracks:
            y, wide = 5 + row * tracks[track], max(0.8, x(high) - x(low))
            marks.append(rect(x(low - begin), y, wide, row - 8, f"b-{bound}"))
    for value in x.ticks(8):
        marks += [line(x(value), 30, x(value), 24 + row * 3, "grid"),
                  text(x(value), 42 + row * 3, f"{short(value)} µs", "tick", "middle")]
    return picture(width, 50 + row * 3, *marks, label=f"passes under launch {launch}")


def hit_curve(gpu: str = "h200_sxm") -> Markup:
    """The fraction of a tensor that a read finds, against what was touched since."""
    cache = load_gpu(gpu).value.l2
    width, left, top, bottom = 760, 70, 20, 240
    x, y = Scale(0, 1.6, left, width - 20), Scale(0, 1.05, bottom, top)
    marks: list[Any] = []
    if cache.knee is not None:
        low, high = cache.knee
        marks += [rect(x(low), top, x(high) - x(low), bottom - top, "loss"),
                  text((x(low) + x(high)) / 2, bottom - 10, "knee", "tick", "middle")]
    for value in y.ticks(5):
        marks += [line(left, y(value), width - 20, y(value), "grid"),
                  text(left - 8, y(value) + 4, f"{value:.0%}", "tick", "end")]
    marks += [text(x(value), bottom + 18, short(value), "tick", "middle") for value in x.ticks(8)]
    marks += [path([(x(min(a, 1.6)), y(b)) for a, b in cache.hit_curve], "roof"),
              text(width - 20, bottom + 38, f"touched since, in capacities of the {gpu}", "name", "end"),
              text(left - 50, 12, "found", "tick")]
    return picture(width, bottom + 46, *marks, label="hit fraction against reuse distance")


def depth() -> Markup:
    """The gain against the most tokens in flight, from a sweep."""
    with tempfile.TemporaryDirectory() as folder:
        plan = planned({"schedule.max_in_flight": [1, 2, 3, 4, 5, 6]}, Scenario(tokens=TOKENS), [])
        run_in(Path(folder), plan, serial, None)
        table = read_sweep(Path(folder))
    return gain_lines(table, table.axes[0])


def ablations() -> str:
    """What each mechanism is worth in the default question, as a Markdown table."""
    base = answer(Scenario(tokens=TOKENS))
    rows = [f"| as predicted | | | | {_time(base)} | {base.speedup:.2f} x |"]
    rates = [f"{flip['rate']:.4f}" for flip in statistics(base.resolved.trace)["flip_rates"]]
    flips = f"flips={'+'.join(rates)},count=256,sequences=8"
    order = ("the order of right and wrong guesses", "independent flips of the same rates", "the recorded text",
             {"synth": flips, "tokens": None}, "--synth flips=...")
    for mechanism, equation, source, changed, how in (*MECHANISMS, order):
        other = answer(Scenario(**{"tokens": TOKENS} | changed))
        rows.append(f"| {mechanism} | {equation} | {source} | `{how}` | {_time(other)} | {other.speedup:.2f} x |")
    head = ["| mechanism | equation | source | taken out by | us a token | gain |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _time(found: Any) -> str:
    line = found.timeline(found.key)
    return f"{line.decode_ps / 1e6 / line.counters.committed_tokens:.0f}"


def _set(*changes: tuple[str, str]) -> Mapping[str, Any]:
    return {"sets": changes}


MECHANISMS = (
    ("the host's decision", "after each read exit: copy, synchronise, decide", "sum of published parts (`stack.host`)",
     _set(("stack.host.turnaround", "0us")), "--set stack.host.turnaround=0us"),
    ("gaps between kernels", "next start = end + gap", "small-kernel benches (`launch`)",
     _set(("launch.node_gap", "0us")), "--set launch.node_gap=0us"),
    ("launch and set-up of every kernel", "one kernel does the unit; barriers instead", "megakernel publications",
     {"launch": "persistent"}, "--launch persistent"),
    ("latency, waves and tails of kernels", "max of flop, L2, HBM at their peaks", "roofline",
     {"tier": "roofline"}, "--tier roofline"),
    ("what the cache keeps between repetitions", "h(D / capacity), the card's hit curve", "gpu-benches, gpu-l2-cache",
     _set(("l2.capacity", "1MiB")), "--set l2.capacity=1MiB"),
    ("what the cache is too small for", "the same", "the same", _set(("l2.capacity", "1GiB")),
     "--set l2.capacity=1GiB"),
    ("the exit's head", "one read a pass with exits; vocab x d bytes", "the model's shape",
     _set(("model.vocab", "64")), "--set model.vocab=64"),
    ("keys and values", "read per row and layer instance", "the model's shape", {"prompt": 0}, "--prompt 0"),
    ("slots without a row", "fixed rows; the GPU decides", "device form of the schedule",
     {"control": "device"}, "--control device"),
)
"""(mechanism, equation, source, what is changed, the same as options)."""
