"""`validate accuracy`: the tables and pictures of docs/accuracy.md, written anew between their marks.

    <!-- NAME --> ... <!-- /NAME -->        a part that this verb writes; what stands outside is written by hand

A part is a function of the tables to Markdown; accuracy.yaml says which steps and ablations it shows. Sealed cells are
scored by --sealed alone, which is a line of the log.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from speedsim.config import apply
from speedsim.files import write_text
from speedsim.parsing import Parser
from speedsim.reading import document
from speedsim.units import InputError, NotCoveredError

from . import serving, whatif
from .accuracy_picture import picture
from .fitting import at_values, search, specs_of
from .silicon import LOG, Asked, chosen_rows, descriptions, judge, log, megabytes, predictions
from .silicon_children import Pair, numbers, unfitted
from .silicon_fit import SPEC, Tabled, cells_score
from .silicon_quirks import cells
from .silicon_score import Scores, scores
from .silicon_tables import OPS, Table, covered, folder

SHOWN = Path(__file__).with_suffix(".yaml")
SIZES = ("<1 MB", "1-8 MB", "8-64 MB", ">64 MB")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate accuracy", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--only", metavar="NAME,...", help="some of the parts: " + ", ".join(PARTS))
    add("--sealed", action="store_true", help="the part of the sealed cells, and nothing else; the use is logged")
    add("--out", type=Path, default=LOG, metavar="FILE", help="the document (default docs/accuracy.md)")
    options = parser.parse_args(arguments)
    if options.sealed:
        chosen = ["linear-sealed"]
        log(Asked("all", "linear", high=OPS["linear"].widest, sealed=True), options.out)
    else:
        every = [name for name in PARTS if name != "linear-sealed"]
        chosen = every if options.only is None else options.only.split(",")
    for name in chosen:
        if name not in PARTS:
            raise InputError(f"--only {name}: no part; there are {', '.join(PARTS)}")
        try:
            put(options.out, name, PARTS[name]())
        except NotCoveredError as reason:
            print(f"{name}: left as it is: {reason}", file=sys.stderr)
    return 0


def put(path: Path, name: str, text: str) -> None:
    """Write a part between its marks. Raises InputError where the document has none."""
    marked = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    held = path.read_text()
    if not marked.search(held):
        raise InputError(f"{path}: no <!-- {name} --> ... <!-- /{name} -->")
    write_text(path, marked.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", held))


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


@cache
def _shown() -> dict[str, Any]:
    return document.read(SHOWN).plain()  # type: ignore[no-any-return]


@cache
def judged(op: str, hidden: bool = False) -> dict[str, Any]:
    """The scores of all tables, open or sealed cells, with their nulls; computed once."""
    return judge(Asked("all", op, high=OPS[op].widest, sealed=hidden))["gpus"]  # type: ignore[no-any-return]


def alone(op: str, gpu: str, **how: Any) -> Scores:
    """The score of one GPU's table without its nulls, asked for in another way (unfitted, zero_shot)."""
    (one,) = covered(folder(None), op, gpu, "vllm")
    asked = Asked(gpu, op, high=OPS[op].widest, **how)
    scored, _ = chosen_rows(one, asked)
    found = scores(predictions(descriptions(one, asked), "fluid", scored, op), scored.measured_us)
    assert found is not None
    return found


def scores_part(op: str, hidden: bool = False) -> str:
    """Every GPU: the score beside the null models and, of open cells, the score without a fit."""
    lines = []
    for gpu, one in judged(op, hidden).items():
        nulls = [f"{null['mape']:.1f}" if null else "-" for null in one["nulls"].values()]
        was = [] if hidden else [f"{alone(op, gpu, unfitted=True).mape:.1f}"]
        lines.append([gpu, one["table"], f"{one['rows']:,}", f"**{one['mape']:.1f}**", f"{one['bias']:+.1f}",
                      f"{one['p95']:.0f}", f"{one['geometric']:.1f}", *was, *nulls])
    head = ["GPU", "table", "rows", "fluid: MAPE", "bias", "p95", "geometric", *([] if hidden else ["unfitted"]),
            "roofline", "a + W/b", "other frameworks"]
    return table(head, lines)


def zero_shot_part(op: str) -> str:
    """Software numbers of one GPU on the next, whose file is as it is."""
    lines = []
    for source, target in _shown()["zero_shot"][op]:
        one, own = alone(op, target, zero_shot=source), judged(op)[target]
        lines.append([f"{source} -> {target}", f"**{one.mape:.1f}**", f"{one.bias:+.1f}", f"{one.p95:.0f}",
                      f"{own['mape']:.1f}"])
    return table(["software fitted on -> judged on", "MAPE", "bias", "p95", "with its own fit"], lines)


