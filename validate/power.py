"""`validate power`: energy figures judged on published tables that carry watts (decode attention on a B200, so far).

    W = static + (J a byte) * bytes of keys and values / t + (J a flop) * flop / t        t: the table's own time

Only the power is judged, at the measured time. Keys and values that fit the L2 are read again from it by the table's
repetitions and cost no HBM byte. Two sets of figures stand side by side: those of another card's file (what would be
assumed), and a least-squares fit, not below zero, on one row in 20 (the share of silicon_score.py); both are scored on
the other rows. A board's sensor averages over 25 to 100 ms, longer than most rows run, so the table's
watts of short kernels are partly those of their neighbours; rows by time are scored apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from speedsim.catalog import load_gpu
from speedsim.files import to_json
from speedsim.parsing import Parser
from speedsim.units import NotCoveredError

from .silicon_score import share
from .silicon_tables import OPS, covered, folder

SCHEMA = "speedsim-power/1"
TERA = 1e12
"""Watts per TB/s are pJ a byte."""
EDGES_US = (0, 10, 30, 100, 1e9)
Floats = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge, print. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate power", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", default="all", metavar="NAME", help="whose tables (default: all that have watts)")
    parser.add_argument("--figures", default="h200_sxm", metavar="GPU", help="whose energy figures are assumed")
    parser.add_argument("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    parser.add_argument("--json", action="store_true", help="as JSON")
    options = parser.parse_args(arguments)
    document = judge(options.gpu, options.figures, options.data)
    print(to_json(document) if options.json else text(document))
    return 0


def judge(gpu: str, figures: str, data: str | None = None) -> dict[str, Any]:
    """The scores of every table that has watts."""
    found = {}
    with_watts = [path for table in covered(folder(data), "attention", gpu, "*") for path in _versions(table.path)]
    for path in dict.fromkeys(with_watts):
        found["/".join(path.parts[-5:-1])] = _judged(path, figures)
    if not found:
        raise NotCoveredError(f"{gpu}: no attention table carries watts")
    return {"schema": SCHEMA, "figures": figures, "tables": found}


def _versions(path: Path) -> list[Path]:
    """Every version of a table that has watts; the newest may have none."""
    import pyarrow.parquet as pq

    return [one for one in sorted(path.parents[1].glob(f"*/{OPS['attention'].file}"))
            if "power" in pq.read_schema(one).names]


def _judged(path: Path, figures: str) -> dict[str, Any]:
    """One table."""
    import pyarrow.parquet as pq

    read = pq.read_table(path, filters=[("window_size", "==", 0), ("attn_dtype", "==", "bfloat16"),
                                        ("kv_cache_dtype", "==", "bfloat16"), ("beam_width", "==", 1)])
    column = {name: read.column(name).to_numpy().astype(np.float64) for name in
              ("batch_size", "isl", "step", "num_heads", "num_key_value_heads", "head_dim", "latency", "power")}
    keys = column["batch_size"] * (column["isl"] + column["step"] - 1)
    size = keys * 4 * column["num_key_value_heads"] * column["head_dim"]
    card = load_gpu(path.parts[-5]).value
    seconds = column["latency"] / 1e3
    missed = np.where(size > card.l2.capacity_bytes, size, 0.0)
    rates = np.stack([np.ones_like(size), missed / seconds / TERA,
                      4 * keys * column["num_heads"] * column["head_dim"] / seconds / TERA], axis=1)
    shapes = np.stack([column[name].astype(np.int64) for name in list(column)[:6]], axis=1)
    fitted = share(shapes, np.ones(len(shapes), dtype=bool))
    energy = load_gpu(figures).value.energy
    each = (energy.per_hbm_byte_j, energy.per_flop_j)
    assumed = np.array([energy.static_w or 0.0, *(TERA * (joules or 0.0) for joules in each)])
    fit = _not_below_zero(rates[fitted], column["power"][fitted])
    watts, us = column["power"][~fitted], seconds[~fitted] * 1e6
    return {
        "rows": int((~fitted).sum()), "fitted_on": int(fitted.sum()),
        "assumed": _scores(rates[~fitted] @ assumed, watts, us) | _numbers(assumed),
        "fitted": _scores(rates[~fitted] @ fit, watts, us) | _numbers(fit),
        "mean_power": _scores(np.full(len(watts), column["power"][fitted].mean()), watts, us),
    }


def _not_below_zero(rates: Floats, watts: Floats) -> Floats:
    """Least squares with coefficients of 0 or more: those that come out negative are left out, largest first."""
    kept = list(range(rates.shape[1]))
    while True:
        solved = np.linalg.lstsq(rates[:, kept], watts, rcond=None)[0]
        if (solved >= 0).all():
            found = np.zeros(rates.shape[1])
            found[kept] = solved
            return found
        del kept[int(solved.argmin())]


def _scores(predicted: Floats, measured: Floats, us: Floats) -> dict[str, Any]:
    """Mean absolute and mean signed error in percent, over all rows and by how long they run."""
    off = (predicted - measured) / measured * 100
    by_time = {f"{low:g}-{high:g} us": {"rows": int(inside.sum()), "mape": float(np.abs(off[inside]).mean()),
                                        "bias": float(off[inside].mean())}
               for low, high in pairwise(EDGES_US)
               if (inside := (us > low) & (us <= high)).any()}
    return {"mape": float(np.abs(off).mean()), "bias": float(off.mean()), "by_time": by_time}


def _numbers(figures: Floats) -> dict[str, float]:
    return {"static_w": float(figures[0]), "per_hbm_byte_pj": float(figures[1]), "per_flop_pj": float(figures[2])}


def text(document: dict[str, Any]) -> str:
    """The scores for the screen."""
    lines = []
    for name, table in document["tables"].items():
        lines.append(f"{name}: {table['rows']:,} rows, fitted on {table['fitted_on']:,} others")
        for label, words in (("assumed", f"figures of {document['figures']}"), ("fitted", "fitted on the share"),
                             ("mean_power", "null: the share's mean power")):
            score = table[label]
            spans = ", ".join(f"{span} {one['mape']:.0f} %" for span, one in score["by_time"].items())
            lines.append(f"  {words:<28} error {score['mape']:5.1f} %, bias {score['bias']:+6.1f} %   ({spans})")
            if "static_w" in score:
                lines.append(f"    {score['static_w']:.0f} W + {score['per_hbm_byte_pj']:.1f} pJ/byte + "
                             f"{score['per_flop_pj']:.2f} pJ/flop")
    return "\n".join(lines)
