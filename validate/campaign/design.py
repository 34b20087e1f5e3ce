"""The design of part 2: 150 passes that fill the space, 60 of them held out before anything is measured.

A point is one pass: shape, rows, context, heads read (none or all), data type, launch. Points come from a Halton
sequence with a seeded shift over all of these at once; each regime takes the first POINTS that fall into it, and
HELD_OUT of those, drawn by the same seed, are held out. The regime is what closed forms say the pass is bound by:

    host     eager, and the calls take longer than anything on the card:      kernels x DISPATCH_S
    flop, weights (HBM), kv      the largest of the three data terms, where it exceeds the launch term
    l2       otherwise, where all that the pass reads stays in the L2 between two passes: the data term that a model
             without residency gets wrong
    launch   otherwise: kernels x KERNEL_S

Closed forms only sort the points; nothing is scored by them. The reference decoder's kernels are many and small, so no
pass of these shapes is bound by the L2's rate alone, and at 64 rows or fewer only fp32 (without tensor cores) is bound
by arithmetic: hence the two data types, and the word `l2` for what the L2 holds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from speedsim.hardware import DTYPE_BITS
from speedsim.model import Model

from ..shapes import load

FILE = Path(__file__).parents[1] / "design.csv"
SEED = 20_261_120
POINTS, HELD_OUT = 25, 10
"""Of each regime."""
REGIMES = ("host", "launch", "l2", "weights", "kv", "flop")
MODELS = ("speed_2x6", "speed_4x3", "speed_4x4", "speed_12l", "ouro_1_4b", "raven_llama_3_2_1b", "llama_7b")
ROWS, CONTEXT = (1, 64), (64, 8192)
LIMIT_BYTES = 60_000_000_000
"""Keys and values of a point at most."""

# An H200, for sorting alone: rates from its data sheet, times per kernel and per call as published for its generation.
HBM_BYTES_PER_S = 4.9e12
L2_BYTES = 60 * 2**20
RESIDENT = 0.5
"""Share of a two-sided L2 that surely stays."""
FLOP_PER_S = {"bf16": 8e14, "fp32": 6e13}
KERNEL_S = 2e-6
DISPATCH_S = 5e-6
KERNELS = {"eager": (17, 31, 6), "graph": (6, 10, 6)}
"""Kernels of a pass, of a layer and of an exit: the reference decoder's own, and fused ones in graphs."""


class Point(NamedTuple):
    """One pass to be measured."""

    id: int
    model: str
    rows: int
    context: int
    heads: int
    dtype: str
    launch: str
    regime: str
    held_out: bool


def terms(model: Model, rows: int, context: int, heads: int, dtype: str, launch: str) -> dict[str, float]:
    """Seconds of each closed form, and the bytes a pass reads (`unique_bytes`)."""
    size = DTYPE_BITS[dtype] / 8
    own = model.group_layers * sum(n * k for n, k in model.linear.values())
    head = model.vocab * model.d_model if heads else 0
    of_pass, of_layer, of_exit = KERNELS[launch]
    kernels = of_pass + model.group_layers * of_layer + (of_exit if heads else 0)
    kv = rows * context * model.group_layers * 2 * model.kv_heads * model.head_dim * size
    mixing = rows * context * model.group_layers * 2 * model.q_heads * model.head_dim
    return {
        "host": kernels * DISPATCH_S if launch == "eager" else 0.0,
        "launch": kernels * KERNEL_S,
        "weights": (own + head) * size / HBM_BYTES_PER_S,
        "kv": kv / HBM_BYTES_PER_S,
        "flop": 2 * (own * rows + head * heads + mixing) / FLOP_PER_S[dtype],
        "unique_bytes": (own + head) * size + kv,
    }


def regime(found: dict[str, float]) -> str:
    """What the closed forms say the pass is bound by."""
    data = max(("weights", "kv", "flop"), key=found.__getitem__)
    if found["host"] > max(found["launch"], found[data]):
        return "host"
    if found[data] > found["launch"]:
        return data
    return "l2" if found["unique_bytes"] <= RESIDENT * L2_BYTES else "launch"


def cache_bytes(model: Model, rows: int, context: int, dtype: str) -> float:
    """Keys and values that are held for a point, a spare place included."""
    places = -(-rows // model.repetitions) + 1
    return (places * context * model.group_layers * model.repetitions * 2 * model.kv_heads * model.head_dim
            * DTYPE_BITS[dtype] / 8)


def halton(base: int, index: int) -> float:
    """The radical inverse of an index."""
    value, share = 0.0, 1.0
    while index:
        share /= base
        index, digit = divmod(index, base)
        value += digit * share
    return value


Candidate = tuple[Model, int, int, int, str, str]
"""(model, rows, context, heads, dtype, launch)."""


def candidates() -> Iterator[Candidate]:
    """Points of the sequence, endless."""
    shift = np.random.default_rng(SEED).random(6)
    models = [load(name) for name in MODELS]
    index = 0
    while True:
        index += 1
        u = [(halton(base, index) + s) % 1 for base, s in zip((2, 3, 5, 7, 11, 13), shift, strict=True)]
        rows = round(ROWS[0] * (ROWS[1] / ROWS[0]) ** u[0])
        context = round(CONTEXT[0] * (CONTEXT[1] / CONTEXT[0]) ** u[1] / 16) * 16
        heads = rows if u[2] < 0.6 else 0
        yield models[int(u[3] * len(models))], rows, context, heads, "fp32" if u[4] < 0.3 else "bf16", (
            "eager" if u[5] < 0.35 else "graph")


def make() -> list[Point]:
    """The whole design, in the order of the sequence."""
    taken: dict[str, list[tuple[int, Candidate]]] = {name: [] for name in REGIMES}
    seen = set()
    for number, candidate in enumerate(candidates()):
        model, rows, context, heads, dtype, launch = candidate
        if cache_bytes(model, rows, context, dtype) > LIMIT_BYTES or (model.name, *candidate[1:]) in seen:
            continue
        bound = regime(terms(model, rows, context, heads, dtype, launch))
        if len(taken[bound]) < POINTS:
            taken[bound].append((number, candidate))
            seen.add((model.name, *candidate[1:]))
        if all(len(t) == POINTS for t in taken.values()):
            break
        if number > 200_000:
            raise AssertionError({name: len(t) for name, t in taken.items()})
    draw = np.random.default_rng(SEED + 1)
    held = {name: set(draw.choice(POINTS, HELD_OUT, replace=False).tolist()) for name in REGIMES}
    ordered = sorted((number, name, place) for name, t in taken.items() for place, (number, _) in enumerate(t))
    points = []
    for identity, (_, name, place) in enumerate(ordered, 1):
        model, rows, context, heads, dtype, launch = taken[name][place][1]
        points.append(Point(identity, model.name, rows, context, heads, dtype, launch, name, place in held[name]))
    return points


def text(points: list[Point]) -> str:
    """The design as a file."""
    out = io.StringIO()
    out.write(f"# Part 2 of the campaign, made by `python -m validate design` with seed {SEED}: "
              "held_out points are never fitted on. Regimes are those of closed forms (campaign/design.py).\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows([*p[:-1], int(p.held_out)] for p in points)
    return out.getvalue()


def read(path: Path = FILE) -> list[Point]:
    """The committed design."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return [Point(int(r["id"]), r["model"], int(r["rows"]), int(r["context"]), int(r["heads"]), r["dtype"], r["launch"],
                  r["regime"], r["held_out"] == "1") for r in csv.DictReader(lines)]
