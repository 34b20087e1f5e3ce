"""`validate calibrate`: hardware and software numbers read off a campaign, the chip's into a child of the gpu, the
host's and the library's into a child of the stack.

Only the resource and kernel rungs are read, and of those only what is not held out: passes, decodes and choices are
what the calibrated description is then judged by. The fit is that of published tables (fitting.py): a soft absolute
loss of ln(predicted / measured), standard errors from its Jacobian. Rows with a remark (noisy, throttled) are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from speedsim.catalog import load_gpu, load_stack
from speedsim.parsing import Parser

from ..fitting import Fit, Spec, number, search, specs_of
from ..records import Measured, read_folder
from ..refusal import RefusedError
from ..silicon_children import CAMPAIGN, Pair, folder, write
from .compare import campaign, joined
from .predict import RUNGS, Subject, predict_point, predictions
from .statistics import Row

SPEC = Path(__file__).with_suffix(".yaml")
READ = tuple(table for table, rung in RUNGS.items() if rung in ("resource", "kernel"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim validate calibrate", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("measured", type=Path, help="a folder of measurement files")
    add("--gpu", default="h200_sxm", metavar="NAME", help="the parent of the chip's child (default h200_sxm)")
    add("--stack", default="torch_graph", metavar="NAME", help="the parent of the stack's child (default torch_graph)")
    add("--name", metavar="CAMPAIGN", help="what the children are called after (default campaign-YYYY-MM)")
    add("--out", metavar="FOLDER", help="where the children go (default hw_configs/fitted)")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    tables = {name: one for name, one in read_folder(given.measured).items() if name in READ}
    if not tables:
        raise RefusedError(f"{given.measured}: none of {', '.join(READ)} was measured")
    pair = Pair(load_gpu(given.gpu), load_stack(given.stack))
    environment = next(iter(tables.values())).environment
    name = given.name or f"{CAMPAIGN}-{environment['began'][:7]}"
    rows = _rows(tables, given.gpu, given.stack, bool(environment.get("quick")))
    specs = tuple(spec for table in tables for spec in specs_of(table, pair, SPEC))
    found = fit(pair, specs, rows, bool(environment.get("quick")))
    for what, parent in (("gpu", given.gpu), ("stack", given.stack)):
        fresh = {spec.key.partition(".")[2]: number(spec, value, error)
                 for spec, value, error in zip(specs, found.values, found.errors, strict=True)
                 if spec.key.startswith(f"{what}.") and error is not None}
        write(folder(given.out) / f"{parent}@{name}.yaml", parent, CAMPAIGN, _told(tables, rows, found), fresh)
        print(f"{parent}@{name}: " + (", ".join(f"{key} {one.text} (+- {one.error})" for key, one in fresh.items())
                                      or "nothing that these tables determine"))
    print(f"mean |ln| {100 * found.wrong:.1f} % on {len(rows)} rows")
    return 0


def _rows(tables: dict[str, Measured], gpu: str, stack: str, quick: bool) -> list[Row]:
    """The rows that may be fitted on, without those that carry a remark."""
    clean = {name: one._replace(table=one.table[one.table["remark"].isna()]) for name, one in tables.items()}
    told = predictions(",".join(tables), gpu, stack, quick)
    return [row for row in joined(told, clean) if not row.held_out]


def fit(pair: Pair, specs: Sequence[Spec], rows: Sequence[Row], quick: bool = False) -> Fit:
    """The numbers that bring predictions and rows together."""
    measured = np.array([row.measured_us for row in rows])

    def residual(at: Pair, _cut: tuple[float, ...]) -> NDArray[np.float64]:
        subject = Subject(at.gpu.value, at.stack.value, at.gpu.value.generation != "cpu", quick)
        told = [predict_point(subject, row.table, row.keys, "fluid").us for row in rows]
        return np.log(np.array(told) / measured)

    return search(pair, specs, residual)


def _told(tables: dict[str, Measured], rows: Sequence[Row], found: Fit) -> dict[str, Any]:
    """What a child says of its fit."""
    place = next(iter(tables.values())).environment
    return {
        "table": campaign(place),
        "rule": "rows of the resource and kernel rungs without a remark, none held out",
        "saw": "; ".join(f"{name} {sum(r.table == name for r in rows)}" for name in tables),
        "rows": len(rows), "error": f"{100 * found.wrong:.2f} % in the mean |ln| of these rows",
    }
