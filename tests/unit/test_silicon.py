"""Does the judge of kernels score what it says, and does a kernel on the bench take what it takes in a pass?"""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from silicon_files import write_attention, write_linear
from speedsim.catalog import load_gpu, load_stack
from speedsim.model import Model
from speedsim.one_kernel import COLD, ROTATED, WARM, Attention, Bench, Linear
from speedsim.plan import Plan
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.trace import synthetic
from speedsim.units import InputError, NotCoveredError
from speedsim.validate import silicon, silicon_quirks
from speedsim.validate.silicon_score import affine, growth, others, regions, scores, sealed, share
from speedsim.validate.silicon_tables import covered, folder, rows, tables
from worlds import simulate, tiny_gpu, tiny_stack

MIB = 2**20


# One kernel


def chip():
    """A card with an L2 of 8 MiB, latencies and a gap."""
    gpu = tiny_gpu(capacity=8 * MIB, curve=((0.7, 1.0), (1.3, 0.0)), node=1_270_000)
    return replace(gpu, hbm=replace(gpu.hbm, latency_ps=400_000), l2=replace(gpu.l2, near_latency_ps=150_000))


def library():
    """Software with tiles, splits, a loop and a set-up."""
    stack = tiny_stack()
    gemm = replace(stack.kernels.gemm, tiles=(64, 128), split_cost={"default": 500}, split_least={"default": 128},
                   step_cycles={"default": 165.0}, fixed_ps={"default": 900_000})
    return replace(stack, kernels=replace(stack.kernels, gemm=gemm))


@pytest.mark.parametrize(("n", "k", "splits"), [(4096, 512, 1), (1024, 2048, 12)])
@pytest.mark.parametrize(("layers", "buffers"), [(1, WARM), (6, ROTATED)])
def test_a_layer_on_the_bench_takes_the_picoseconds_that_it_takes_in_a_pass(n, k, splits, layers, buffers):
    plan = Plan(name="one", title="one", embedding=(), attention=(), ffn=("linear:up",), exit=())
    model = Model(name="one", title="one", d_model=k, q_heads=1, kv_heads=1, head_dim=1, ffn=n, gated=False, vocab=2,
                  group_layers=layers, repetitions=2)
    line = simulate(Autoregressive(), synthetic([0.1], 2, 3), gpu=chip(), stack=library(), model=model, plan=plan,
                    record="kernels", tier="fluid")
    spans = [span.duration_ps for _, span in line.expand()]
    bench = Bench(chip(), library())
    told = [[timed.duration_ps for timed in bench.predict(Linear(1, n, k), b).kernels] for b in (COLD, buffers)]
    assert spans[:len(told[0])] == told[0]
    assert spans[-len(told[1]):] == told[1]
    assert bench.predict(Linear(1, n, k), buffers).splits == splits


def test_six_buffers_in_rotation_hit_as_a_reuse_distance_of_six_weights_says():
    bench = Bench(chip(), library())
    assert bench.predict(Linear(1, 512, 1024), ROTATED).hit == pytest.approx(1 - (6 / 8 - 0.7) / 0.6, abs=0.01)
    assert bench.predict(Linear(1, 512, 1024), WARM).hit == 1.0
    assert bench.predict(Linear(1, 512, 1024), COLD).hit == 0.0
    assert bench.predict(Linear(1, 1024, 1024), ROTATED).hit == 0.0


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
@pytest.mark.parametrize("what", [Linear(1, 4096, 4096), Linear(64, 1024, 8192), Attention(4, 3000, 32, 8, 128),
                                  Attention(1, 300, 8, 8, 128, 4)])
def test_the_parts_add_up_and_nothing_beats_its_bytes_over_the_memory(tier, what):
    gpu = load_gpu("h200_sxm").value
    bench = Bench(gpu, load_stack("torch_graph").value, tier)
    cold = bench.predict(what, COLD)
    assert sum(cold.parts_ps.values()) == cold.time_ps
    assert cold.time_ps >= what.bytes / gpu.hbm.bandwidth_bytes_per_s * 1e12 + gpu.launch.node_gap_ps
    assert bench.predict(what, WARM).time_ps <= cold.time_ps
    assert cold.parts_ps["launch"] == gpu.launch.node_gap_ps * len(cold.kernels)


