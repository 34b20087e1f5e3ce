"""Is the public list a matter of names alone, and is a filled one judged beside the null models?"""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
from silicon_files import write_attention, write_linear
from speedsim.units import InputError
from speedsim.validate import score

LINEAR = [(m, n, k) for m in (1, 8, 32) for n in (512, 1024, 4096) for k in (512, 1024, 2048, 4096)]
ATTENTION = [(b, 8, 2, 128, keys, 0, 10.0 + b) for b in (1, 4) for keys in (64, 256, 1024, 4096, 16384)]


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """Tables of two GPUs on which every layer takes 10 us, and 8 us."""
    monkeypatch.setattr(score, "GPUS", ("h200_sxm", "h100_sxm"))
    for gpu, time in (("h200_sxm", 8.0), ("h100_sxm", 10.0)):
        write_linear(tmp_path, LINEAR, [time] * len(LINEAR), gpu=gpu)
        write_attention(tmp_path, ATTENTION, gpu=gpu)
    return tmp_path


def scores(capsys, *arguments):
    score.main([*map(str, arguments), "--json", "-"])
    return json.loads(capsys.readouterr().out)


def filled(tables, time):
    path = tables / "list.csv"
    score.main(["--data", str(tables), "--list", str(path)])
    return fill(path, time)


def fill(path, time):
    with path.open(newline="") as lines:
        read = list(csv.DictReader(lines))
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, read[0].keys())
        writer.writeheader()
        writer.writerows(line | {"predicted": time(line)} for line in read)
    return path


def test_the_list_holds_no_time_and_names_the_same_layers_on_both_hoppers(tables):
    with filled(tables, lambda line: "").open(newline="") as lines:
        read = list(csv.DictReader(lines))
    mine = {gpu: {line["id"].partition("/")[2] for line in read if line["gpu"] == gpu} for gpu in score.GPUS}
    assert mine["h200_sxm"] == mine["h100_sxm"]
    assert all(line["predicted"] == "" for line in read)
    assert not any(field.endswith(("_us", "_ms")) for field in read[0])


def test_a_list_that_is_a_tenth_too_long_is_a_tenth_off_and_its_gain_is_right(tables, capsys):
    path = filled(tables, lambda line: (8.8 if line["gpu"] == "h200_sxm" else 11) if line["kind"] == "linear" else "")
    yours = scores(capsys, path, "--data", tables)["scores"]["yours"]
    assert yours["linear"]["mape"] == pytest.approx(10)
    assert yours["linear"]["bias"] == pytest.approx(10)
    assert yours["gain"]["mape"] == pytest.approx(0)
    assert yours["attention"] is None
    assert yours["serving"] is None


def test_without_a_list_the_tiers_and_the_null_models_are_judged(tables, capsys):
    found = scores(capsys, "--data", tables)
    assert list(found["scores"]) == ["roofline", "a + W/b", "fluid, unfitted", "fluid"]
    assert {one["answered"] for name, one in found["scores"].items() if name != "a + W/b"} == {found["asked"]}


@pytest.mark.parametrize(("time", "message"), [
    (lambda line: "soon", "positive time"), (lambda line: "-1", "positive time"), (lambda line: "", "holds nothing"),
])
def test_times_that_are_none_are_refused_with_their_line(tables, time, message):
    path = filled(tables, time)
    with pytest.raises(InputError, match=message):
        score.main([str(path), "--data", str(tables)])


def test_an_id_that_is_not_on_the_list_is_refused(tables):
    path = filled(tables, lambda line: 1)
    path.write_text(path.read_text().replace("h100_sxm/linear/1x", "h100_sxm/linear/999x"))
    with pytest.raises(InputError, match="not on the list"):
        score.main([str(path), "--data", str(tables)])


def test_the_commands_of_the_page_run_in_their_order(tables, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "score.md").read_text()
    commands = re.findall(r"^speedsim score.*$", page, re.MULTILINE)
    assert len(commands) == 3
    monkeypatch.setattr(score, "folder", lambda data: tables)
    monkeypatch.setattr(score, "servers", lambda data: [])
    monkeypatch.chdir(tables)
    for command in commands:
        assert score.main(shlex.split(command)[2:]) == 0
        if "--list" in command:
            fill(tables / "list.csv", lambda line: 9)
    shown = capsys.readouterr().out
    assert "yours" in shown
    assert "a + W/b" in shown
