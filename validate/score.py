"""`speedsim score`: a fixed public list of kernels, gains and servers on which any simulator can be judged.

    speedsim score --list FILE       writes the list: what is asked, the last column empty
    speedsim score FILE              judges a filled one, beside the null models and this simulator's own tiers

The list is 84 kernels on each of six GPUs (42 linear layers, 42 decode attentions) and the dense single-GPU servers of
`validate serving`. Kernels are the open rows of each GPU's newest vLLM table, outside the twentieth that is fitted on,
with the smallest crc32("score:" + shape): a matter of names alone. H100 and H200 share the shapes, so their gain is
asked as well. It holds no measured number; those come from the published package (extra silicon).
Predictions are microseconds of a kernel in a CUDA graph (six weight buffers in rotation; keys and values read again),
milliseconds a token of a server. What is left empty is not judged; the table says how much was filled.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from speedsim.files import to_json, write_text
from speedsim.parsing import Parser
from speedsim.units import InputError

from . import serving
from .silicon import Asked, chosen_rows, megabytes, predictions
from .silicon_children import Pair, fitted, parents
from .silicon_score import affine, scores
from .silicon_tables import OPS, Rows, Table, covered, folder

SCHEMA = "speedsim-score/1"
GPUS = ("h200_sxm", "h100_sxm", "b200_sxm", "a100_sxm", "l40s", "rtx_pro_6000_server")
EACH = 42
"""Kernels of one kind on one GPU."""
GAIN = ("h100_sxm", "h200_sxm")
_SHAPES = {"linear": ("rows", "n", "k"), "attention": ("batch", "heads", "kv_heads", "head_dim", "context")}
_SERVER = ("framework", "model", "weights", "isl", "osl", "requests")
HEAD = ("id", "kind", "gpu", *_SHAPES["linear"], *_SHAPES["attention"], *_SERVER, "predicted")

Answers = dict[str, float]
"""By id: microseconds of a kernel, milliseconds a token of a server."""


class Picked(NamedTuple):
    """The kernels of one kind on one GPU."""

    table: Table
    rows: Rows
    share: Rows
    """What may be fitted on."""

    @property
    def ids(self) -> list[str]:
        """Of each row."""
        return [f"{self.table.gpu}/{self.table.op}/{'x'.join(map(str, shape))}" for shape in self.rows.shapes.tolist()]


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim score", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("predictions", nargs="?", metavar="FILE", help="a filled list (CSV); without one: this simulator's own tiers")
    add("--list", metavar="FILE", help="write the list, to be filled")
    add("--no-serving", action="store_true", help="kernels alone: servers take this simulator a minute or two")
    add("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    add("--json", metavar="FILE|-", help="write the scores as JSON; - is standard output")
    options = parser.parse_args(arguments)
    picked = [pick(table, options.data) for op in OPS for gpu in GPUS
              for table in covered(folder(options.data), op, gpu, "vllm")]
    asked = [] if options.no_serving else servers(options.data)
    if options.list is not None:
        write_text(options.list, listed(picked, asked))
        return 0
    given = None if options.predictions is None else read(options.predictions, picked, asked)
    found = judge(picked, asked, given)
    if options.json == "-":
        print(to_json(found))
        return 0
    if options.json is not None:
        write_text(options.json, to_json(found) + "\n")
    print(text(found))
    return 0


def pick(table: Table, data: str | None = None) -> Picked:
    """The kernels of the list in one table."""
    rows, share = chosen_rows(table, Asked(table.gpu, table.op, high=OPS[table.op].widest, data=data))
    order = sorted(range(len(rows.shapes)), key=lambda i: crc32(f"score:{','.join(map(str, rows.shapes[i]))}".encode()))
    chosen = np.sort(np.array(order[:EACH], dtype=np.int64))
    return Picked(table, Rows(rows.shapes[chosen], rows.measured_us[chosen]), share)


def servers(data: str | None) -> list[serving.Row]:
    """The servers that `validate serving` covers in kind; none beside a copy of the tables alone."""
    beside = None if data is None else Path(data) / serving.FILE
    if beside is not None and not beside.is_file():
        return []
    return [row for row in serving.rows(None if beside is None else str(beside)) if serving.known(row)]


def listed(picked: list[Picked], asked: list[serving.Row]) -> str:
    """The list as CSV."""
    lines = []
    for one in picked:
        names = _SHAPES[one.table.op]
        for key, shape in zip(one.ids, one.rows.shapes.tolist(), strict=True):
            lines.append({"id": key, "kind": one.table.op, "gpu": one.table.gpu} | dict(zip(names, shape, strict=True)))
    for row in asked:
        lines.append({"id": row.id, "kind": "serving", "gpu": row.gpu, "framework": row.framework, "model": row.path,
                      "weights": serving.weights(row), "isl": row.isl, "osl": row.osl, "requests": row.requests})
    rows = [HEAD, *([line.get(name, "") for name in HEAD] for line in lines)]
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def read(path: str, picked: list[Picked], asked: list[serving.Row]) -> Answers:
    """A filled list. Raises InputError for ids that are none of the list's and for what is no time."""
    known = {key for one in picked for key in one.ids} | {row.id for row in asked}
    found: Answers = {}
    try:
        with Path(path).open(newline="") as lines:
            for number, line in enumerate(csv.DictReader(lines), 2):
                if line.get("id") not in known:
                    if line.get("kind") == "serving" and not asked:
                        continue
                    raise InputError(f"{path}:{number}: id {line.get('id')!r} is not on the list (--list writes it)")
                told = (line.get("predicted") or "").strip()
                if told:
                    found[str(line["id"])] = _time(told, f"{path}:{number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: no list that can be read: {error}") from None
    if not found:
        raise InputError(f"{path}: column predicted holds nothing")
    return found


