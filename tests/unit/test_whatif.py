"""Is the gain of one chip over another predicted from the files of both and the software numbers of one?"""

from __future__ import annotations

import json

import pytest
from silicon_files import write_linear
from speedsim.catalog import load_gpu, load_stack
from speedsim.one_kernel import ROTATED, Bench, Linear
from speedsim.units import InputError, NotCoveredError
from speedsim.validate import whatif
from speedsim.validate.silicon import bursting
from speedsim.validate.silicon_children import Number, write

SHAPES = [(m, n, k) for m in (1, 8, 32) for n in (512, 4096, 16384) for k in (512, 1024, 3072, 8192)]


def times(gpu, factor=1.0):
    bench = Bench(bursting(load_gpu(gpu).value), load_stack("vllm_0_24@silicon-h100_sxm").value)
    return [factor * bench.predict(Linear(*shape), ROTATED).time_ps / 1e6 for shape in SHAPES]


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Two frameworks' tables of two GPUs, as one library makes them; a third framework is off on one of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPEEDSIM_PATH", str(tmp_path))
    write(tmp_path / "fitted" / "vllm_0_24@silicon-h100_sxm.yaml", "vllm_0_24", "linear", {"table": "t", "rows": 1},
          {"kernels.gemm.hbm_share.hopper": Number(0.8, "")})
    for gpu, off in (("h100_sxm", 1.0), ("h200_sxm", 3.0)):
        for where, factor in (("vllm/0.24.0", 1.0), ("trtllm/1.3.0", 1.2), ("sglang/0.5.14", off)):
            write_linear(tmp_path / "data", SHAPES, times(gpu, factor), gpu=gpu, where=where)
    return tmp_path / "data"


def judge(data, capsys, *more):
    assert whatif.main(["--from", "h100_sxm", "--to", "h200_sxm", "--data", str(data), "--json", "-", *more]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_gain_is_that_of_the_median_framework(data, capsys):
    found = judge(data, capsys)
    assert found["scores"]["predicted"]["mape"] == pytest.approx(0, abs=1e-9)
    assert found["scores"]["unfitted"]["mape"] > 0.1
    assert found["scores"]["bandwidth ratio"]["bias"] > found["scores"]["affine"]["bias"] > 0
    assert found["scores"]["no change"]["bias"] < 0
    assert found["bandwidth_ratio"] == pytest.approx(4.8 / 3.35)
    assert len(found["tables"]) == 3
    assert 1 < found["median_gain"]["all"]["measured"] < 4.8 / 3.35


def test_the_screen_has_every_null(data, capsys):
    whatif.main(["--from", "h100_sxm", "--to", "h200_sxm", "--data", str(data)])
    told = capsys.readouterr().out
    assert all(word in told for word in ("predicted", "bandwidth ratio", "no change", "affine", "median gain"))


def test_what_was_not_fitted_or_is_the_same_is_refused(data):
    write_linear(data, SHAPES, [1.0] * len(SHAPES), gpu="l4")
    with pytest.raises(NotCoveredError, match="no numbers of vllm_0_24 are fitted"):
        whatif.main(["--from", "l4", "--to", "h100_sxm", "--data", str(data)])
    with pytest.raises(InputError, match="same GPU"):
        whatif.main(["--from", "h100_sxm", "--to", "h100_sxm", "--data", str(data)])
