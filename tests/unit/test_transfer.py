"""A transferred trace: the answer tells what every other trace of the same number of repetitions would have said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from speedsim import Scenario, trace
from speedsim.cli import main
from speedsim.result import answer
from speedsim.transfer import transfer

QUICK = {"tier": "roofline", "record": "summary"}


@pytest.fixture
def traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two recorded traces: one whose first exit is always right, one whose last always changes it."""
    folder = tmp_path / "traces"
    folder.mkdir()
    for name, flip in (("right", 0.0), ("late", 1.0)):
        made = trace.synthetic((0.0,) * 6 + (flip,), 8, 30, 2)
        source = {"kind": "recorded"}
        trace.write(trace.Trace(name, "speed_2x8_other", 8, source, made.sequences), folder / f"{name}.jsonl")
    monkeypatch.setenv("SPEEDSIM_PATH", str(tmp_path))
    return folder


def test_the_range_is_over_every_trace_of_as_many_repetitions(traces: Path) -> None:
    told = transfer(answer(Scenario(model="speed_2x8", trace="right", **QUICK)))
    assert told is not None
    assert set(told["traces"]) == {"right", "late"}
    assert told["high"] == told["traces"]["right"] > 2
    assert told["low"] == told["traces"]["late"] < 1.1
    weak = trace.load(traces / "late.jsonl")
    trace.write(replace(weak, source={"kind": "recorded", "quality": "weak"}), traces / "weak.jsonl")
    assert transfer(answer(Scenario(model="speed_2x8", trace="right", **QUICK))) == told
    mine = answer(Scenario(model="speed_2x8", trace="late", **QUICK)).speedup
    assert told["traces"]["late"] == pytest.approx(mine)


def test_a_models_own_trace_and_a_made_up_one_have_no_range(traces: Path) -> None:
    flips = "+".join(["0.1"] * 7)
    assert transfer(answer(Scenario(model="speed_2x8", synth=f"flips={flips},count=30", **QUICK))) is None
    (traces / "late.jsonl").unlink()
    assert transfer(answer(Scenario(model="speed_2x8", trace="right", **QUICK))) is None


def test_the_screen_and_the_json_tell_the_range(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--model", "speed_2x8", "--trace", "right", "--tier", "roofline"]) == 0
    assert "note: over the shipped traces of 8 repetitions the gain is " in capsys.readouterr().out
