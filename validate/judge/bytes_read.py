"""`validate bytes`: the bytes that counters saw against those that were predicted, pass by pass.

Where counters were recorded (table pass_counters): HBM bytes, share of L2 reads that hit, bytes from the L2 to the SMs.
Where they were not: twelve layers of one shape, 12 to 1 of them unique (table sharing). The kernels are the same, so
what a shared layer saves is what the L2 kept; predicted and measured saving stand side by side.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from speedsim.catalog import load_gpu, load_stack
from speedsim.files import check_target, to_json, write_text
from speedsim.one_pass import pass_time, pipeline_rows
from speedsim.parsing import Parser

from ..records import read_folder
from ..refusal import RefusedError
from ..shapes import load
from .compare import joined
from .predict import Subject, machinery, predictions
from .statistics import Row

SCHEMA = "speedsim-bytes/1"
LAYERS = 12
CONTEXT = 256
"""Keys of the counted passes (campaign/counters.py)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim validate bytes", description=__doc__, allow_abbrev=False)
    parser.add_argument("measured", type=Path, help="a folder of measurement files")
    parser.add_argument("--gpu", default="h200_sxm", metavar="NAME")
    parser.add_argument("--stack", default="torch_graph", metavar="NAME")
    parser.add_argument("--json", metavar="FILE", help="write the whole answer as JSON; - is standard output")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if given.json not in (None, "-"):
        check_target(given.json)
    tables = read_folder(given.measured)
    gpu = load_gpu(given.gpu).value
    subject = Subject(gpu, load_stack(given.stack).value, gpu.generation != "cpu")
    found: dict[str, Any] = {"schema": SCHEMA, "gpu": gpu.name, "stack": subject.stack.name}
    counters = tables["pass_counters"].table if "pass_counters" in tables else None
    if counters is not None and counters["hbm_read_bytes"].notna().any():
        found["counted"] = counted(subject, counters[counters["hbm_read_bytes"].notna()])
    elif "sharing" in tables:
        told = predictions("sharing", given.gpu, given.stack, bool(tables["sharing"].environment.get("quick")))
        found["saved"] = saved(joined(told, {"sharing": tables["sharing"]}))
    else:
        raise RefusedError(f"{given.measured}: neither pass_counters nor sharing was measured")
    if given.json == "-":
        print(to_json(found))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(found) + "\n")
    print(text(found))
    return 0


def counted(subject: Subject, table: pd.DataFrame) -> dict[str, Any]:
    """Each counted pass beside its prediction."""
    passes = []
    for row in table.to_dict("records"):
        model = load(str(row["model"]))
        model = replace(model, prelude=0, coda=0, adapter=False, tied=True)
        rows = pipeline_rows(int(row["rows"]), CONTEXT, model.repetitions)
        told = pass_time(machinery(subject, "eager", "fluid"), model, rows, int(row["heads"]))
        measured = float(row["hbm_read_bytes"]) + float(row["hbm_write_bytes"])
        hit = float(row["l2_hit_sectors"]) / max(1.0, float(row["l2_sectors"]))
        passes.append({
            "model": row["model"], "rows": int(row["rows"]), "heads": int(row["heads"]),
            "predicted_hbm_bytes": told.hbm_bytes, "measured_hbm_bytes": measured,
            "error": 100 * (told.hbm_bytes / measured - 1),
            "predicted_hit": 1 - told.hbm_bytes / told.requested_bytes, "measured_hit": hit,
            "predicted_l2_to_sm_bytes": told.requested_bytes, "measured_l2_to_sm_bytes": float(row["l2_to_sm_bytes"]),
        })
    return {"passes": passes, "median_error": float(np.median([abs(p["error"]) for p in passes])),
            "median_hit_points": float(np.median([100 * abs(p["predicted_hit"] - p["measured_hit"]) for p in passes]))}


def saved(rows: Sequence[Row]) -> dict[str, Any]:
    """Time of twelve layers of u unique ones over that of twelve unique ones, measured and predicted."""
    groups: dict[tuple[int, int], dict[int, Row]] = {}
    for row in rows:
        groups.setdefault((row.keys["rows"], row.keys["heads"]), {})[row.keys["unique_layers"]] = row
    return {"groups": [
        {"rows": key[0], "heads": key[1], "measured": {str(u): r.measured_us / own[LAYERS].measured_us
                                                       for u, r in own.items()},
         "predicted": {str(u): r.predicted["us"] / own[LAYERS].predicted["us"] for u, r in own.items()}}
        for key, own in groups.items() if LAYERS in own
    ]}


def text(found: dict[str, Any]) -> str:
    """The answer for the screen."""
    if "counted" in found:
        one = found["counted"]
        lines = [f"{'':<28}{'HBM MB':>10}{'counted':>10}{'error':>9}{'L2 hits':>9}{'counted':>9}"]
        lines += [f"{p['model']} rows {p['rows']} heads {p['heads']}".ljust(28)
                  + f"{p['predicted_hbm_bytes'] / 1e6:>10.1f}{p['measured_hbm_bytes'] / 1e6:>10.1f}{p['error']:>+8.1f}%"
                  f"{p['predicted_hit']:>9.2f}{p['measured_hit']:>9.2f}" for p in one["passes"]]
        return "\n".join([*lines, "", f"median error of HBM bytes {one['median_error']:.1f} %, of the hit fraction "
                          f"{one['median_hit_points']:.1f} points"])
    lines = ["no counters were recorded: time of twelve layers over twelve unique ones, measured (predicted)"]
    for group in found["saved"]["groups"]:
        shares = ", ".join(f"{u} unique {t:.3f} ({group['predicted'][u]:.3f})" for u, t in group["measured"].items())
        lines.append(f"  rows {group['rows']}, heads {group['heads']}: {shares}")
    return "\n".join(lines)
