"""`validate compare`: measured tables against predictions that were written down before, beside null models.

A comparison is called held out only where the predictions' file was committed, as it is, before the measurement began.
The headline is the worst regime. Speed-ups stand with the errors of their two times; the schedule rung stands once more
with the measured turnaround in the host's place, so that the device's own error shows. Choices (which depth, which
exits) are judged by rank and by regret, where the measured best is no end of its range.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from speedsim.files import check_target, to_json, write_text
from speedsim.parsing import Parser

from ..records import Measured, read_folder
from ..refusal import RefusedError
from .budgets import Budget, broken, budgets
from .page import page
from .predict import FOLDER, predictions, read
from .statistics import NULLS, Row, null_predictions, regret, score, tau_b

SCHEMA = "speedsim-comparison/1"
LEAST_REGIME = 5
"""Points from which a regime counts as one that may be called worst."""
COLUMN = {"turnaround": "turnaround_p50_us"}
"""The column that is predicted, where it is not median_us."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself; 1 when a budget is broken. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim validate compare", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("measured", type=Path, help="a folder of measurement files")
    add("--predictions", type=Path, metavar="FILE", help="default: validate/predictions/<gpu>.json")
    add("--gpu", default="h200_sxm", metavar="NAME", help="whose predictions (default h200_sxm)")
    add("--stack", default="torch_graph", metavar="NAME", help="software of predictions that are made now")
    add("--now", action="store_true", help="predict now instead of reading a file; nothing is held out then")
    add("--budgets", type=Path, metavar="FILE", help="default: validate/budgets.yaml")
    add("--html", type=Path, metavar="FILE", help="write a page")
    add("--json", metavar="FILE", help="write the whole comparison as JSON; - is standard output")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    for target in (given.json, given.html):
        if target not in (None, "-"):
            check_target(target)
    tables = read_folder(given.measured)
    quick = any(m.environment.get("quick") for m in tables.values())
    path = given.predictions or FOLDER / f"{given.gpu}.json"
    told = predictions("all", given.gpu, given.stack, quick) if given.now else read(path)
    found = comparison(told, tables, None if given.now else committed(path), budgets(given.budgets))
    if given.html is not None:
        write_text(given.html, page(found))
    if given.json == "-":
        print(to_json(found))
        return 1 if found["broken"] else 0
    if given.json is not None:
        write_text(given.json, to_json(found) + "\n")
    print(text(found))
    return 1 if found["broken"] else 0


def committed(path: Path) -> str | None:
    """When the file was committed as it is; None where it never was, or was changed since."""
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=path.resolve().parent, capture_output=True, text=True, check=False)

    try:
        if git("diff", "--quiet", "HEAD", "--", path.name).returncode:
            return None
        return git("log", "-1", "--format=%cI", "--", path.name).stdout.strip() or None
    except OSError:
        return None


def campaign(place: dict[str, Any]) -> str:
    """What a campaign is called in the children that were fitted on it."""
    return f"campaign on {place['name']}, {place['began'][:10]}, card {place['card']}"


def comparison(told: dict[str, Any], tables: dict[str, Measured], when: str | None,
               limits: Sequence[Budget] = ()) -> dict[str, Any]:
    """The whole comparison as a document; refused where nothing is left that was not fitted on."""
    rows = joined(told, tables)
    place = next(iter(tables.values())).environment
    began = min(m.environment["began"] for m in tables.values())
    before = when is not None and datetime.fromisoformat(when) < datetime.fromisoformat(began)
    seen = campaign(place) in told.get("fitted_on", ())
    fit = [r for r in rows if not r.held_out]
    judged = [r for r in rows if r.held_out] or ([] if seen else rows)
    if not judged:
        raise RefusedError(f"{told['gpu']['name']} and {told['stack']['name']} are fitted on just these rows: nothing "
                           "is left to judge them by")
    found: dict[str, Any] = {
        "schema": SCHEMA, "gpu": told["gpu"], "stack": told["stack"], "measured_on": place["name"],
        "began": began, "predictions_committed": when, "held_out": before, "quick": bool(place.get("quick")),
        "rungs": _by("rung", judged, fit), "fit_rungs": {} if seen else _by("rung", fit, fit),
        "regimes": _by("regime", judged, fit), "speedups": speedups(rows), "host_corrected": host_corrected(rows),
        "choices": choices(rows), "ablations": ablations(rows), "points": [_point(r) for r in rows],
    }
    found["headline"] = _headline(found)
    found["broken"] = broken(found, limits)
    return found


def _by(field: str, rows: Sequence[Row], fit: Sequence[Row]) -> dict[str, Any]:
    """Scores of the rows by their rung, or by what dominates."""
    return {name: scored([r for r in rows if getattr(r, field) == name], fit)
            for name in dict.fromkeys(getattr(r, field) for r in rows)}