def _time(told: str, place: str) -> float:
    try:
        value = float(told)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{place}: predicted={told}: a positive time is expected")
    return value


def judge(picked: list[Picked], asked: list[serving.Row], given: Answers | None) -> dict[str, Any]:
    """The scores of everyone, as a JSON document."""
    everyone: dict[str, Answers] = {} if given is None else {"yours": given}
    everyone |= {"roofline": _tier(picked, "roofline", bare=True) | _served(asked, "roofline"),
                 "a + W/b": {key: time for one in picked for key, time in _line(one)},
                 "fluid, unfitted": _tier(picked, "fluid"),
                 "fluid": _tier(picked, "fluid", children=True) | _served(asked, "fluid")}
    measured = {key: time for one in picked for key, time in zip(one.ids, one.rows.measured_us.tolist(), strict=True)}
    measured |= {row.id: row.tpot_ms for row in asked}
    return {"schema": SCHEMA, "asked": len(measured),
            "scores": {name: _scores(answers, measured, picked, asked) for name, answers in everyone.items()}}


def _tier(picked: list[Picked], tier: str, children: bool = False, bare: bool = False) -> Answers:
    """This simulator's times of the kernels."""
    found: Answers = {}
    for one in picked:
        pair: Pair = (fitted if children else parents)(one.table, one.table.stack)
        found |= dict(zip(one.ids, predictions(pair, tier, one.rows, one.table.op, bare).tolist(), strict=True))
    return found


def _line(one: Picked) -> list[tuple[str, float]]:
    """A straight line in the bytes, fitted on the table's twentieth."""
    if not len(one.share.shapes):
        return []
    line = affine(megabytes(one.share, one.table.op), one.share.measured_us)
    return list(zip(one.ids, line(megabytes(one.rows, one.table.op)).tolist(), strict=True))


def _served(asked: list[serving.Row], tier: str) -> Answers:
    """This simulator's times of the servers; a roofline knows nothing that is fitted."""
    return {one.row.id: one.tpot_ms for one in serving.covered(asked, tier, tier != "roofline")[0]}


def _scores(answers: Answers, measured: Answers, picked: list[Picked], asked: list[serving.Row]) -> dict[str, Any]:
    kinds = {op: [key for one in picked if one.table.op == op for key in one.ids] for op in OPS}
    found: dict[str, Any] = {"answered": len(answers)}
    for op, keys in kinds.items():
        have = [key for key in keys if key in answers]
        score = scores(np.array([answers[key] for key in have]), np.array([measured[key] for key in have]))
        found[op] = None if score is None else score._asdict()
    pairs = [(slow, fast) for op in OPS for fast in kinds[op] if fast.startswith(GAIN[1] + "/")
             and (slow := fast.replace(*reversed(GAIN), 1)) in answers and fast in answers]
    told, true = (np.array([times[slow] / times[fast] for slow, fast in pairs]) for times in (answers, measured))
    gain = scores(told, true)
    found["gain"] = None if gain is None else gain._asdict()
    wrong = [abs(answers[row.id] / row.tpot_ms - 1) * 100 for row in asked if row.id in answers]
    found["serving"] = {"median": float(np.median(wrong)), "rows": len(wrong)} if wrong else None
    return found


def text(found: dict[str, Any]) -> str:
    """The table for the screen."""
    lines = [f"{found['asked']} kernels and servers: error in percent, mean of its size (bias); servers: median", "",
             f"{'':<18}{'answered':>9}{'linear':>14}{'attention':>14}{'H200 / H100':>14}{'servers':>9}"]
    for name, one in found["scores"].items():
        cells = [f"{one[kind]['mape']:.1f} ({one[kind]['bias']:+.1f})" if one[kind] else "-"
                 for kind in ("linear", "attention", "gain")]
        served = f"{one['serving']['median']:.1f}" if one["serving"] else "-"
        lines.append(f"{name:<18}{one['answered']:>9}" + "".join(f"{cell:>14}" for cell in cells) + f"{served:>9}")
    return "\n".join(lines)