def test_without_latency_and_loop_a_layer_is_its_gap_and_its_bytes():
    told = Bench(tiny_gpu(node=1_000_000), tiny_stack()).predict(Linear(1, 6400, 1024), COLD)
    assert told.time_ps == 1_000_000 + 2 * (6400 * 1024 + 1024 + 6400)  # at 1 byte a picosecond, activations included
    assert (told.tile, told.splits, told.ctas, told.waves) == (64, 1, 100, 1)


def test_an_unfitted_h200_meets_measured_layers():
    """aiconfigurator-core 0.12.0, one row, cells that are not sealed."""
    bench = Bench(load_gpu("h200_sxm").value, load_stack("vllm_0_24").value)
    for n, k, measured in ((12288, 4096, 28.7), (8192, 8192, 34.9)):
        assert bench.predict(Linear(1, n, k), ROTATED).time_ps / 1e6 == pytest.approx(measured, rel=0.15)


def test_a_type_without_a_peak_is_not_covered():
    with pytest.raises(NotCoveredError, match="no peak for fp4"):
        Bench(load_gpu("h200_sxm").value, load_stack("torch_graph").value).predict(Linear(1, 64, 64, "fp4"), COLD)


# Tables made for the test


SHAPES = [(m, n, k) for m in (1, 2, 8, 16, 64) for n in (512, 1024, 4096, 16384) for k in (1024, 4096, 8192)]


def predicted(shapes, gpu="h200_sxm", stack="vllm_0_24"):
    bench = Bench(silicon.bursting(load_gpu(gpu).value), load_stack(stack).value)
    return [bench.predict(Linear(*shape), ROTATED).time_ps / 1e6 for shape in shapes]


@pytest.fixture
def data(tmp_path):
    """Measured: a tenth longer than predicted; another framework: a fifth."""
    write_linear(tmp_path, SHAPES, [t * 1.1 for t in predicted(SHAPES)])
    write_linear(tmp_path, SHAPES, [t * 1.2 for t in predicted(SHAPES)], where="trtllm/1.3.0rc20")
    return tmp_path