def regions_part(op: str) -> str:
    """MAPE (bias) by bytes and rows."""
    found, lines = judged(op), []
    columns = {"linear": ("1", "2-8", "9-16", "17-64"), "attention": ("1", "2-8", "9-16", "17-32")}[op]
    word = "rows" if op == "linear" else "sequences"
    for gpu in _shown()["regions"]:
        for number, size in enumerate(SIZES):
            cells = [found[gpu]["regions"].get(f"{size}, {column} {word}") for column in columns]
            lines.append([gpu if not number else "", size,
                          *(f"{c['mape']:.0f} ({c['bias']:+.0f})" if c else "-" for c in cells)])
    return table(["GPU", "size", *columns], lines)


def growth_part() -> str:
    """t(8)/t(1) and t(64)/t(1), median over cells."""
    found = judged("linear")
    return table(["", *found], [[f"t({m})/t(1)", *(f"{pair['predicted']:.3f} / {pair['measured']:.3f}" for pair in
                                                  (one["growth"][m] for one in found.values()))] for m in ("8", "64")])


def whatif_part(op: str) -> str:
    """The ratio of two chips, beside its nulls."""
    lines = []
    for source, target in _shown()["whatif"][op]:
        one = whatif.judge(source, target, op, "vllm", None)
        gain = one["median_gain"]["all"]
        told = {name: f"{score['mape']:.1f}" for name, score in one["scores"].items()}
        lines.append([f"{source} -> {target}", f"{one['bandwidth_ratio']:.2f}",
                      f"{gain['predicted']:.3f} / {gain['measured']:.3f}", f"**{told['predicted']}**",
                      *(told[name] for name in ("unfitted", "bandwidth ratio", "no change", "affine"))])
    return table(["from -> to", "memories", "median gain, predicted / measured", "MAPE", "unfitted", "bandwidth ratio",
                  "no change", "affine"], lines)


def cells_part() -> str:
    """Fitted on whole cells, judged on the others."""
    shown = _shown()["cells"]
    data, lines = folder(None), []
    for gpu in shown["gpus"]:
        (one,) = covered(data, "linear", gpu, "vllm")
        found = cells_score(one, shown["count"])
        lines.append([gpu, f"{found.mape:.1f}", f"{found.bias:+.1f}", f"{found.p95:.0f}", f"{found.rows:,}"])
    return table([f"GPU, fitted on {shown['count']} whole cells", "MAPE", "bias", "p95", "rows"], lines)


def ablations_part(op: str) -> str:
    """Each mechanism off, the others fitted again: MAPE of the rows outside the fit."""
    shown = _shown()["ablations"].get(op)
    if shown is None:
        raise NotCoveredError(f"{SHOWN.name} names no ablations of {op}")
    data = folder(None)
    found = {gpu: [_without(one, setting) for setting in ({}, *shown["off"].values())]
             for gpu in shown["gpus"] for one in covered(data, op, gpu, "vllm")}
    lines = [[name, *(f"{column[i]:.1f}" for column in found.values())]
             for i, name in enumerate(("everything", *shown["off"]))]
    return table(["off", *found], lines)


def _without(one: Table, off: dict[str, Any]) -> float:
    """MAPE of a table with some numbers held at what they are when their mechanism is off."""
    pair = unfitted(one, one.op)
    generation = pair.gpu.value.generation
    specs = specs_of(one.op, pair, SPEC)
    free = tuple(spec for spec in specs if not any(spec.key in (key, f"{key}.{generation}") for key in off))
    for key, value in off.items():
        what, _, inner = key.partition(".")
        loaded = pair.gpu if what == "gpu" else pair.stack
        by_generation = f"{inner}.default" in loaded.provenance
        fixed = apply(loaded, [(f"{inner}.{generation}" if by_generation else inner, str(value))])  # type: ignore[type-var]
        pair = Pair(fixed, pair.stack) if what == "gpu" else Pair(pair.gpu, fixed)  # type: ignore[arg-type]
    scored, seen = chosen_rows(one, Asked(one.gpu, one.op, high=OPS[one.op].widest))
    best = at_values(pair, free, search(pair, free, Tabled(seen, one.op)).values)
    score = scores(predictions(best, "fluid", scored, one.op), scored.measured_us)
    assert score is not None
    return score.mape


def quirks_part() -> str:
    """Both scores of the GPUs that have quirks."""
    lines = [[gpu, str(len(cells(gpu))), f"{one['mape']:.2f}", f"{one['with_quirks']['mape']:.2f}"]
             for gpu, one in judged("linear").items() if one["with_quirks"]]
    return table(["GPU", "quirky cells", "MAPE without (the score)", "with"], lines)


def types_part() -> str:
    """Quantised layers, with what is fitted on bf16 alone."""
    shown, found = _shown()["types"], dict[str, dict[str, str]]()
    for dtype in shown["judged"]:
        for gpu, one in judge(Asked("all", "linear", dtype=dtype, sample=shown["sample"]))["gpus"].items():
            line = one["nulls"]["affine"]
            found.setdefault(gpu, {})[dtype] = f"{one['mape']:.0f} ({one['bias']:+.0f}); {line['mape']:.0f}"
    return table(["GPU", *shown["judged"]],
                 [[gpu, *(told.get(dtype, "-") for dtype in shown["judged"])] for gpu, told in found.items()])


