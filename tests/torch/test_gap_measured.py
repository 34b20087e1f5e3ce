"""Does the identity hold on what torch's profiler measures on this machine?"""

from __future__ import annotations

import json
import math

import pytest
import torch
from speedsim.validate.gap import main
from torch.profiler import ProfilerActivity, profile, record_function


def measured(path, steps, *parts):
    """Profile so many steps; `parts` are (mark, products) of each."""
    weight = torch.randn(256, 256)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(steps):
            with record_function("step"):
                for mark, products in parts:
                    with record_function(mark):
                        x = torch.randn(1, 256)
                        for _ in range(products):
                            x = torch.nn.functional.linear(x, weight)
    seen.export_chrome_trace(str(path))
    return str(path)


@torch.no_grad()
def test_the_identity_holds_on_a_measured_pair(tmp_path, capsys):
    plain = measured(tmp_path / "a.json", 20, ("verify", 12))
    spec = measured(tmp_path / "b.json", 8, ("draft", 4), ("verify", 12), ("sampling", 1))
    capsys.readouterr()
    assert main(["--baseline", plain, "--speculative", spec, "--acceptance-length", "2.5", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert math.prod(found["factors"].values()) == pytest.approx(found["speedup"], rel=1e-9)
    parts = found["speculative"]["parts_us"]
    assert math.fsum(parts.values()) == pytest.approx(found["speculative_step_us"], rel=1e-9)
    assert parts["verify"] > parts["draft"] > 0
    assert found["speculative"]["kernels"]["verify"][0][0].startswith("aten::")
