"""Does the judge score what it says, beside nulls, and call held out only what was written down before?"""

from __future__ import annotations

import json
import math
import subprocess

import pytest

pytest.importorskip("pandas")

from hypothesis import given
from hypothesis import strategies as st
from speedsim.validate.cli import main
from speedsim.validate.judge.budgets import broken, budgets
from speedsim.validate.judge.compare import committed, comparison, joined
from speedsim.validate.judge.page import page
from speedsim.validate.judge.predict import SCHEMA, read
from speedsim.validate.judge.statistics import NULLS, Row, bootstrap, null_predictions, regret, score, tau_b
from speedsim.validate.records import REQUIRED, Table, read_folder
from speedsim.validate.refusal import RefusedError


def row(predicted, measured, table="passes", held_out=True, regime="weights", **keys):
    told = {"us": predicted, "low_us": 0.8 * predicted, "high_us": 1.3 * predicted, "host_us": 0.0, "launch_us": 0.0,
            "device_us": predicted, "roofline_us": predicted / 2, "bytes": 1e6 * predicted}
    return Row(table, "pass", {"model": "a", **keys}, regime, held_out, told, measured, 0.01)


def test_errors_are_signed_and_their_sizes_averaged():
    rows = [row(11, 10), row(9, 10), row(12, 10), row(10, 10)]
    found = score([r.predicted["us"] for r in rows], rows, interval=True)
    assert found["mape"] == pytest.approx(10.0)
    assert found["bias"] == pytest.approx(5.0)
    assert found["median"] == pytest.approx(10.0)
    assert found["geometric"] == pytest.approx(100 * math.expm1((math.log(1.1) - math.log(0.9) + math.log(1.2)) / 4))
    assert found["coverage"] == 100.0
    assert found["mape_low"] == found["mape_high"] == pytest.approx(10.0)  # one shape: drawn again it is the same


def test_shapes_are_drawn_whole():
    low, high = bootstrap([0.0, 0.0, 1.0], ["a", "a", "b"])
    assert (low, high) == (0.0, 1.0)


def test_nulls_know_only_what_may_be_fitted_on():
    fit = [row(1, 10.0, held_out=False, rows=1), row(2, 20.0, held_out=False, rows=2)]
    (affine,) = null_predictions(NULLS["affine"], [row(4, 99, rows=4)], fit)
    assert affine == pytest.approx(40.0)
    assert null_predictions(NULLS["constant"], [row(4, 99, rows=4)], fit) == [15.0]
    assert null_predictions(NULLS["nearest"], [row(4, 99, rows=4)], fit) == [20.0]
    assert null_predictions(NULLS["roofline"], [row(4, 99, rows=4)], fit) == [2.0]


def test_a_null_without_fit_rows_learns_from_the_other_points():
    rows = [row(1, 10.0, rows=1), row(1, 30.0, rows=8)]
    assert null_predictions(NULLS["nearest"], rows, []) == [30.0, 10.0]


@given(st.lists(st.floats(1, 100), min_size=2, max_size=8, unique=True))
def test_the_right_order_has_tau_one_and_no_regret(times):
    assert tau_b(times, times, [0.0] * len(times)) == pytest.approx(1.0)
    assert tau_b([-t for t in times], times, [0.0] * len(times)) == pytest.approx(-1.0)
    assert regret(times, times) == 0.0


def test_pairs_within_the_noise_do_not_count():
    assert tau_b([1, 2], [10.0, 10.1], [0.1, 0.1]) is None
    assert regret([2, 1], [10.0, 11.0]) == pytest.approx(0.1)





def folder(path, times, began="2026-12-01T10:00:00+00:00"):
    """A measured table of choices: (case, option, microseconds)."""
    place = {key: "known" for key in REQUIRED} | {"card": "aa", "name": "Card A", "began": began}
    made = Table(path, "choices", "a test", ("case", "option"), ("median_us", "mad_us", "remark"), place)
    for case, option, us in times:
        made.add({"case": case, "option": option, "median_us": us, "mad_us": 0.01, "remark": ""})
    made.finish()
    return read_folder(path)


def predicted(times, **more):
    rows = [{"table": "choices", "rung": "schedule", "keys": {"case": case, "option": option}, "regime": "choices",
             "held_out": True, "basis": "assumed", "us": us, "low_us": us / 2, "high_us": 2 * us, "host_us": 0.0,
             "launch_us": 0.0, "device_us": us, "roofline_us": us / 3, "bytes": 1e6} for case, option, us in times]
    return {"schema": SCHEMA, "gpu": {"name": "g"}, "stack": {"name": "s"}, "rows": rows, **more}


