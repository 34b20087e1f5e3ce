"""Does the suite turn gamma into a text exactly, and say what it had seen before?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from speedsim.cli import main
from speedsim.config import load
from speedsim.model import Model
from speedsim.oracle import TraceOracle
from speedsim.registry import find
from speedsim.schedules.loopspec import LoopSpec
from speedsim.shelf import Shelf
from speedsim.suites import loopspec
from speedsim.units import InputError
from worlds import decode

SUITE = load(loopspec.Suite, find("suites", "loopspec")).value
ROWS = list(loopspec.read(find("suites", "loopspec").with_name(SUITE.rows)))
HEAD = ",".join(loopspec.COLUMNS)


def looped(label):
    return next(of for of in SUITE.models if of.label == label)


def repetitions(row):
    return load(Model, find("models", looped(row.model).model)).value.repetitions


def test_the_table_is_whole():
    assert len(ROWS) == 25
    assert sum(row.d2 is not None for row in ROWS) == 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model} {row.d1} {row.d2} {row.benchmark}")
def test_a_row_decodes_with_its_reported_gamma(row):
    g, tokens = repetitions(row), 1000
    of = looped(row.model)
    trace = loopspec.text(row, g, loopspec.shares(of, g, row), tokens, SUITE.context)
    (s,) = trace.sequences
    played = decode(LoopSpec(row.d1, row.d2, of.cycle or row.d1), s, TraceOracle({0: s}))
    one_token = (g - row.d1) / (tokens * g / row.gamma)
    assert tokens * g / played.sweeps == pytest.approx(row.gamma, rel=1.5 * one_token)


def test_one_proposal_is_accepted_as_often_as_gamma_says():
    row = ROWS[0]
    assert loopspec.shares(looped(row.model), 4, row).first == pytest.approx((4 - 4 / 3.13) / 3)


def test_two_proposals_lie_in_the_published_ranges_or_the_row_says_so():
    for row in (row for row in ROWS if row.d2):
        of = looped(row.model)
        found = loopspec.shares(of, repetitions(row), row)
        inside = of.first[0] <= found.first <= of.first[1] and of.second[0] <= found.second <= of.second[1]
        assert inside == (found.outside == 0)
        assert found.outside < 0.3


def test_a_gamma_that_cannot_be_is_refused():
    with pytest.raises(InputError, match="gamma 5 is not from 1 to 4"):
        loopspec.shares(looped("Ouro-1.4B"), 4, ROWS[0]._replace(gamma=5.0))


def test_rows_that_were_looked_at_are_no_test(tmp_path, capsys, monkeypatch):
    """Two rows of the table on the roofline tier: one named, one judged."""
    short = replace(SUITE, tokens=40, tier="roofline")
    monkeypatch.setattr(loopspec, "load", lambda cls, path: type("L", (), {"value": short}))
    table = tmp_path / "rows.csv"
    table.write_text(f"# two rows\n{HEAD}\nOuro-1.4B,1,,GSM8K,2.64,3.13\nOuro-1.4B,1,2,GSM8K,2.85,3.5\n")
    assert main(["suite", "loopspec", "--rows", str(table), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    named, judged = told["rows"]
    assert (named["named"], judged["named"]) == (True, False)
    assert [named[key] for key in loopspec.COLUMNS] == ["Ouro-1.4B", 1, None, "GSM8K", 2.64, 3.13]
    for summary, gpu in zip(told["summary"].values(), SUITE.gpus, strict=True):
        error = abs(judged["predicted"][gpu] / 2.85 - 1)
        assert (summary["rows"], summary["median_error"], summary["pairs"]) == (1, error, 1)
    assert judged["predicted_speedup"] == judged["predicted"][SUITE.gpus[0]]
    assert main(["suite", "loopspec", "--rows", str(table)]) == 0
    assert "1 rows, median error" in capsys.readouterr().out


@pytest.mark.slow
def test_the_price_of_a_live_row_is_the_one_at_which_the_named_rows_have_no_error(tmp_path, capsys):
    named = [row for row in ROWS if f"{row.model} d1={row.d1}" in SUITE.named and row.d2 is None]
    assert len(named) == 5
    table = tmp_path / "rows.csv"
    table.write_text("\n".join([HEAD, *(",".join("" if cell is None else str(cell) for cell in row) for row in named)]))
    assert main(["suite", "loopspec", "--rows", str(table), "--json", "-"]) == 0
    errors = [row["predicted_speedup"] / row["speedup"] - 1 for row in json.loads(capsys.readouterr().out)["rows"]]
    assert abs(sum(errors)) / 5 < 0.005


@pytest.mark.parametrize(("body", "said"), [
    ("model,d1\n", "the first line names the columns"), (f"{HEAD}\nOuro-1.4B,1,,GSM8K,fast,3.13\n", "rows.csv:2"),
    (f"{HEAD}\nOuro-9B,1,,GSM8K,2.64,3.13\n", "'Ouro-9B' is none of"),
])
def test_a_wrong_table_is_refused_in_one_line(tmp_path, capsys, body, said):
    table = tmp_path / "rows.csv"
    table.write_text(body)
    assert main(["suite", "loopspec", "--rows", str(table)]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_suite_names_those_there_are(capsys):
    assert main(["suite", "loopspeck"]) == 2
    assert "loopspec" in capsys.readouterr().err


@pytest.mark.parametrize("of", SUITE.models, ids=lambda of: of.label)
def test_every_model_of_the_family_runs(of):
    g = load(Model, find("models", of.model)).value.repetitions
    row = loopspec.Row(of.label, of.cycle or 2, None, "any", 1.0, 2.0)
    short = replace(SUITE, tokens=6, tier="roofline", gpus=SUITE.gpus[:1])
    found = loopspec._predicted(short, row, Shelf(), {})
    assert 0 < found["predicted_speedup"] < g
