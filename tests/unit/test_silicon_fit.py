"""Does a fit find the numbers that a table was made with, and do its children say so and no more than they may?"""

from __future__ import annotations

import json
from zlib import crc32

import pytest
from silicon_files import write_attention, write_linear
from speedsim.catalog import load_gpu, load_stack
from speedsim.one_kernel import ROTATED, Bench, Linear
from speedsim.reading import document
from speedsim.registry import names
from speedsim.units import InputError, NotCoveredError
from speedsim.validate import silicon, silicon_children, silicon_fit, silicon_score
from speedsim.validate.silicon_children import Number, Pair, write

SHAPES = [(m, n, k) for m in (1, 8, 24) for n in (512, 1024, 2048, 4096, 8192, 16384) for k in range(1024, 9216, 1024)]
SPEC = """
linear:
  - {key: stack.kernels.gemm.fixed, unit: us, range: [0.1, 4]}
  - {key: stack.kernels.gemm.hbm_share, range: [0.5, 1]}
  - {key: gpu.hbm.latency, unit: ns, range: [100, 1500]}
  - {key: stack.kernels.gemm.split_cost, choices: [500, 2100]}
  - {key: stack.kernels.gemm.vector_fixed, unit: us, range: [0.1, 4], only: [ada]}
attention: []
"""
TRUE = (("kernels.gemm.fixed.hopper", "1.4 us"), ("kernels.gemm.hbm_share.hopper", "0.9"),
        ("kernels.gemm.split_cost.hopper", "500"))


@pytest.fixture
def fitting(tmp_path, monkeypatch):
    """A table made with other numbers than the parents', four numbers to fit, and a folder that is looked into."""
    bench = Bench(load_gpu("h200_sxm", (("hbm.latency", "500 ns"),)).value, load_stack("vllm_0_24", TRUE).value)
    write_linear(tmp_path / "data", SHAPES, [bench.predict(Linear(*s), ROTATED).time_ps / 1e6 for s in SHAPES])
    (tmp_path / "spec.yaml").write_text(SPEC)
    monkeypatch.setattr(silicon_fit, "SPEC", tmp_path / "spec.yaml")
    monkeypatch.setattr(silicon_score, "SHARE", 4)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEEDSIM_PATH", str(tmp_path))
    return tmp_path


def fit(folder, *more):
    return silicon_fit.main(["silicon", "--gpu", "h200_sxm", "--data", str(folder / "data"),
                             "--out", str(folder / "fitted"), *more])


def test_a_fit_finds_the_numbers_of_its_table_and_its_children_are_judged_with(fitting, capsys):
    assert fit(fitting) == 0
    stack = load_stack("vllm_0_24@silicon-h200_sxm")
    assert stack.value.kernels.gemm.fixed_ps["hopper"] == pytest.approx(1_400_000, rel=0.02)
    assert stack.value.kernels.gemm.hbm_share["hopper"] == pytest.approx(0.9, rel=0.01)
    assert stack.value.kernels.gemm.split_cost["hopper"] == 500
    assert load_gpu("h200_sxm@silicon-vllm-0.24.0").value.hbm.latency_ps == pytest.approx(500_000, rel=0.05)
    assert stack.fit["linear"]["rows"] == 25
    assert stack.provenance["kernels.gemm.fixed.hopper"].kind == "fitted"
    capsys.readouterr()
    arguments = ["--data", str(fitting / "data"), "--gpu", "h200_sxm", "--json", "-"]
    silicon.main(arguments)
    one = json.loads(capsys.readouterr().out)["gpus"]["h200_sxm"]
    assert one["mape"] < 1
    assert one["children"]["stack"]["name"] == "vllm_0_24@silicon-h200_sxm"
    assert one["children"]["gpu"]["fit"]["linear"]["sha256"] == stack.fit["linear"]["sha256"]
    silicon.main([*arguments, "--unfitted"])
    bare = json.loads(capsys.readouterr().out)["gpus"]["h200_sxm"]
    assert bare["children"] == {}
    assert bare["mape"] > 3


def test_what_is_fitted_on_the_same_table_is_left_as_it_is(fitting, capsys):
    fit(fitting)
    before = {path.name: path.read_bytes() for path in (fitting / "fitted").iterdir()}
    fit(fitting)
    assert "already" in capsys.readouterr().out
    fit(fitting, "--again")
    assert {path.name: path.read_bytes() for path in (fitting / "fitted").iterdir()} == before