def joined(told: dict[str, Any], tables: dict[str, Measured]) -> list[Row]:
    """Predictions with their measurements; points that were not measured, or failed, are left out."""
    found = []
    for one in told["rows"]:
        measured = tables.get(one["table"])
        if measured is None:
            continue
        table = measured.table
        for key, value in one["keys"].items():
            table = table[table[key] == value]
        column = COLUMN.get(one["table"], "median_us")
        if len(table) != 1 or not table[column].notna().iloc[0]:
            continue
        value = {key: float(one[key]) for key in one if key.endswith("_us") or key in ("us", "bytes")}
        found.append(Row(one["table"], one["rung"], one["keys"], one["regime"], one["held_out"], value,
                         float(table[column].iloc[0]), float(table["mad_us"].fillna(0).iloc[0])))
    if not found:
        raise RefusedError("no measured point is among the predictions: another campaign, or another device")
    return found


def scored(rows: Sequence[Row], fit: Sequence[Row]) -> dict[str, Any]:
    """Our score and the null models' on the same rows."""
    found: dict[str, Any] = dict(score([r.predicted["us"] for r in rows], rows, interval=True))
    found["nulls"] = {}
    for name, null in NULLS.items():
        told = null_predictions(null, rows, fit)
        known = [(t, r) for t, r in zip(told, rows, strict=True) if t is not None]
        found["nulls"][name] = score([t for t, _ in known], [r for _, r in known]) if known else None
    return found


def speedups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every measured pair of plain and speculative decodes, predicted and measured, with the errors of both times."""
    decodes = {tuple(sorted(r.keys.items())): r for r in rows if r.table == "decodes"}
    found = []
    for row in decodes.values():
        plain = decodes.get(tuple(sorted((row.keys | {"schedule": "autoregressive"}).items())))
        if plain is None or plain is row:
            continue
        ours, theirs = plain.predicted["us"] / row.predicted["us"], plain.measured_us / row.measured_us
        found.append({
            "keys": row.keys, "predicted": ours, "measured": theirs, "error": 100 * (ours / theirs - 1),
            "numerator_error": 100 * (plain.predicted["us"] / plain.measured_us - 1),
            "denominator_error": 100 * (row.predicted["us"] / row.measured_us - 1),
            "roofline": plain.predicted["roofline_us"] / row.predicted["roofline_us"],
        })
    return found


def host_corrected(rows: Sequence[Row]) -> dict[str, Any] | None:
    """The schedule rung once more, its host time scaled by measured over predicted turnaround."""
    turns = [r for r in rows if r.table == "turnaround"]
    decodes = [r for r in rows if r.rung == "schedule"]
    if not turns or not decodes:
        return None
    factor = sum(r.measured_us for r in turns) / sum(r.predicted["us"] for r in turns)
    told = [r.predicted["us"] + (factor - 1) * r.predicted["host_us"] for r in decodes]
    return {"turnaround_factor": factor, **score(told, decodes)}


def choices(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Rank and regret over the cases whose measured best is interior, beside the nulls'."""
    cases: dict[str, list[Row]] = {}
    for row in rows:
        if row.table == "choices":
            cases.setdefault(row.keys["case"], []).append(row)
    told: dict[str, list[tuple[float | None, float]]] = {"ours": [], **{name: [] for name in NULLS}}
    interior = 0
    for options in cases.values():
        measured = [r.measured_us for r in options]
        best = measured.index(min(measured))
        if not 0 < best < len(options) - 1:
            continue
        interior += 1
        noise = [r.noise_us for r in options]
        fit = [r for r in rows if r.table == "choices" and r.keys["case"] != options[0].keys["case"]]
        answers = {"ours": [r.predicted["us"] for r in options]}
        for name, null in NULLS.items():
            known = [null(r, fit) for r in options]
            answers[name] = [k for k in known if k is not None]
        for name, answer in answers.items():
            if len(answer) == len(options):
                told[name].append((tau_b(answer, measured, noise), regret(answer, measured)))
    if not interior:
        return None if not cases else {"cases": len(cases), "interior": 0}
    return {"cases": len(cases), "interior": interior, **{name: _decided(got) for name, got in told.items() if got}}


PARTS = (
    ("head", "sharing", "heads", lambda keys: keys["heads"] > 0, {"heads": 0}),
    ("sharing", "sharing", "unique_layers", lambda keys: keys["unique_layers"] == 12, {"unique_layers": 2}),
    ("launch", "decodes", "launch", lambda keys: keys["launch"] == "eager", {"launch": "graph"}),
    ("host", "decodes", "control", lambda keys: keys["control"] == "host", {"control": "device"}),
)
"""Parts of a gain that a pair of measurements isolates: (part, table, key, with it, what is different without it)."""


