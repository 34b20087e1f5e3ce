"""The suite of the SPEED paper: its arithmetic, its bars, and that a file of one's own runs as the shipped one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from speedsim.cli import main
from speedsim.config import load
from speedsim.registry import find
from speedsim.suites import speed_paper
from speedsim.suites.speed_paper import Point, Task, flips_of

LATENCY = {"12l": 10.0, "4l": 5.0, "2l": 4.0, "4x3": 6.0, "2x6": 7.0}
TASK = Task(barred=True, ordered=True, tokens=8, source_tokens=8,
            flips={"4x3": (0.08, 0.04), "2x6": (0.16, 0.08, 0.04, 0.02, 0.01)})


def test_flips_that_were_not_published_go_on_at_the_last_ratio():
    assert flips_of(TASK, "4x3") == (0.08, 0.04)
    assert flips_of(TASK, "4x4") == pytest.approx((0.08, 0.04, 0.02))
    assert flips_of(TASK, "2x8") == pytest.approx((0.16, 0.08, 0.04, 0.02, 0.01, 0.005, 0.0025))
    assert flips_of(TASK, "12l") == ()


def test_one_length_is_free_and_it_is_the_one_that_fits_best():
    """Times that are exactly 1 ms + 20 tokens give that length and no error."""
    points = {c: Point((ms - 1) / 20 * 1e3, 1.5 if c == "2x6" else 1.2) for c, ms in LATENCY.items()}
    told = speed_paper.beside(LATENCY, points, 1.0)
    assert told["length"] == pytest.approx(20)
    assert all(abs(row["error"]) < 1e-12 for row in told["configurations"].values())
    wrong = {c: replace(p, token_us=p.token_us * (2 if c == "12l" else 1)) for c, p in points.items()}
    best = speed_paper.beside(LATENCY, wrong, 1.0)["length"]
    loss = [sum(((1 + n * wrong[c].token_us / 1e3) / ms - 1) ** 2 for c, ms in LATENCY.items())
            for n in (best - 0.01, best, best + 0.01)]
    assert loss[1] == min(loss)


def test_a_cost_per_pass_reverses_two_shapes_where_their_times_meet():
    points = {c: Point(300.0, 1.0) for c in LATENCY} | {"4x3": Point(400.0, 1.2), "2x6": Point(340.0, 1.7)}
    at = speed_paper.beside(LATENCY, points, 0.0)["host_us_per_pass_that_reverses_2x6_and_4x3"]
    assert 400 + 1.2 * at == pytest.approx(340 + 1.7 * at)


def own(folder: Path, rows: str) -> str:
    """The shipped suite in one tier and with one sequence, over other rows."""
    text = find("suites", "speed_paper").read_text()
    (folder / "workloads" / "suites").mkdir(parents=True)
    (folder / "workloads" / "suites" / "speed_paper.yaml").write_text(
        text.replace("[roofline, fluid]", "[roofline]").replace("sequences: 8", "sequences: 1"))
    (folder / "rows.csv").write_text("task,metric,config,latency_ms,score\n" + rows)
    return str(folder / "rows.csv")


WMT = "".join(f"WMT-ENDE,BLEU,{c},{ms},0\n" for c, ms in
              (("12L", 15), ("4L", 7.2), ("2L", 5.2), ("4x3", 12.1), ("4x4", 13.9), ("2x6", 13), ("2x8", 15.6)))


def test_the_bytes_alone_meet_the_bars_on_the_unshared_decoders(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["suite", "speed_paper", "--rows", own(tmp_path, WMT), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["tiers"]) == ["roofline"]
    assert [bar["held"] for bar in found["tiers"]["roofline"]["bars"]] == [True, True, True]
    assert found["held"] == {"roofline": True}
    rows = found["tiers"]["roofline"]["tasks"]["WMT-ENDE"]["configurations"]
    assert [c for c, row in rows.items() if row["flips_extrapolated"]] == ["4x4", "2x8"]
    assert rows["12l"]["passes_per_token"] == 1
    assert 1.1 < rows["4x3"]["passes_per_token"] < rows["2x6"]["passes_per_token"] < 2


def test_the_screen_says_what_was_held(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["suite", "speed_paper", "--rows", own(tmp_path, WMT.replace("12L,15", "12L,40"))]) == 0
    said = capsys.readouterr().out
    assert "consistency with one free length a task, not accuracy" in said
    assert "MISSED WMT-ENDE: 12l / 4l within 8%" in said
    assert "they change places at" in said


@pytest.mark.parametrize(("rows", "said"), [
    ("WMT,BLEU,12L,15,0\n", "rows.csv:2: task 'WMT'"), ("WMT-ENDE,BLEU,3L,15,0\n", "config '3L'"),
    ("WMT-ENDE,BLEU,12L,-1,0\n", "latency_ms: '-1' is no time"), ("", "no row of task"),
    ("WMT-ENDE,BLEU,12L,1,0\n", "WMT-ENDE: no row for 4l, 2l, 4x3, 2x6"),
])
def test_rows_that_are_none_are_told_by_their_place(tmp_path, monkeypatch, capsys, rows, said):
    monkeypatch.chdir(tmp_path)
    assert main(["suite", "speed_paper", "--rows", own(tmp_path, rows)]) == 2
    assert said in capsys.readouterr().err


def test_the_shipped_figure_has_all_configurations_of_four_tasks():
    paper = load(speed_paper.Paper, find("suites", "speed_paper")).value
    rows = speed_paper.read(find("suites", "speed_paper").with_name(paper.rows), paper)
    assert {task: len(latency) for task, latency in rows.items()} == dict.fromkeys(paper.tasks, 7)
    assert rows["WMT-ENDE"]["12l"] / rows["WMT-ENDE"]["2l"] == pytest.approx(2.88, abs=0.01)
