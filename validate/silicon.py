"""`validate silicon`: kernels as the simulator sees them against published measurements of nine GPUs.

A row goes the simulator's own way (speedsim.one_kernel): lowered, through the cache as the benchmark leaves it, one
kernel at a time through the tier's device, with the graph's gap before each kernel. Beside it stand the null models of
silicon_score.py. Sealed cells are scored by --sealed alone, and each such use is a line of docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from speedsim.files import to_json, write_text
from speedsim.hardware import Gpu
from speedsim.many_kernels import Many
from speedsim.one_kernel import ROTATED, WARM, Attention, Bench, Linear
from speedsim.parsing import Parser
from speedsim.scenario import TIERS
from speedsim.units import InputError, NotCoveredError

from .silicon_children import Pair, fitted, parents, zero_shot
from .silicon_quirks import corrected
from .silicon_score import Floats, Scores, affine, growth, others, regions, sample, scores, sealed, share, worst
from .silicon_tables import OPS, Rows, Table, covered, folder, release, rows, tables

SCHEMA = "speedsim-silicon/1"
LOG = Path(__file__).resolve().parent.parent / "docs" / "accuracy.md"
MARK = "<!-- sealed -->"
"""In the log: new lines go above it."""


class Asked(NamedTuple):
    """What the command line says."""

    gpu: str
    op: str
    tier: str = "fluid"
    dtype: str = "bf16"
    low: int = 1
    high: int = 64
    sample: int | None = None
    sealed: bool = False
    framework: str = "vllm"
    stack: str | None = None
    data: str | None = None
    unfitted: bool = False
    zero_shot: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("--gpu", default="all", metavar="all|NAME", help="a GPU, or every one that has a table (default)")
    add("--op", default="linear", choices=tuple(OPS), help="kind of kernel (default linear)")
    add("--tier", default="fluid", choices=TIERS, help="how finely the device is simulated (default fluid)")
    add("--rows", metavar="A:B", help="rows of a linear layer, sequences of attention (default 1:64, 1:32)")
    add("--dtype", default="bf16", help="type of weights, or of keys and values (default bf16)")
    add("--sample", type=int, metavar="N", help="score N rows of each table, always the same ones")
    add("--sealed", action="store_true", help="score the sealed cells, which no one looks at; the use is logged")
    add("--unfitted", action="store_true", help="descriptions as they are, without what is fitted on tables")
    add("--zero-shot", metavar="FROM", help="with the software numbers fitted on another GPU")
    add("--framework", default="vllm", metavar="NAME", help="whose tables: vllm (default), trtllm, sglang")
    add("--stack", metavar="NAME", help="software (default: the table's)")
    add("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    add("--json", metavar="FILE|-", help="write the scores as JSON; - is standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate silicon", description=__doc__, allow_abbrev=False)
    add_options(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Judge, print, write."""
    low, high = _range(options.rows, options.op)
    if options.sample is not None and options.sample < 1:
        raise InputError(f"--sample {options.sample}: one row or more")
    if options.zero_shot is not None and options.unfitted:
        raise InputError("--zero-shot and --unfitted exclude each other")
    if options.sealed and options.op != "linear":
        raise InputError("--sealed: only linear layers have sealed cells (n, k)")
    asked = Asked(options.gpu, options.op, options.tier, options.dtype, low, high, options.sample, options.sealed,
                  options.framework, options.stack, options.data, options.unfitted, options.zero_shot)
    document = judge(asked)
    if asked.sealed:
        log(asked, LOG)
    if options.json == "-":
        print(to_json(document))
        return 0
    if options.json is not None:
        write_text(options.json, to_json(document) + "\n")
    print(text(document))
    return 0


def _range(given: str | None, op: str) -> tuple[int, int]:
    """Both ends of `--rows`."""
    if given is None:
        return 1, OPS[op].widest
    low, colon, high = given.partition(":")
    try:
        ends = int(low), int(high if colon else low)
    except ValueError:
        raise InputError(f"--rows {given}: write 1:64, or one number") from None
    if not 1 <= ends[0] <= ends[1]:
        raise InputError(f"--rows {given}: from 1 up, the smaller first")
    return ends


