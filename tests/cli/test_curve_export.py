"""Do the curve and the exported pass times say what single runs say?"""

from __future__ import annotations

import csv

import pytest
from speedsim import Scenario
from speedsim.cli import main
from speedsim.result import answer
from speedsim.whatifs.frontier import curve
from speedsim.whatifs.pass_times import STATISTICS, predictor, vidur

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=12,sequences=4,seed=5"


def test_a_point_of_the_curve_is_the_run_at_that_batch():
    table = curve(Scenario(synth=SYNTH), batches=(1, 4), slo="tpot=400us")
    assert list(table["schedule"]) == ["autoregressive", "autoregressive", "speed", "speed"]
    for _, row in table.iterrows():
        told = answer(Scenario(synth=SYNTH, schedule=row["schedule"], batch=row["batch"]))
        line = told.timeline(told.key)
        assert row["tokens_per_s"] == pytest.approx(48e12 / line.decode_ps)
        each = sum(d.end_ps - d.start_ps for d in line.decodes) / 48
        assert row["tokens_per_s_user"] == pytest.approx(1e12 / each)
        assert row["meets_slo"] == (each <= 400e6)
    assert (table["gain"][:2] == 1).all()
    assert table["pareto"].any()


def test_nothing_on_the_front_is_beaten_by_anything():
    table = curve(Scenario(synth=SYNTH), batches=(1, 2, 4))
    for _, best in table[table["pareto"]].iterrows():
        better = table[(table["tokens_per_s_user"] > best["tokens_per_s_user"])
                       & (table["tokens_per_s"] > best["tokens_per_s"])]
        assert better.empty


def test_more_rows_and_longer_contexts_take_no_less_time():
    table = predictor(Scenario(), (1, 6), (128, 2048)).set_index(["rows", "context"])["time_us"]
    assert table[1, 128] <= table[6, 128] <= table[6, 2048]
    assert table[1, 128] <= table[1, 2048]


def test_captured_widths_are_named():
    table = predictor(Scenario(stack="vllm_0_24", launch="graph"), (3,), (128,))
    assert table["width"][0] >= 3


def test_vidur_gets_a_column_for_each_operation():
    tables = vidur(Scenario(), (1, 4), (128, 256))
    dense, attention = tables["mlp.csv"], tables["attention.csv"]
    assert len(dense) == 2
    assert len(attention) == 4
    for name in ("attn_pre_proj", "attn_post_proj", "mlp_up_proj", "mlp_down_proj", "emb", "input_layernorm"):
        assert (dense[f"time_stats.{name}.median"] > 0).all(), name
        assert {f"time_stats.{name}.{what}" for what in STATISTICS} <= set(dense.columns)
    assert (attention["time_stats.attn_decode.median"] > 0).all()
    assert (dense["n_embd"] == 768).all()


def test_the_commands_write_and_print(tmp_path, capsys):
    assert main(["curve", "--synth", SYNTH, "--batches", "1,2", "--slo", "tpot=1ns"]) == 0
    assert "nothing meets tpot=1ns" in capsys.readouterr().out
    assert main(["export", "predictor", "--rows", "1,2", "--contexts", "128", "--out", str(tmp_path / "p.csv")]) == 0
    with (tmp_path / "p.csv").open() as stream:
        assert [row["rows"] for row in csv.DictReader(stream)] == ["1", "2"]
    assert main(["export", "predictor", "--format", "vidur", "--rows", "1", "--contexts", "128",
                 "--out", str(tmp_path / "v")]) == 0
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == ["attention.csv", "mlp.csv"]


@pytest.mark.parametrize(("arguments", "said"), [
    (["curve", "--slo", "tpt=1ms"], "write tpot=TIME"),
    (["curve", "--slo", "tpot=1"], "has no unit"),
    (["curve", "--batches", "1,x"], "whole numbers are expected"),
    (["curve", "--batches", "1000"], "the text has 64"),
    (["export", "predictor", "--rows", "0", "--out", "x.csv"], "whole numbers from 1"),
    (["export", "predictor", "--out", "none/there/x.csv"], "cannot be written"),
])
def test_a_mistake_is_told_in_one_line(capsys, arguments, said):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
