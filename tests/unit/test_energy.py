"""Are joules and dollars what their figures say, and is their error told?"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from speedsim import Scenario, load_gpu
from speedsim.cli import main
from speedsim.energy import per_token
from speedsim.result import answer
from speedsim.sweeps.run import sweep
from speedsim.validate.power import judge

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=16,sequences=2,seed=5"


def test_a_token_takes_its_time_its_bytes_and_its_flop():
    told = answer(Scenario(synth=SYNTH))
    line, gpu = told.timeline(told.key), told.resolved.gpu.value
    found = per_token(gpu, line)
    count = line.counters
    expected = (105 * line.decode_ps / 1e12 + 122.4e-12 * sum(count.hbm_bytes.values()) + 0.71e-12 * count.flop) / 32
    assert found["energy_per_token_j"] == pytest.approx(expected)
    assert found["power_w"] == pytest.approx(expected * 32 / line.decode_ps * 1e12)
    assert found["cost_per_million_tokens_usd"] == pytest.approx(4.75 * line.decode_ps / 1e12 / 3600 / 32 * 1e6)


def test_a_card_without_figures_has_no_energy_and_a_sweep_leaves_it_empty():
    table = sweep(["gpu=h200_sxm,t4", "price_per_hour=1USD,2USD"], Scenario(synth=SYNTH))
    assert table["energy_per_token_j"].notna().tolist() == [True, True, False, False]
    one, two = table["cost_per_million_tokens_usd"][:2]
    assert two == pytest.approx(2 * one)
    told = answer(Scenario(synth=SYNTH))
    assert table["energy_per_token_j"][0] == pytest.approx(
        per_token(load_gpu("h200_sxm").value, told.timeline(told.key))["energy_per_token_j"])


def test_the_command_names_what_it_stands_on(capsys):
    assert main(["energy", "--synth", SYNTH]) == 0
    out = capsys.readouterr().out
    assert "estimates" in out.splitlines()[0]
    assert "price_per_hour: estimate, mercatus survey, May 2026" in out
    assert main(["energy", "--synth", SYNTH, "--gpu", "t4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["runs"]["speed"]["energy_per_token_j"] is None


def test_a_fit_on_a_share_finds_the_figures_that_made_a_table(tmp_path):
    """A table made by known figures: 200 W + 40 pJ a byte; the other card's figures are off, the fit is not."""
    draw = np.random.Generator(np.random.Philox(1))
    count = 400
    table = {name: draw.choice(values, count) for name, values in (
        ("batch_size", [1, 8, 32]), ("num_heads", [16, 32]), ("num_key_value_heads", [8]), ("head_dim", [128]),
        ("isl", [512, 8192, 65536]))}
    table["step"] = np.arange(count) + 1
    size = table["batch_size"] * (table["isl"] + table["step"] - 1) * 4 * 8 * 128
    table["latency"] = 0.01 + size / draw.uniform(3e12, 6e12, count) * 1e3
    capacity = load_gpu("b200_sxm").value.l2.capacity_bytes
    table["power"] = 200 + 40e-12 * np.where(size > capacity, size, 0) / (table["latency"] / 1e3)
    table |= {name: ["bfloat16"] * count for name in ("attn_dtype", "kv_cache_dtype")}
    table |= {"window_size": [0] * count, "beam_width": [1] * count}
    folder = tmp_path / "b200_sxm" / "attention" / "vllm" / "1.0"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "generation_attention_perf.parquet")
    (found,) = judge("b200_sxm", "h200_sxm", str(tmp_path))["tables"].values()
    assert found["fitted"]["mape"] < 0.1
    assert found["fitted"]["per_hbm_byte_pj"] == pytest.approx(40, rel=1e-3)
    assert found["assumed"]["mape"] > 10
    assert found["rows"] + found["fitted_on"] == count
