"""Do predictions, measurement files, calibration and comparison fit each other, from design to verdict?"""

from __future__ import annotations

import json

import pytest
from speedsim.catalog import load_gpu, load_stack
from speedsim.validate.cli import main
from speedsim.validate.judge.predict import RUNGS, Subject, predict_point, predictions
from speedsim.validate.judge.predict import text as as_text
from speedsim.validate.records import REQUIRED, Table, read_folder

TRUE = {"gpu": (("launch.node_gap", "1.9 us"),), "stack": (("host.turnaround", "31 us"),
                                                           ("kernels.gemm.fixed.hopper", "1.5 us"))}


def measured(folder, tables, quick=True):
    """A campaign as a card of other numbers would have measured it: each point predicted with those."""
    gpu, stack = load_gpu("h200_sxm", TRUE["gpu"]).value, load_stack("torch_graph", TRUE["stack"]).value
    subject = Subject(gpu, stack, True, quick)
    place = {key: "known" for key in REQUIRED} | {"card": "aa", "name": "Card A", "quick": quick,
                                                  "began": "2026-12-01T10:00:00+00:00"}
    for name in tables:
        rows = [row for row in predictions(name, "h200_sxm", "torch_graph", quick)["rows"]]
        keys = tuple(rows[0]["keys"])
        made = Table(folder, name, "a test", keys, ("median_us", "turnaround_p50_us", "mad_us", "remark"), place)
        for row in rows:
            us = predict_point(subject, name, row["keys"], "fluid").us
            made.add(row["keys"] | {"median_us": us, "turnaround_p50_us": us, "mad_us": us / 1000})
        made.finish()


def test_every_table_of_the_campaign_is_predicted_with_parts_and_interval(tmp_path):
    document = predictions("all", "h200_sxm", "torch_graph", quick=True)
    assert {row["table"] for row in document["rows"]} == set(RUNGS)
    for row in document["rows"]:
        assert row["low_us"] <= row["us"] <= row["high_us"]
        assert row["host_us"] + row["launch_us"] + row["device_us"] == pytest.approx(row["us"], abs=1e-3)
        assert row["roofline_us"] <= row["us"] + 1e-3
    assert json.loads(as_text(document)) == document
    assert as_text(document).count("\n") >= len(document["rows"])


def test_calibration_finds_a_cards_numbers_and_its_children_predict_the_rest(tmp_path, capsys, monkeypatch):
    measured(tmp_path / "m", ("turnaround", "node_gaps", "linear", "sharing"))
    out = tmp_path / "hw_configs" / "fitted"
    assert main(["calibrate", str(tmp_path / "m"), "--out", str(out)]) == 0
    assert "standard error" in (out / "torch_graph@campaign-2026-12.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    stack = load_stack("torch_graph@campaign-2026-12")
    assert stack.value.host.turnaround_ps == pytest.approx(31e6, rel=0.02)
    assert load_gpu("h200_sxm@campaign-2026-12").value.launch.node_gap_ps == pytest.approx(1.9e6, rel=0.02)
    capsys.readouterr()
    arguments = ["compare", str(tmp_path / "m"), "--now", "--json", "-"]
    assert main(arguments) == 0
    before = json.loads(capsys.readouterr().out)
    children = ["--gpu", "h200_sxm@campaign-2026-12", "--stack", "torch_graph@campaign-2026-12"]
    assert main([*arguments, *children]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["fit_rungs"] == {}  # what it was fitted on judges nothing
    assert after["rungs"]["pass"]["mape"] < before["rungs"]["pass"]["mape"] / 3
    assert not before["held_out"]
    heads = [one for one in before["ablations"] if one["part"] == "head"]
    assert heads
    assert all(one["predicted_us"] > 0 and one["measured_us"] > 0 for one in heads)


def test_only_the_lower_rungs_are_read(tmp_path):
    measured(tmp_path / "m", ("passes", "decodes"))
    assert set(read_folder(tmp_path / "m")) == {"passes", "decodes"}
    assert main(["calibrate", str(tmp_path / "m"), "--out", str(tmp_path)]) == 2


def test_bytes_compares_what_sharing_saves_where_nothing_was_counted(tmp_path, capsys):
    measured(tmp_path / "m", ("sharing",))
    assert main(["bytes", str(tmp_path / "m"), "--json", "-"]) == 0
    (group, *_) = json.loads(capsys.readouterr().out)["saved"]["groups"]
    assert group["measured"]["12"] == group["predicted"]["12"] == 1.0


def test_bytes_compares_counted_passes(tmp_path, capsys):
    place = {key: "known" for key in REQUIRED} | {"card": "aa", "name": "Card A", "began": "2026-12-01T10:00:00+00:00"}
    columns = ("hbm_read_bytes", "hbm_write_bytes", "l2_sectors", "l2_hit_sectors", "l2_to_sm_bytes")
    made = Table(tmp_path, "pass_counters", "a test", ("model", "rows", "heads"), columns, place)
    made.add({"model": "speed_2x6", "rows": 1, "heads": 0, "hbm_read_bytes": 30e6, "hbm_write_bytes": 1e6,
              "l2_sectors": 1e6, "l2_hit_sectors": 2e5, "l2_to_sm_bytes": 32e6})
    made.finish()
    assert main(["bytes", str(tmp_path), "--json", "-"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["counted"]["passes"]
    assert one["measured_hbm_bytes"] == 31e6
    assert one["measured_hit"] == pytest.approx(0.2)
    assert one["error"] == pytest.approx(100 * (one["predicted_hbm_bytes"] / 31e6 - 1))


def test_the_whole_path_goes_on_this_processors_own_campaign(tmp_path, capsys):
    """Nothing is judged by it: two noisy cores stand in for a card, so that every step from bench to verdict runs."""
    folder = tmp_path / "m"
    assert main(["campaign", "--part", "1", "--device", "cpu", "--quick", "--threads", "1", "--out", str(folder),
                 "--only", "turnaround,node_gaps,sharing"]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    arguments = ["compare", str(folder), "--gpu", "generic_server_cpu", "--now", "--html", str(page), "--json", "-"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["quick"]
    assert not found["held_out"]
    assert found["rungs"]["pass"]["points"] == 4
    assert set(found["rungs"]["pass"]["nulls"]) == {"roofline", "affine", "constant", "nearest"}
    assert page.read_text().startswith("<!doctype html>")
    assert main(["bytes", str(folder), "--gpu", "generic_server_cpu"]) == 0