def judge(data, capsys, *arguments):
    assert silicon.main(["--data", str(data), "--gpu", "h200_sxm", "--unfitted", "--json", "-", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_scores_are_those_of_a_table_a_tenth_off(data, capsys):
    one = judge(data, capsys)["gpus"]["h200_sxm"]
    assert one["bias"] == pytest.approx(100 / 1.1 - 100)
    assert one["mape"] == pytest.approx(100 - 100 / 1.1)
    assert one["p95"] == pytest.approx(100 - 100 / 1.1)
    assert one["geometric"] == pytest.approx(10)
    assert one["table"] == "vllm/0.24.0"
    assert one["stack"] == "vllm_0_24"
    assert one["nulls"]["noise"]["bias"] == pytest.approx(100 * (1.2 / 1.1 - 1))
    assert one["nulls"]["noise"]["tables"] == ["trtllm/1.3.0rc20"]
    assert one["nulls"]["roofline"]["bias"] < -15
    assert sum(region["rows"] for region in one["regions"].values()) == one["rows"]
    assert one["growth"]["8"]["predicted"] == pytest.approx(one["growth"]["8"]["measured"])


def test_open_and_sealed_rows_and_the_share_are_all_rows_once(data, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(silicon, "LOG", tmp_path / "accuracy.md")
    hidden = sealed(np.array(SHAPES))
    openly, secretly = (judge(data, capsys, *flags)["gpus"]["h200_sxm"]["rows"] for flags in ((), ("--sealed",)))
    assert 0 < secretly == hidden.sum()
    assert openly == (~hidden).sum() - (~hidden).sum() // 20


def test_every_use_of_the_sealed_cells_is_a_line_of_the_log(data, capsys, tmp_path, monkeypatch):
    log = tmp_path / "accuracy.md"
    monkeypatch.setattr(silicon, "LOG", log)
    silicon.main(["--data", str(data), "--sealed"])
    assert "add to docs/accuracy.md" in capsys.readouterr().err
    log.write_text(f"# Log\n{silicon.MARK}\nend\n")
    for _ in range(2):
        silicon.main(["--data", str(data), "--sealed", "--tier", "roofline"])
    lines = log.read_text().splitlines()
    assert [line.startswith("- 20") and "--tier roofline" in line for line in lines] == [False, True, True, False,
                                                                                         False]
    silicon.main(["--data", str(data)])
    assert log.read_text().splitlines() == lines


def test_a_sample_is_the_same_rows_every_time(data, capsys):
    twice = [judge(data, capsys, "--sample", "7")["gpus"]["h200_sxm"] for _ in range(2)]
    assert twice[0] == twice[1]
    assert twice[0]["rows"] == 7


def test_rows_and_the_roofline_can_be_chosen(data, capsys):
    doc = judge(data, capsys, "--rows", "8:16", "--tier", "roofline")
    assert doc["tier"] == "roofline"
    assert all("17-" not in name and not name.endswith(", 1 rows") for name in doc["gpus"]["h200_sxm"]["regions"])


def test_attention_counts_the_new_key_and_leaves_windows_out(tmp_path, capsys):
    bench = Bench(load_gpu("h200_sxm").value, load_stack("vllm_0_24").value)
    lines = [(batch, 32, 8, 128, keys - 1, 0, bench.predict(Attention(batch, keys, 32, 8, 128), WARM).time_ps / 1e6)
             for batch in (1, 4, 32) for keys in (128, 1024, 8192)]
    ignored = [(1, 32, 8, 128, 511, 128, 1.0), (1, 32, 8, 64, 511, 0, 1.0), (64, 32, 8, 128, 511, 0, 1.0)]
    write_attention(tmp_path, lines + ignored)
    one = judge(tmp_path, capsys, "--op", "attention")["gpus"]["h200_sxm"]
    assert one["rows"] == 9
    assert one["mape"] == pytest.approx(0, abs=1e-9)
    write_attention(tmp_path, lines, where="sglang/0.5.14", window=False)
    assert judge(tmp_path, capsys, "--op", "attention", "--framework", "sglang")["gpus"]["h200_sxm"]["rows"] == 9


def test_quantised_layers_are_judged_as_their_own_tables(tmp_path, capsys):
    bench = Bench(silicon.bursting(load_gpu("h200_sxm").value), load_stack("vllm_0_24").value)
    told = [bench.predict(Linear(*shape, "fp8_tensor"), ROTATED).time_ps / 1e6 for shape in SHAPES]
    write_linear(tmp_path, SHAPES, told, dtype="fp8")
    assert judge(tmp_path, capsys, "--dtype", "fp8")["gpus"]["h200_sxm"]["mape"] == pytest.approx(0, abs=1e-9)


# Which table


def test_the_newest_table_counts_and_versions_are_numbers(tmp_path):
    for where in ("sglang/0.5.6.post2", "sglang/0.5.14", "vllm/0.9.0", "vllm/0.24.0"):
        write_linear(tmp_path, SHAPES, [1.0] * len(SHAPES), where=where)
    found = {table.framework: table.version for table in tables(tmp_path, "linear", "h200_sxm")}
    assert found == {"sglang": "0.5.14", "vllm": "0.24.0"}
    assert [table.stack for table in covered(tmp_path, "linear", "h200_sxm", "vllm")] == ["vllm_0_24"]


def test_all_is_every_gpu_that_both_have(tmp_path):
    for gpu in ("h200_sxm", "a100_sxm", "b60"):
        write_linear(tmp_path, SHAPES, [1.0] * len(SHAPES), gpu=gpu)
    assert [table.gpu for table in covered(tmp_path, "linear", "all", "vllm")] == ["a100_sxm", "h200_sxm"]
    with pytest.raises(NotCoveredError, match=r"speedsim\[silicon\].*these tables a100_sxm, h200_sxm"):
        covered(tmp_path, "linear", "l4", "vllm")


def test_equal_rows_are_merged_into_their_median(tmp_path):
    write_linear(tmp_path, [(1, 64, 64)] * 3 + [(1, 32, 64)], [5.0, 1.0, 2.0, 7.0])
    found = rows(tables(tmp_path, "linear", "h200_sxm")[0], "bf16", 1, 64)
    assert found.shapes.tolist() == [[1, 32, 64], [1, 64, 64]]
    assert found.measured_us.tolist() == pytest.approx([7.0, 2.0])


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotCoveredError, match=r"speedsim\[silicon\].*aiconfigurator-core==0.12.0.*--data"):
        folder(None)


def test_a_foreign_table_is_named_with_package_and_extra(tmp_path):
    write_linear(tmp_path, SHAPES, [1.0] * len(SHAPES), drop=("k",))
    with pytest.raises(NotCoveredError, match=r"column k is missing.*aiconfigurator-core 0.12.0 .speedsim\[silicon\]"):
        silicon.main(["--data", str(tmp_path)])
    (tmp_path / "h200_sxm/gemm/vllm/0.24.0/gemm_perf.parquet").write_text("no table")
    with pytest.raises(NotCoveredError, match=r"h200_sxm, linear, vllm 0\.24\.0: not a table of aiconfigurator-core"):
        silicon.main(["--data", str(tmp_path)])


@pytest.mark.parametrize(("arguments", "error", "words"), [
    (["--rows", "8:1"], InputError, "the smaller first"), (["--rows", "x"], InputError, "1:64"),
    (["--sample", "0"], InputError, "one row"), (["--dtype", "fp7"], NotCoveredError, "fp7"),
    (["--dtype", "fp8"], NotCoveredError, "no such linear rows"),
    (["--op", "attention", "--sealed"], InputError, "sealed"), (["--gpu", "h2000"], InputError, "h2000"),
    (["--zero-shot", "t4"], NotCoveredError, "no numbers of vllm_0_24 are fitted"),
    (["--zero-shot", "h200_sxm", "--unfitted"], InputError, "exclude"),
    (["--framework", "none"], NotCoveredError, "none"),
    (["--rows", "65:99"], NotCoveredError, "no such linear rows"),
])
def test_a_wrong_question_is_refused_in_its_own_terms(data, arguments, error, words):
    with pytest.raises(error, match=words):
        silicon.main(["--data", str(data), *arguments])


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(NotCoveredError, match=r"no tables of aiconfigurator-core.*speedsim\[silicon\]"):
        folder(str(tmp_path))


# Scores


def test_a_cell_is_sealed_by_its_name_alone():
    shapes = np.array(SHAPES)
    hidden = sealed(shapes)
    cells = {(n, k) for (_, n, k), no in zip(SHAPES, hidden, strict=True) if no}
    assert cells == {(512, 4096), (1024, 8192), (4096, 4096), (16384, 4096)}
    assert all(len({hidden[i] for i, s in enumerate(SHAPES) if s[1:] == cell}) == 1 for cell in {s[1:] for s in SHAPES})


def test_the_share_is_a_twentieth_whatever_the_order():
    shapes = np.array([(m, n, 64) for m in range(1, 65) for n in range(32, 320, 32)])
    everything = np.ones(len(shapes), dtype=bool)
    chosen = share(shapes, everything)
    assert chosen.sum() == len(shapes) // 20
    turned = share(shapes[::-1], everything)[::-1]
    assert (chosen == turned).all()
    assert not share(shapes, ~chosen)[chosen].any()


def test_the_straight_line_is_found_again():
    mb = np.geomspace(0.01, 2000, 300)
    line = affine(mb, 4.0 + mb / 4.1)
    assert line.fixed_us == pytest.approx(4.0, rel=1e-3)
    assert line.us_per_mb == pytest.approx(1 / 4.1, rel=1e-3)


def test_regions_have_their_edges_in_the_smaller_one():
    width = np.array([1, 8, 9, 16, 17, 64])
    mb = np.array([0.99, 1.0, 7.99, 8.0, 64.0, 64.0])
    found = regions(mb, width, np.ones(6), np.ones(6), "rows")
    assert list(found) == ["<1 MB, 1 rows", "1-8 MB, 2-8 rows", "1-8 MB, 9-16 rows", "8-64 MB, 9-16 rows",
                           ">64 MB, 17-64 rows"]


def test_scores_by_hand():
    found = scores(np.array([1.0, 3.0]), np.array([2.0, 2.0]))
    assert found[:2] == (50.0, 0.0)
    assert found.geometric == pytest.approx(100 * math.expm1((math.log(2) + math.log(1.5)) / 2))
    assert scores(np.array([]), np.array([])) is None


def test_growth_compares_the_same_cells():
    shapes = np.array([(1, 64, 64), (8, 64, 64), (8, 128, 64)])
    found = growth(shapes, np.array([2.0, 3.0, 9.0]), np.array([1.0, 2.0, 9.0]), 8)
    assert found == {"predicted": 1.5, "measured": 2.0, "cells": 1}
    assert growth(shapes, np.ones(3), np.ones(3), 64) is None


def test_the_noise_floor_is_the_median_of_the_others():
    shapes = np.array([(1, 1, 1), (2, 2, 2)])
    told = others(shapes, [(shapes[:1], np.array([t])) for t in (1.0, 4.0, 16.0)])
    assert told[0] == pytest.approx(4.0)
    assert math.isnan(told[1])


# Quirks


def test_quirks_are_at_most_twelve_cells_and_none_is_sealed():
    listed = [(gpu, cell) for gpu in ("h200_sxm", "h100_sxm", "b200_sxm", "l40s") for cell in silicon_quirks.cells(gpu)]
    assert 0 < len(listed) <= silicon_quirks.MOST
    assert not sealed(np.array([(1, *cell) for _, cell in listed])).any()


def test_a_quirk_is_read_off_the_other_frameworks_alone(monkeypatch):
    monkeypatch.setattr(silicon_quirks, "cells", lambda gpu: {(64, 32): 2} if gpu == "h200_sxm" else {})
    shapes = np.array([(1, 64, 32), (2, 64, 32), (8, 64, 32), (1, 32, 32)])
    told = np.array([3.0, math.nan, 9.0, 9.0])
    assert silicon_quirks.corrected("h200_sxm", shapes, np.full(4, 2.0), told).tolist() == [3.0, 3.0, 2.0, 2.0]
    assert silicon_quirks.corrected("l40s", shapes, np.full(4, 2.0), told) is None


# Quantised weights


@pytest.mark.parametrize(("dtype", "bits", "kernels"), [
    ("bf16", 16, 1), ("fp8_tensor", 8, 2), ("fp8_block", 8 + 32 / 16384, 2), ("nvfp4", 4.5, 2), ("int4_wo", 4.125, 1),
])
def test_a_quantised_input_is_a_kernel_of_its_own_and_scales_are_bytes(dtype, bits, kernels):
    layer = Linear(4, 8192, 1024, dtype)
    told = Bench(load_gpu("b200_sxm").value, load_stack("torch_graph").value).predict(layer, COLD)
    assert layer.bytes == 8192 * 1024 * bits / 8
    assert [timed.work.family for timed in told.kernels] == ["quantise", "gemm"][-kernels:]
    assert told.kernels[-1].work.hbm_bytes == layer.bytes


def test_a_step_of_a_quantised_layer_is_as_many_bytes_of_k():
    bench = Bench(chip(), tiny_stack())
    assert bench.predict(Linear(1, 65536, 2048), COLD).kernels[0].work.grid.steps == 32
    gpu = replace(chip(), sm=replace(chip().sm, peak_flop_per_s={"bf16": 1e15, "fp8": 2e15, "fp4": 4e15}))
    for dtype, steps in (("fp8_tensor", 16), ("nvfp4", 8), ("int8_wo", 32)):
        told = Bench(gpu, tiny_stack()).predict(Linear(1, 65536, 2048, dtype), COLD)
        assert told.kernels[-1].work.grid.steps == steps


def test_a_card_that_does_not_multiply_the_operand_is_not_covered():
    with pytest.raises(NotCoveredError, match="no peak for fp4"):
        Bench(load_gpu("h200_sxm").value, load_stack("torch_graph").value).predict(Linear(1, 64, 64, "nvfp4"), COLD)
