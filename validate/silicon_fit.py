"""`fit silicon`: read the numbers of a kernel model off a twentieth of one published table (fitting.py).

What is predicted is the simulator's own answer. Equal tables, descriptions and lists of numbers (silicon_fit.yaml) give
equal children, so a child that was fitted on just these is left as it is, and a stopped command goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from speedsim.many_kernels import Many
from speedsim.parsing import Parser
from speedsim.reading import document
from speedsim.reading.plain import plain
from speedsim.units import InputError, NotCoveredError

from .fitting import Spec, at_values, number, search, specs_of
from .silicon import Asked, bursting, chosen_rows, layers, predictions
from .silicon_children import Pair, child_names, folder, parents, unfitted, write
from .silicon_score import SHARE, Scores, scores, sealed
from .silicon_tables import OPS, Rows, Table, covered, rows
from .silicon_tables import folder as tables_folder

SPEC = Path(__file__).with_suffix(".yaml")
MOST_KEPT = 256
"""Lowered shares kept at a time."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("what", choices=("silicon",), help="on which measurements")
    add("--gpu", default="all", metavar="all|NAME", help="a GPU, or every one that has a table (default)")
    add("--op", default="linear", choices=tuple(OPS), help="kind of kernel (default linear)")
    add("--framework", default="vllm", metavar="NAME", help="whose tables (default vllm)")
    add("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    add("--out", metavar="FOLDER", help="where the children go (default hw_configs/fitted)")
    add("--cells", type=int, metavar="N", help="fit on N whole cells (n, k), judge on the others, write nothing")
    add("--again", action="store_true", help="fit anew what is fitted on the same table and descriptions already")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate fit", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args(arguments)
    if options.cells is not None and (options.op != "linear" or options.cells < 1):
        raise InputError("--cells: linear layers alone have cells (n, k), one or more")
    out = folder(options.out)
    data = tables_folder(options.data)
    for table in covered(data, options.op, options.gpu, options.framework):
        if options.cells is None:
            fit_table(table, data, out, options.again)
        else:
            print(f"{table.gpu}, {options.cells} whole cells: {cells_score(table, options.cells)}")
    return 0


def cells_score(table: Table, count: int) -> Scores:
    """Scores on all other open rows of a fit on so many whole open cells, those with the smallest crc32."""
    whole = rows(table, "bf16", 1, OPS[table.op].widest)
    openly = np.flatnonzero(~sealed(whole.shapes))
    names = [(n, k) for _, n, k in whole.shapes[openly].tolist()]
    cells = sorted(set(names), key=lambda cell: crc32(f"cells:{cell}".encode()))
    inside = np.array([name in cells[:count] for name in names])
    seen, rest = (whole._replace(shapes=whole.shapes[part], measured_us=whole.measured_us[part])
                  for part in (openly[inside], openly[~inside]))
    pair = parents(table, table.stack)
    specs = specs_of(table.op, pair, SPEC)
    best = at_values(pair, specs, search(pair, specs, Tabled(seen, table.op)).values)
    found = scores(predictions(best, "fluid", rest, table.op), rest.measured_us)
    if found is None:
        raise InputError(f"--cells {count}: the table has only {len(cells)} open cells")
    return found


def fit_table(table: Table, data: Path, out: Path, again: bool) -> None:
    """Fit one table's share and write its children."""
    pair = unfitted(table, table.op)
    specs = specs_of(table.op, pair, SPEC)
    if not specs:
        raise NotCoveredError(f"{table.op}: no numbers are named in {SPEC.name}")
    told = _told(table, data, pair, specs)
    gpu, stack = (out / f"{name}.yaml" for name in child_names(table, table.stack))
    if not again and all(_same(path, table.op, told, specs, what) for path, what in ((gpu, "gpu"), (stack, "stack"))):
        print(f"{table.gpu}, {table.op}: fitted already on the same table and descriptions")
        return
    _, seen = chosen_rows(table, Asked(table.gpu, table.op, high=OPS[table.op].widest))
    found = search(pair, specs, Tabled(seen, table.op))
    best = at_values(pair, specs, found.values)
    judged = np.log(predictions(best, "fluid", seen, table.op) / seen.measured_us)
    if abs(float(np.abs(judged).mean()) - found.wrong) > 1e-9:
        raise AssertionError(f"{SPEC.name}: a number of {table.op} changes how kernels are cut and says no cuts: true")
    for path, what, parent in ((gpu, "gpu", table.gpu), (stack, "stack", table.stack)):
        fresh = {spec.key.partition(".")[2]: number(spec, value, error)
                 for spec, value, error in zip(specs, found.values, found.errors, strict=True)
                 if spec.key.startswith(f"{what}.")}
        rows = {"rows": len(seen.shapes), "error": f"{100 * found.wrong:.2f} % in the mean |ln| of these rows"}
        write(path, parent, table.op, told | rows, fresh)
    print(f"{table.gpu}, {table.op}: {len(specs)} numbers on {len(seen.shapes)} rows, mean |ln| "
          f"{100 * found.wrong:.2f} %")


def _told(table: Table, data: Path, pair: Pair, specs: tuple[Spec, ...]) -> dict[str, Any]:
    """What a child says of its fit; equal where a fit would be."""
    kernels = pair.stack.value.kernels
    library = kernels.gemm if table.op == "linear" else kernels.attention
    recipe = repr([spec._replace(start=0.0) for spec in specs]) + pair.gpu.digest + json.dumps(plain(library))
    return {
        "table": str(table.path.relative_to(data)), "sha256": hashlib.sha256(table.path.read_bytes()).hexdigest(),
        "rule": f"of the open rows, one in {SHARE}: smallest crc32 of fit:SHAPE",
        "recipe": hashlib.sha256(recipe.encode()).hexdigest()[:16],
    }


def _same(path: Path, op: str, told: dict[str, Any], specs: tuple[Spec, ...], what: str) -> bool:
    """Whether a child holds the fit that would be made."""
    if not any(spec.key.startswith(f"{what}.") for spec in specs):
        return True
    known = document.read(path).plain().get("fit", {}).get(op, {}) if path.is_file() else {}
    return all(known.get(key) == value for key, value in told.items())


class Tabled:
    """The residuals of a published table's share; kernels are lowered once for each way of cutting them."""

    def __init__(self, seen: Rows, op: str) -> None:
        self._layers, self._buffers = layers(seen, op)
        self._measured_us = seen.measured_us
        self._lowered: dict[tuple[float, ...], Many] = {}

    def __call__(self, pair: Pair, cut: tuple[float, ...]) -> NDArray[np.float64]:
        """ln(predicted / measured) of each row; `cut` names the way of cutting."""
        gpu, software = bursting(pair.gpu.value), pair.stack.value.kernels
        if cut not in self._lowered:
            if len(self._lowered) >= MOST_KEPT:
                self._lowered.clear()
            self._lowered[cut] = Many(self._layers, self._buffers, gpu, software)
        return np.log(self._lowered[cut].times_us(gpu, software) / self._measured_us)