OURS = [("inner", 0, 3.0), ("inner", 1, 2.5), ("inner", 2, 4.0), ("edge", 0, 1.0), ("edge", 1, 2.0)]
THEIRS = [("inner", 0, 3.0), ("inner", 1, 2.0), ("inner", 2, 5.0), ("edge", 0, 1.0), ("edge", 1, 3.0)]


def test_choices_count_where_the_measured_best_is_interior(tmp_path):
    found = comparison(predicted(OURS), folder(tmp_path, THEIRS), None)
    assert found["choices"]["cases"] == 2
    assert found["choices"]["interior"] == 1
    assert found["choices"]["ours"] == {"tau_b": pytest.approx(1.0), "regret": 0.0}
    assert found["choices"]["constant"]["regret"] == pytest.approx(50.0)


def test_only_what_was_committed_before_is_held_out(tmp_path):
    tables = folder(tmp_path, THEIRS)
    assert comparison(predicted(OURS), tables, "2026-11-30T00:00:00+00:00")["held_out"]
    assert not comparison(predicted(OURS), tables, "2026-12-02T00:00:00+00:00")["held_out"]
    assert not comparison(predicted(OURS), tables, None)["held_out"]


def test_a_file_changed_since_its_commit_is_not_committed(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True,
                       capture_output=True)

    file = tmp_path / "p.json"
    file.write_text("{}")
    git("init")
    assert committed(file) is None
    git("add", "p.json")
    git("commit", "-m", "a")
    assert committed(file) is not None
    file.write_text("{ }")
    assert committed(file) is None


def test_rows_that_were_fitted_on_judge_nothing(tmp_path):
    told = predicted(OURS, fitted_on=["campaign on Card A, 2026-12-01, card aa"])
    for one in told["rows"]:
        one["held_out"] = False
    with pytest.raises(RefusedError, match="fitted on just these rows"):
        comparison(told, folder(tmp_path, THEIRS), None)


def test_points_that_were_not_measured_are_left_out(tmp_path):
    tables = folder(tmp_path, THEIRS[:2])
    assert len(joined(predicted(OURS), tables)) == 2
    with pytest.raises(RefusedError, match="no measured point"):
        joined(predicted([("other", 0, 1.0)]), tables)


def test_a_broken_budget_ends_with_one_where_points_are_held_out(tmp_path, capsys):
    folder(tmp_path / "m", THEIRS)
    told, limits = tmp_path / "p.json", tmp_path / "b.yaml"
    told.write_text(json.dumps(predicted(OURS)))
    limits.write_text("budgets:\n  - {of: rungs.schedule, figure: mape, most: 3, points: 2}\n")
    arguments = ["compare", str(tmp_path / "m"), "--predictions", str(told), "--budgets", str(limits)]
    assert main(arguments) == 0  # never committed: it proves nothing
    found = comparison(predicted(OURS), read_folder(tmp_path / "m"), "2026-11-30T00:00:00+00:00", budgets(limits))
    assert found["broken"] == ["rungs.schedule: mape 15.7, budget 3"]
    assert "worst regime choices: 15.7 %" in capsys.readouterr().out


def test_shipped_budgets_are_read_and_wrong_ones_refused(tmp_path):
    assert budgets(None)
    for content, words in (("budgets: [{of: a}]", "budgets"), ("a: [", "budgets"), ("b: 1", "budgets"),
                           ("budgets: [{of: a, figure: luck, most: 1}]", "luck: no figure")):
        file = tmp_path / "b.yaml"
        file.write_text(content)
        with pytest.raises(RefusedError, match=words):
            budgets(file)
    assert broken({"held_out": False, "quick": False}, budgets(None)) == []


def test_a_page_escapes_what_comes_from_files(tmp_path):
    told = predicted([(f"<script>{c}", o, t) for c, o, t in OURS])
    found = comparison(told, folder(tmp_path, [(f"<script>{c}", o, t) for c, o, t in THEIRS]), None)
    found["measured_on"] = "<b>card</b>"
    html = page(found)
    assert "<script>" not in html
    assert "&lt;b&gt;card" in html
    assert html.count("<circle") == 5


def test_what_is_no_file_of_predictions_is_refused(tmp_path):
    file = tmp_path / "p.json"
    for content in ("", "[]", '{"schema": "other"}', "[" * 100_000):
        file.write_text(content)
        with pytest.raises(RefusedError, match="no speedsim-predictions/1"):
            read(file)