def judge(asked: Asked) -> dict[str, Any]:
    """The scores of every GPU that is asked for, as a JSON document."""
    data = folder(asked.data)
    found, left_out = {}, []
    for table in covered(data, asked.op, asked.gpu, asked.framework):
        try:
            found[table.gpu] = judged(table, data, asked)
        except NotCoveredError as reason:  # such as a type that a card of all does not multiply
            left_out.append(str(reason))
    if not found:
        raise NotCoveredError(left_out[0])
    return {
        "schema": SCHEMA, "op": asked.op, "tier": asked.tier, "dtype": asked.dtype,
        "with": _with(asked), "rows": f"{asked.low}:{asked.high}",
        "cells": "sealed" if asked.sealed else "open", "sample": asked.sample,
        "tables": {"package": "aiconfigurator-core", "version": release(asked.data)}, "gpus": found,
    }


def judged(table: Table, data: Path, asked: Asked) -> dict[str, Any]:
    """One table's rows: those asked for, outside the share that may be fitted on."""
    chosen, share_of_it = chosen_rows(table, asked)
    pair = descriptions(table, asked)
    predicted = predictions(pair, asked.tier, chosen, asked.op)
    roofline = predictions(parents(table, asked.stack or table.stack), "roofline", chosen, asked.op, bare=True)
    mb, measured = megabytes(chosen, asked.op), chosen.measured_us
    line = affine(megabytes(share_of_it, asked.op), share_of_it.measured_us) if len(share_of_it.shapes) else None
    linear = asked.op == "linear"
    told, names = _others(table, data, chosen, asked)
    known = ~np.isnan(told)
    noise = scores(told[known], measured[known])
    mended = corrected(table.gpu, chosen.shapes, predicted, told) if linear and asked.dtype == "bf16" else None
    return _dict(scores(predicted, measured)) | {
        "table": f"{table.framework}/{table.version}", "stack": pair.stack.value.name, "children": pair.children,
        "regions": regions(mb, chosen.shapes[:, 0], predicted, measured, "rows" if linear else "sequences"),
        "with_quirks": _dict(scores(mended, measured)) if mended is not None else None,
        "growth": {str(m): growth(chosen.shapes, predicted, measured, m) for m in (8, 64)} if linear else {},
        "nulls": {
            "roofline": _dict(scores(roofline, measured)),
            "affine": None if line is None else line._asdict() | _dict(scores(line(mb), measured)),
            "noise": {"tables": names} | noise._asdict() if noise is not None else None,
        },
    }


def descriptions(table: Table, asked: Asked) -> Pair:
    """The GPU and the stack that a table is predicted with."""
    stack = asked.stack or table.stack
    if asked.unfitted:
        return parents(table, stack)
    return fitted(table, stack) if asked.zero_shot is None else zero_shot(table, stack, asked.zero_shot)


def _with(asked: Asked) -> str:
    """What the descriptions hold beside what is known without tables."""
    if asked.unfitted:
        return "unfitted"
    return "fitted" if asked.zero_shot is None else f"zero-shot from {asked.zero_shot}"


def chosen_rows(table: Table, asked: Asked) -> tuple[Rows, Rows]:
    """(the rows that are scored, the share that may be fitted on)."""
    whole = rows(table, asked.dtype, asked.low, asked.high)
    hidden = sealed(whole.shapes) if asked.op == "linear" else np.zeros(len(whole.shapes), dtype=bool)
    fitted = share(whole.shapes, ~hidden)
    scored = np.flatnonzero(hidden if asked.sealed else ~hidden & ~fitted)
    if asked.sample is not None:
        scored = scored[sample(asked.sample, len(scored))]
    if not len(scored):
        raise NotCoveredError(f"{table.gpu}: {table.framework} {table.version} has no such {asked.op} rows")
    return (whole._replace(shapes=whole.shapes[scored], measured_us=whole.measured_us[scored]),
            whole._replace(shapes=whole.shapes[fitted], measured_us=whole.measured_us[fitted]))


def _dict(score: Scores | None) -> dict[str, Any]:
    return {} if score is None else score._asdict()


def _others(table: Table, data: Path, chosen: Rows, asked: Asked) -> tuple[Floats, list[str]]:
    """(what the other frameworks' tables say of each row, NaN where none has it; who they are)."""
    rest = [other for other in tables(data, asked.op, table.gpu) if other.framework != table.framework]
    read = [rows(other, asked.dtype, asked.low, asked.high) for other in rest]
    return (others(chosen.shapes, [(r.shapes, r.measured_us) for r in read]),
            [f"{other.framework}/{other.version}" for other in rest])