def ablations(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What a part costs by prediction and by measurement, from pairs that differ in it alone."""
    known = {(r.table, *sorted(r.keys.items())): r for r in rows}
    found = []
    for part, table, key, has, other in PARTS:
        for row in rows:
            without = known.get((table, *sorted((row.keys | other).items()))) if row.table == table else None
            if without is None or not has(row.keys):
                continue
            found.append({
                "part": part, "keys": row.keys, "without": other[key],
                "predicted_us": row.predicted["us"] - without.predicted["us"],
                "measured_us": row.measured_us - without.measured_us,
            })
    return found


def _decided(got: Sequence[tuple[float | None, float]]) -> dict[str, float | None]:
    taus = [tau for tau, _ in got if tau is not None]
    return {"tau_b": sum(taus) / len(taus) if taus else None, "regret": 100 * sum(r for _, r in got) / len(got)}


def _point(row: Row) -> dict[str, Any]:
    return {"table": row.table, "keys": row.keys, "regime": row.regime, "held_out": row.held_out,
            "predicted_us": row.predicted["us"], "low_us": row.predicted["low_us"],
            "high_us": row.predicted["high_us"], "measured_us": row.measured_us}


def _headline(found: dict[str, Any]) -> str:
    """The worst regime, in a sentence."""
    counted = {name: s for name, s in found["regimes"].items() if s["points"] >= LEAST_REGIME} or found["regimes"]
    name, worst = max(counted.items(), key=lambda pair: pair[1]["mape"])
    word = "held out" if found["held_out"] else "not held out: the predictions are no older than the measurement"
    best = min((s["mape"] for s in worst["nulls"].values() if s), default=None)
    beside = "" if best is None else f", the best null {best:.0f} %"
    return f"worst regime {name}: {worst['mape']:.1f} % over {worst['points']} points{beside} ({word})"


def text(found: dict[str, Any]) -> str:
    """The comparison for the screen."""
    lines = [f"{found['gpu']['name']}, {found['stack']['name']}: predicted; {found['measured_on']}, {found['began']}: "
             "measured", found["headline"], "",
             f"{'':<24}{'points':>7}{'MAPE':>8}{'90 %':>16}{'bias':>8}{'median':>8}{'p95':>8}{'inside':>8}"
             f"{'roofline':>10}{'affine':>8}{'const.':>8}{'nearest':>8}"]
    for title, group in (("", found["rungs"]), ("fit ", found["fit_rungs"]), ("  ", found["regimes"])):
        for name, one in group.items():
            nulls = [s["mape"] if s else None for s in one["nulls"].values()]
            lines.append(
                f"{title + name:<24}{one['points']:>7}{one['mape']:>8.1f}"
                f"{one['mape_low']:>8.1f}{one['mape_high']:>8.1f}{one['bias']:>+8.1f}{one['median']:>8.1f}"
                f"{one['p95']:>8.1f}{one['coverage']:>7.0f}%" + "".join(
                    f"{null:>{width}.1f}" if null is not None else " " * (width - 1) + "-"
                    for null, width in zip(nulls, (10, 8, 8, 8), strict=True)))
    for one in found["speedups"]:
        name = " ".join(str(v) for k, v in one["keys"].items() if k in ("model", "control", "launch", "plan"))
        lines.append(f"speed-up {name}: {one['predicted']:.3f} predicted, {one['measured']:.3f} measured "
                     f"({one['error']:+.1f} %; times {one['numerator_error']:+.1f} and "
                     f"{one['denominator_error']:+.1f})")
    if found["host_corrected"]:
        lines.append(f"with the measured turnaround: schedule MAPE {found['host_corrected']['mape']:.1f} %")
    if found["choices"] and found["choices"]["interior"]:
        one = found["choices"]["ours"]
        nulls = [told["regret"] for name, told in found["choices"].items() if name in NULLS]
        tau = "-" if one["tau_b"] is None else f"{one['tau_b']:.2f}"
        lines.append(f"choices: {found['choices']['interior']} with an interior best, tau-b {tau}, regret "
                     f"{one['regret']:.2f} %, the best null's {min(nulls, default=float('nan')):.2f} %")
    for part in dict.fromkeys(one["part"] for one in found["ablations"]):
        pairs = [one for one in found["ablations"] if one["part"] == part]
        told, real = (sum(one[which] for one in pairs) / len(pairs) for which in ("predicted_us", "measured_us"))
        lines.append(f"ablation, {part}: {told:.1f} us predicted, {real:.1f} us measured, mean of {len(pairs)} pairs")
    lines += [f"broken: {one}" for one in found["broken"]]
    return "\n".join(lines)