def test_zero_shot_takes_the_software_of_one_gpu_to_another_gpu_as_it_is(fitting, capsys):
    fit(fitting)
    write_linear(fitting / "data", SHAPES, [10.0] * len(SHAPES), gpu="h100_sxm")
    capsys.readouterr()
    silicon.main(["--data", str(fitting / "data"), "--gpu", "h100_sxm", "--zero-shot", "h200_sxm", "--json", "-"])
    children = json.loads(capsys.readouterr().out)["gpus"]["h100_sxm"]["children"]
    assert set(children) == {"stack"}
    assert children["stack"]["name"] == "vllm_0_24@silicon-h200_sxm"


def test_a_child_keeps_the_numbers_of_the_other_operation(tmp_path):
    path = tmp_path / "child.yaml"
    told = {"table": "t", "rows": 3}
    write(path, "vllm_0_24", "linear", told, {"kernels.gemm.fixed.hopper": Number("1 us", "0.1 us")})
    write(path, "vllm_0_24", "attention", told, {"kernels.attention.fixed.hopper": Number("9 us", "")})
    write(path, "vllm_0_24", "linear", told, {"kernels.gemm.hbm_share.hopper": Number(0.9, "")})
    held = document.read(path).plain()
    assert held["kernels"]["attention"]["fixed"]["hopper"] == {"value": "9 us", "kind": "fitted", "source": "attention"}
    assert set(held["kernels"]["gemm"]) == {"hbm_share"}
    assert set(held["fit"]) == {"linear", "attention"}
    assert load_stack(str(path)).value.kernels.gemm.hbm_share["hopper"] == 0.9
    for op in ("linear", "attention"):
        write(path, "vllm_0_24", op, told, {})
    assert not path.exists()


def test_an_operation_without_numbers_is_not_covered(fitting):
    write_attention(fitting / "data", [(1, 8, 8, 128, 127, 0, 9.0)])
    with pytest.raises(NotCoveredError, match="no numbers"):
        fit(fitting, "--op", "attention")


def pairs():
    """Every GPU and stack of which one has a fitted child."""
    found = {}
    for name in names("fitted"):
        parent, _, where = name.partition("@silicon-")
        if where in names("gpus"):
            gpus = [other for other in names("fitted") if other.startswith(f"{where}@silicon-")]
            found[where, name] = (gpus[0] if gpus else where, name)
        elif where:
            assert parent in names("gpus")
    return found


@pytest.mark.parametrize(("gpu", "stack"), pairs().values() or [("h200_sxm", "vllm_0_24")])
def test_a_gpu_and_its_stack_have_at_most_24_fitted_numbers(gpu, stack):
    counted = silicon_children.numbers(Pair(load_gpu(gpu), load_stack(stack)))
    assert len(counted) <= silicon_children.MOST, sorted(counted)


@pytest.mark.parametrize("name", [name for name in names("fitted") if "@silicon-" in name])
def test_every_child_names_its_table_its_rule_and_the_rows_it_saw(name):
    parent = name.partition("@")[0]
    child = load_gpu(name) if parent in names("gpus") else load_stack(name)
    assert child.parents[0] == parent
    for told in child.fit.values():
        assert len(told["sha256"]) == 64
        assert told["rule"]
        assert told["rows"] > 0


def test_a_number_of_another_generation_does_not_count():
    pair = Pair(load_gpu("h200_sxm"), load_stack("torch_graph"))
    counted = silicon_children.numbers(pair)
    assert "stack.kernels.gemm.split_cost.hopper" in counted
    assert "stack.kernels.gemm.split_cost.ampere" not in counted
    assert "stack.kernels.gemm.split_cost.default" not in counted


def test_whole_cells_are_fitted_on_and_the_others_judged(fitting, capsys):
    assert fit(fitting, "--cells", "8") == 0
    told = capsys.readouterr().out
    assert "8 whole cells: Scores(mape=0." in told
    openly = sum(crc32(f"{n},{k}".encode()) % 4 != 0 for _, n, k in SHAPES)
    assert f"rows={openly - 8 * 3})" in told
    assert not (fitting / "fitted").exists()
    with pytest.raises(InputError, match="--cells"):
        fit(fitting, "--cells", "0")