def layers(chosen: Rows, op: str) -> tuple[list[Linear | Attention], int]:
    """The rows as kernels, and the buffers that their benchmark read in turn."""
    shapes = chosen.shapes.tolist()
    if op == "linear":
        return [Linear(m, n, k, chosen.dtype) for m, n, k in shapes], ROTATED
    return [Attention(batch, keys, heads, kv_heads, size, dtype=chosen.dtype)
            for batch, heads, kv_heads, size, keys in shapes], WARM


def bursting(gpu: Gpu) -> Gpu:
    """The GPU as a short benchmark meets it: no limit of power acts before it is over.

    Large layers of the tables run at 861-940 TFLOP/s on an H200, which sustains 769-798.
    """
    return replace(gpu, energy=replace(gpu.energy, limit_w=None))


def predictions(pair: Pair, tier: str, chosen: Rows, op: str, bare: bool = False) -> Floats:
    """Microseconds of each row, the fluid tier's as arrays to the same picosecond.

    `bare`: its longest kernel alone, without the gap before it.
    """
    gpu, stack = bursting(pair.gpu.value), pair.stack.value
    kernels, buffers = layers(chosen, op)
    if tier == "fluid" and not bare:
        return Many(kernels, buffers, gpu, stack.kernels).times_us(gpu, stack.kernels)
    found, bench = [], Bench(gpu, stack, tier)
    for layer in kernels:
        told = bench.predict(layer, buffers)
        found.append((max(one.duration_ps for one in told.kernels) if bare else told.time_ps) / 1e6)
    return np.array(found, dtype=np.float64)


def megabytes(chosen: Rows, op: str) -> Floats:
    """Weights, or keys and values, of each row."""
    return np.array([layer.bytes / 1e6 for layer in layers(chosen, op)[0]], dtype=np.float64)


def log(asked: Asked, path: Path) -> None:
    """Write the use of the sealed cells down, or say what to write where the log is not ours to write to."""
    line = (f"- {date.today().isoformat()}: `--op {asked.op} --gpu {asked.gpu} --tier {asked.tier} "
            f"--rows {asked.low}:{asked.high}`, {asked.framework}{f', {asked.stack}' if asked.stack else ''}")
    held = path.read_text() if path.is_file() else ""
    if MARK not in held:
        print(f"add to docs/accuracy.md, above {MARK}: {line}", file=sys.stderr)
        return
    write_text(path, held.replace(MARK, f"{line}\n{MARK}", 1))


def text(document: dict[str, Any]) -> str:
    """The scores for the screen."""
    what = "linear layers" if document["op"] == "linear" else "decode attention"
    lines = [f"{what}, {document['dtype']}, {document['rows']} "
             f"{'rows' if document['op'] == 'linear' else 'sequences'}, {document['cells']} cells, tier "
             f"{document['tier']}, {document['with']}: predicted / measured - 1 in percent", "",
             f"{'gpu':<20}{'table':<18}{'rows':>6}{'MAPE':>8}{'bias':>8}{'p95':>8}{'geom.':>8}"
             f"{'roofline':>10}{'a + W/b':>9}{'noise':>7}  worst region"]
    for gpu, one in document["gpus"].items():
        nulls = [null["mape"] if null else None for null in one["nulls"].values()]
        where = worst(one["regions"])
        lines.append(
            f"{gpu:<20}{one['table']:<18}{one['rows']:>6}{one['mape']:>8.1f}{one['bias']:>+8.1f}{one['p95']:>8.1f}"
            f"{one['geometric']:>8.1f}" + "".join(
                " " * (width - 1) + "-" if null is None else f"{null:>{width}.1f}"
                for null, width in zip(nulls, (10, 9, 7), strict=True)
            ) + (f"  {where}: {one['regions'][where]['mape']:.1f}" if where else ""))
    for gpu, one in document["gpus"].items():
        lines += ["", f"{gpu}: MAPE (bias), rows"]
        lines += [f"  {name:<24}{score['mape']:>7.1f} ({score['bias']:+.1f}), {score['rows']}"
                  for name, score in one["regions"].items()]
        if one["with_quirks"]:
            lines.append(f"  with the quirk list: {one['with_quirks']['mape']:.1f} "
                         f"({one['with_quirks']['bias']:+.1f}), all rows")
        lines += [f"  t({m})/t(1): {pair['predicted']:.3f} predicted, {pair['measured']:.3f} measured"
                  for m, pair in one["growth"].items() if pair]
    return "\n".join(lines)
