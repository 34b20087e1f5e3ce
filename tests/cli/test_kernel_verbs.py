"""Does `speedsim kernel` answer for one linear layer and one attention, and refuse what makes no sense?"""

from __future__ import annotations

import csv
import io
import json

import pytest
from speedsim import cli

LAYER = ["linear", "--rows", "1", "--n", "4096", "--k", "4096"]
HEADS = ["attention", "--batch", "1", "--context", "4096", "--heads", "32", "--kv-heads", "8", "--head-dim", "128"]


def main(arguments):
    return cli.main(["kernel", *arguments])


def answer(capsys, *arguments):
    assert main([*arguments, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_linear_layer_has_a_time_with_parts_tile_ctas_waves_and_splits(capsys):
    doc = answer(capsys, *LAYER)
    assert doc["schema"] == "speedsim-kernel/1"
    assert doc["gpu"]["name"] == "h200_sxm"
    assert doc["shape"] == {"rows": 1, "n": 4096, "k": 4096, "dtype": "bf16"}
    assert doc["bytes"] == 2 * 4096 * 4096
    assert sum(doc["parts_us"].values()) == pytest.approx(doc["time_us"], rel=1e-12)
    assert doc["tile"] in (64, 128)
    assert doc["ctas"] == -(-4096 // doc["tile"]) * doc["splits"]
    assert doc["waves"] == -(-doc["ctas"] // 132)
    assert len(doc["kernels"]) == 1 + (doc["splits"] > 1)
    gaps = doc["gap_us"] * len(doc["kernels"])
    assert doc["parts_us"]["launch"] == pytest.approx(gaps)
    assert sum(kernel["time_us"] for kernel in doc["kernels"]) + gaps == pytest.approx(doc["time_us"])


def test_attention_is_split_over_the_sms(capsys):
    doc = answer(capsys, *HEADS)
    assert doc["ctas"] == 8 * doc["splits"]
    assert doc["splits"] > 1
    assert doc["tile"] is None
    assert doc["bytes"] == 4096 * 2 * 8 * 128 * 2


def test_the_states_of_the_cache_are_the_published_ones_unless_told(capsys):
    assert answer(capsys, *LAYER)["buffers"] == 6
    assert answer(capsys, *HEADS)["buffers"] == 1
    for arguments, hit in ((["--warm"], 1.0), (["--cold"], 0.0), (["--rotate", "6"], 0.0)):
        doc = answer(capsys, *LAYER, *arguments)
        assert doc["l2_hit_fraction"] == hit
        assert doc["time_us"] == doc["warm_us" if hit else "cold_us"]
    assert doc["warm_us"] < doc["cold_us"]


def test_gpu_stack_tier_and_type_can_be_chosen(capsys):
    base = answer(capsys, *LAYER)["time_us"]
    assert answer(capsys, *LAYER, "--gpu", "a100_sxm")["time_us"] > base
    assert answer(capsys, *LAYER, "--tier", "roofline")["time_us"] < base
    assert answer(capsys, *LAYER, "--dtype", "fp8")["time_us"] < base
    assert answer(capsys, *LAYER, "--stack", "vllm_0_24")["stack"]["name"] == "vllm_0_24"
    assert answer(capsys, *HEADS, "--rows", "4")["shape"]["rows"] == 4


def test_lists_and_ranges_are_points_rows_and_lines(capsys, tmp_path):
    file = tmp_path / "table.csv"
    assert main(["linear", "--rows", "1,8", "--n", "1024:1026", "--k", "512", "--csv", str(file)]) == 0
    text = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["rows"], row["n"]) for row in rows] == [(m, n) for m in "18" for n in ("1024", "1025", "1026")]
    assert all(float(row["time_us"]) > float(row["launch_us"]) > 0 for row in rows)
    assert len(text.splitlines()) == 3 + 6
    doc = answer(capsys, "linear", "--rows", "1,8", "--n", "1024", "--k", "512")
    assert doc["time_us"] == doc["points"][0]["time_us"]
    assert len(doc["points"]) == 2


def test_the_answer_goes_to_a_file_and_the_screen(capsys, tmp_path):
    assert main([*LAYER, "--json", str(tmp_path / "a.json")]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["time_us"] > 0
    assert "tier fluid, 6 buffers in turn: predicted" in capsys.readouterr().out


def test_a_reuse_near_the_knee_is_told(capsys):
    assert main(["linear", "--rows", "1", "--n", "1024", "--k", "3072"]) == 0
    assert "near the knee" in capsys.readouterr().out
    assert main(LAYER) == 0
    assert "near the knee" not in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [
    (["linear", "--rows", "0", "--n", "8", "--k", "8"], "--rows 0: must be 1 or more"),
    (["linear", "--rows", "1", "--n", "8", "--k", "x"], "--k x: whole numbers"),
    (["linear", "--rows", "9:1", "--n", "8", "--k", "8"], "ranges rising"),
    (["linear", "--rows", "1:10000", "--n", "1:10000", "--k", "8"], "combinations"),
    (["linear", "--rows", "1", "--n", "8"], "--k"),
    ([*LAYER, "--rotate", "0"], "--rotate 0"),
    ([*LAYER, "--warm", "--cold"], "not allowed with"),
    ([*LAYER, "--tier", "exact"], "--tier exact"),
    ([*LAYER, "--dtype", "bf17"], "--dtype bf17"),
    ([*LAYER, "--gpu", "h20"], "h200_nvl or h200_sxm"),
    ([*LAYER, "--stack", "none"], "stack 'none' is unknown"),
    ([*HEADS, "--kv-heads", "7"], "not a multiple"),
    ([*HEADS, "--context", "3", "--rows", "4"], "more queries"),
    ([*HEADS, "--batch", "9000", "--rows", "9"], "--batch 9000 x --rows 9"),
    (["convolution"], "convolution"),
])
def test_what_makes_no_sense_is_refused_in_one_line(capsys, arguments, words):
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_type_that_the_gpu_does_not_multiply_is_not_covered(capsys):
    assert main([*LAYER, "--dtype", "fp4"]) == 3
    assert "no peak for fp4" in capsys.readouterr().err


def test_what_no_source_tells_is_bounded_on_both_sides(capsys):
    tree = [*HEADS, "--tree", "--stack", "vllm_0_24"]
    told = answer(capsys, *tree, "--rows", "8")
    assert not told["rule"]["known"]
    assert told["rule"]["low_us"] == told["time_us"] < told["rule"]["high_us"]
    narrow = answer(capsys, *HEADS, "--stack", "vllm_0_24", "--gpu", "l40s", "--dtype", "fp8")["rule"]
    assert not narrow["known"]
    assert narrow["low_us"] < narrow["high_us"]
    assert main([*tree, "--rows", "8"]) == 0
    assert "not known from a source" in capsys.readouterr().out
    assert answer(capsys, *tree)["rule"] == {"library": "flash3", "known": True}