def numbers_part(op: str) -> str:
    """The fitted numbers of every GPU, with their standard errors."""
    found: dict[str, dict[str, str]] = {}
    for one in covered(folder(None), op, "all", "vllm"):
        pair = descriptions(one, Asked(one.gpu, op))
        for key in numbers(pair):
            what, _, inner = key.partition(".")
            loaded = pair.gpu if what == "gpu" else pair.stack
            note = _held(loaded.path, inner)
            if note is not None and note["source"] == op:
                name = key.removesuffix(f".{pair.gpu.value.generation}").removeprefix("stack.kernels.")
                error = note.get("note", "").removeprefix("standard error ").split(" ")[0]
                found.setdefault(name, {})[one.gpu] = f"{note['value']}" + (f" ± {error}" if error else "")
    gpus = list(dict.fromkeys(gpu for told in found.values() for gpu in told))
    return table(["", *gpus], [[name, *(told.get(gpu, "-") for gpu in gpus)] for name, told in found.items()])


def _held(path: Path, key: str) -> dict[str, Any] | None:
    """A number as its child's file has it; None where the child has none."""
    at: Any = document.read(path).plain()
    for part in key.split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return at if isinstance(at, dict) and "value" in at else None


def picture_part(op: str) -> str:
    """Predicted over measured against bytes, every scored row of every GPU."""
    data, panels = folder(None), {}
    for one in covered(data, op, "all", "vllm"):
        panels[one.gpu] = _points(one)
    name = f"accuracy_{op}.svg"
    write_text(LOG.parent / name, picture(panels))
    return f"![predicted over measured time against megabytes, {op}]({name})"


def _points(one: Table) -> tuple[Any, Any]:
    """(megabytes, predicted / measured) of the scored rows."""
    asked = Asked(one.gpu, one.op, high=OPS[one.op].widest)
    scored, _ = chosen_rows(one, asked)
    told = predictions(descriptions(one, asked), "fluid", scored, one.op)
    return megabytes(scored, one.op), np.asarray(told / scored.measured_us)


def serving_part() -> str:
    """Time per output token of servers, by model, GPU and framework."""
    told, skipped = serving.judge("all", "fluid", True, None)
    found = serving.scored(told, skipped, "fluid", None)
    lines = [[name, str(one["rows"]), f"{one['median']:.1f}", f"{one['mape']:.1f}", f"{one['bias']:+.1f}"]
             for name, one in (*found["groups"].items(), ("**all**", found))]
    left = [f"Not scored: {many} rows, {reason}." for reason, many in skipped.items()]
    head = ["model, GPU, framework, weights", "rows", "median", "mean", "bias (median)"]
    return "\n\n".join([table(head, lines), *left])


def score_part() -> str:
    """The public list, by everyone who needs no file."""
    from . import score

    data = folder(None)
    picked = [score.pick(one) for op in OPS for gpu in score.GPUS for one in covered(data, op, gpu, "vllm")]
    found = score.judge(picked, score.servers(None), None)["scores"]
    cells = {name: [f"{one[kind]['mape']:.1f} ({one[kind]['bias']:+.1f})" if one[kind] else "-"
                    for kind in ("linear", "attention", "gain")] for name, one in found.items()}
    served = {name: f"{one['serving']['median']:.1f}" if one["serving"] else "-" for name, one in found.items()}
    return table(["", "answered", "linear", "attention", "H200 / H100", "servers, median"],
                 [[name, str(one["answered"]), *cells[name], served[name]] for name, one in found.items()])


PARTS: dict[str, Callable[[], str]] = {
    "linear-scores": partial(scores_part, "linear"), "linear-sealed": partial(scores_part, "linear", hidden=True),
    "linear-zero-shot": partial(zero_shot_part, "linear"), "linear-regions": partial(regions_part, "linear"),
    "linear-growth": growth_part, "linear-cells": cells_part, "linear-whatif": partial(whatif_part, "linear"),
    "linear-numbers": partial(numbers_part, "linear"), "linear-ablations": partial(ablations_part, "linear"),
    "linear-types": types_part, "linear-quirks": quirks_part, "linear-picture": partial(picture_part, "linear"),
    "attention-scores": partial(scores_part, "attention"), "attention-zero-shot": partial(zero_shot_part, "attention"),
    "attention-regions": partial(regions_part, "attention"), "attention-whatif": partial(whatif_part, "attention"),
    "attention-numbers": partial(numbers_part, "attention"),
    "attention-ablations": partial(ablations_part, "attention"),
    "attention-picture": partial(picture_part, "attention"), "serving": serving_part, "score": score_part,
}
