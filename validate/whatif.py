"""`validate whatif`: what another chip would gain, with nothing changed but its data sheet and its micro-benchmarks.

    gain of a kernel = t(from) / t(to);    predicted with the software numbers fitted on `from` alone, both chips as
                                           their files have them without any fit

Measured is the median over the frameworks of their own ratios, newest tables, so that one table's mood does not count.
Beside it stand what is naively expected: the ratio of the memories' rates, no change at all, and a line a + W / b
fitted on `from` whose rate is scaled by the memories'. Rows on which `from` was fitted are left out on both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from speedsim.files import to_json, write_text
from speedsim.hardware import Gpu
from speedsim.parsing import Parser
from speedsim.units import InputError, NotCoveredError

from .silicon import Asked, chosen_rows, megabytes, predictions
from .silicon_children import parents, zero_shot
from .silicon_score import MB_EDGES, Floats, affine, scores
from .silicon_tables import OPS, Rows, Table, covered, folder, rows, tables

SCHEMA = "speedsim-whatif/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("--from", dest="source", required=True, metavar="GPU", help="the GPU whose software numbers are fitted")
    add("--to", dest="target", required=True, metavar="GPU", help="the GPU that is asked for")
    add("--op", default="linear", choices=tuple(OPS), help="kind of kernel (default linear)")
    add("--framework", default="vllm", metavar="NAME", help="whose fitted numbers (default vllm)")
    add("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    add("--json", metavar="FILE|-", help="write the scores as JSON; - is standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate whatif", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args(arguments)
    document = judge(options.source, options.target, options.op, options.framework, options.data)
    if options.json == "-":
        print(to_json(document))
        return 0
    if options.json is not None:
        write_text(options.json, to_json(document) + "\n")
    print(text(document))
    return 0


def judge(source: str, target: str, op: str, framework: str, copy: str | None) -> dict[str, Any]:
    """The scores of one step from GPU to GPU, as a JSON document."""
    data = folder(copy)
    (old,), (new,) = (covered(data, op, gpu, framework) for gpu in (source, target))
    if old.gpu == new.gpu:
        raise InputError(f"--to {target}: the same GPU as --from")
    if old.stack != new.stack:
        raise NotCoveredError(f"{old.gpu} has a table of {old.stack}, {new.gpu} one of {new.stack}: not the same "
                              "software")
    before, after = zero_shot(old, old.stack, old.gpu), zero_shot(new, old.stack, old.gpu)
    scored, seen = chosen_rows(old, Asked(old.gpu, op, high=OPS[op].widest))
    measured, counted = _measured(data, op, old, new, scored)
    common = np.flatnonzero(~np.isnan(measured))
    if not len(common):
        raise NotCoveredError(f"{old.gpu} and {new.gpu} have no {op} rows in common")
    scored, measured = scored._replace(shapes=scored.shapes[common]), measured[common]
    times = [predictions(pair, "fluid", scored, op) for pair in (before, after)]
    mb = megabytes(scored, op)
    ratio = _rate(after.gpu.value) / _rate(before.gpu.value)
    line = affine(megabytes(seen, op), seen.measured_us)
    told = {
        "predicted": times[0] / times[1], "bandwidth ratio": np.full(len(mb), ratio), "no change": np.ones(len(mb)),
        "affine": line(mb) / (line.fixed_us + line.us_per_mb * mb / ratio),
    }
    unfitted = [predictions(pair, "fluid", scored, op)
                for pair in (parents(old, old.stack), parents(new, old.stack))]
    told["unfitted"] = unfitted[0] / unfitted[1]
    return {
        "schema": SCHEMA, "op": op, "from": old.gpu, "to": new.gpu, "stack": before.stack.value.name,
        "tables": counted, "bandwidth_ratio": ratio,
        "scores": {name: _dict(gains, measured) for name, gains in told.items()},
        "median_gain": _medians(mb, told["predicted"], measured),
    }


def _rate(gpu: Gpu) -> float:
    return gpu.hbm.label_bandwidth_bytes_per_s or gpu.hbm.bandwidth_bytes_per_s


def _dict(gains: Floats, measured: Floats) -> dict[str, Any]:
    score = scores(gains, measured)
    assert score is not None
    return score._asdict()


def _measured(data: Path, op: str, old: Table, new: Table, scored: Rows) -> tuple[Floats, list[str]]:
    """(median over frameworks of t(from) / t(to) for each row, NaN where no framework has both; who counts)."""
    ratios, counted = [], []
    for before in tables(data, op, old.gpu):
        for after in tables(data, op, new.gpu, before.framework):
            times = [_times(table, op) for table in (before, after)]
            ratios.append([times[0].get(shape, np.nan) / times[1].get(shape, np.nan)
                           for shape in map(tuple, scored.shapes.tolist())])
            counted.append(f"{before.framework}/{before.version}, {after.version}")
    told = np.array(ratios, dtype=np.float64)
    known = ~np.isnan(told).all(axis=0) if ratios else np.zeros(len(scored.shapes), dtype=bool)
    found = np.full(len(scored.shapes), np.nan)
    found[known] = np.nanmedian(told[:, known], axis=0)
    return found, counted


def _times(table: Table, op: str) -> dict[tuple[int, ...], float]:
    """Microseconds by shape."""
    held = rows(table, "bf16", 1, OPS[op].widest)
    return dict(zip(map(tuple, held.shapes.tolist()), held.measured_us.tolist(), strict=True))


def _medians(mb: Floats, predicted: Floats, measured: Floats) -> dict[str, dict[str, float]]:
    """Median gain by megabytes of weights, or of keys and values."""
    found = {}
    for name, inside in [("all", mb >= 0), *((label, (mb >= low) & (mb < high)) for label, low, high in (
            ("<1 MB", 0.0, MB_EDGES[0]), ("1-8 MB", *MB_EDGES[:2]), ("8-64 MB", *MB_EDGES[1:]),
            (">64 MB", MB_EDGES[2], np.inf)))]:
        if inside.any():
            found[name] = {"predicted": float(np.median(predicted[inside])),
                           "measured": float(np.median(measured[inside])), "rows": int(inside.sum())}
    return found


def text(document: dict[str, Any]) -> str:
    """The scores for the screen."""
    what = "linear layers" if document["op"] == "linear" else "decode attention"
    lines = [f"{what}: gain of {document['to']} over {document['from']}, software fitted on {document['from']} "
             f"({document['stack']}); memories {document['bandwidth_ratio']:.2f} : 1",
             f"measured: median of {'; '.join(document['tables'])}", "",
             f"{'':<18}{'MAPE':>8}{'bias':>8}{'p95':>8}{'rows':>8}"]
    lines += [f"{name:<18}{one['mape']:>8.1f}{one['bias']:>+8.1f}{one['p95']:>8.1f}{one['rows']:>8}"
              for name, one in document["scores"].items()]
    lines += ["", "median gain: predicted, measured"]
    lines += [f"  {name:<10}{one['predicted']:>7.3f}{one['measured']:>8.3f}, {one['rows']} rows"
              for name, one in document["median_gain"].items()]
    return "\n".join(lines)
