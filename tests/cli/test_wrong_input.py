"""Is every mistake one line that says where and what, with exit code 2, and nothing half-written?"""

from __future__ import annotations

import json
import re

import pytest
from speedsim.cli import main

SYNTH = "flips=0.15+0.06+0.03+0.02+0.01,count=20"
PLACE = re.compile(r"^[^\n]*?:\d+:\d+: \S.*$")

GPU = """\
extends: h200_sxm
name: mine
title: Mine
hbm:
  bandwidth: {value: 5 TB/s, kind: what_if}
"""

HEADER = '{"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {}}\n'
SEQUENCE = '{"sequence": 0, "first": 3, "count": 2, "end": "length", "source_tokens": 0}\n'
LINES = ['{"position": 3, "exit_tokens": [1, 1, 1, 1, 1, 1]}\n', '{"position": 4, "exit_tokens": [2, 2, 2, 2, 2, 2]}\n']


def refused(capsys, arguments, *, located=False):
    """The one line that a wrong command prints."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 2, (arguments, captured)
    assert captured.out == ""
    line = captured.err.rstrip("\n")
    assert "\n" not in line
    assert "Traceback" not in line
    if located:
        assert PLACE.match(line), line
    return line


@pytest.mark.parametrize(("change", "says"), [
    (("bandwidth", "bandwith"), "did you mean bandwidth"),
    (("5 TB/s", "5 TB"), "rate"),
    (("5 TB/s", "5"), "unit"),
    (("5 TB/s", ".nan"), "finite"),
    (("5 TB/s", "-5 TB/s"), "negative"),
    ((", kind: what_if", ""), "kind"),
    (("kind: what_if", "kind: guessed"), "guessed"),
    (("kind: what_if", "kind: measured"), "source"),
    (("hbm:", "hmb:"), "did you mean hbm"),
    (("h200_sxm", "h200_sxn"), "h200_sxm"),
    (("  bandwidth", "\tbandwidth"), ""),
    (("title: Mine", "title: Mine\ntitle: Yours"), "title"),
    (("title: Mine", "title: [Mine"), ""),
])
def test_a_wrong_gpu_file_is_one_located_line(change, says, tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    assert change[0] in GPU
    path.write_text(GPU.replace(*change, 1))
    line = refused(capsys, ["run", "--gpu", str(path), "--synth", SYNTH], located=True)
    assert "mine.yaml" in line
    assert says in line


def test_the_unchanged_gpu_file_runs(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(GPU)
    assert main(["run", "--gpu", str(tmp_path / "mine.yaml"), "--synth", SYNTH]) == 0
    assert "Mine" in capsys.readouterr().out


@pytest.mark.parametrize(("content", "says"), [
    ("", "empty"),
    (HEADER, ""),
    (HEADER + SEQUENCE + LINES[0], "count"),
    (HEADER + SEQUENCE + "".join(LINES) + LINES[1], ""),
    (HEADER + SEQUENCE + LINES[0] + '{"position": 4, "exit_tokens": [2, 2, 2]}\n', "exit_tokens"),
    (HEADER + SEQUENCE + LINES[1] + LINES[0], "position"),
    (HEADER + SEQUENCE + LINES[0] + '{"position": 4, "exit_tokens": [2, 2, 2, 2, 2, NaN]}\n', "NaN"),
    (HEADER + SEQUENCE + LINES[0] + '{"position": 4, "exit_tokens": [2, 2, 2, 2, 2, -2]}\n', "exit_tokens"),
    (HEADER + SEQUENCE + LINES[0] + '{"position": 4, "exit_token": [2, 2, 2, 2, 2, 2]}\n', "did you mean exit_tokens"),
    (HEADER.replace("trace/1", "trace/9") + SEQUENCE + "".join(LINES), "schema"),
    (HEADER.replace('"model": "speed_2x6", ', "") + SEQUENCE + "".join(LINES), "model"),
    (HEADER + SEQUENCE + "".join(LINES) + '{"end": true, "lines": 4, "sha256": "00"}\n', "sha256"),
    ("\x00\x01\x02", ""),
    (HEADER + SEQUENCE + LINES[0][:20], ""),
    (HEADER + SEQUENCE + "".join(LINES) + "\n", "an empty line"),
])
def test_a_wrong_trace_is_one_located_line(content, says, tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(content)
    line = refused(capsys, ["run", "--trace", str(path)], located=True)
    assert "mine.jsonl" in line
    assert says in line
    assert refused(capsys, ["trace", "check", str(path)], located=True) == line


def test_a_trace_of_other_repetitions_is_refused_naming_what_fits(tmp_path, capsys):
    path = tmp_path / "mine.jsonl"
    path.write_text(HEADER + SEQUENCE + "".join(LINES))
    line = refused(capsys, ["run", "--model", "speed_4x3", "--trace", str(path)])
    assert "6 repetitions" in line
    assert "speed_4x3_python" in line


@pytest.mark.parametrize(("arguments", "says"), [
    (["run", "--gpu", "h200_sxn"], "did you mean h200_sxm"),
    (["run", "--stack", "torch_grph"], "torch_graph"),
    (["run", "--model", "speed_9x9"], "speed"),
    (["run", "--trace", "nothing"], "trace"),
    (["run", "--trace", "nothing.jsonl"], "no such file"),
    (["run", "--schedule", "sped"], "did you mean speed"),
    (["run", "--schedule", "speed:max_in_fligth=3"], "did you mean max_in_flight"),
    (["run", "--schedule", "speed:max_in_flight=x"], "whole number"),
    (["run", "--max-in-flight", "0"], "below 1"),
    (["run", "--schedule", "speed:exits=1+9"], "beyond the model's 6"),
    (["run", "--schedule", "speed:recheck=never"], "every_exit"),
    (["run", "--schedule", "speed:repetitions_per_pass=4"], "does not divide"),
    (["run", "--control", "lagged"], "lagged:N"),
    (["run", "--control", "lagged:0"], "lagged:N"),
    (["run", "--launch", "graf"], "graph"),
    (["run", "--tier", "magic"], "roofline"),
    (["run", "--record", "everything"], "kernels"),
    (["run", "--batch", "0"], "1 or more"),
    (["run", "--batch", "two"], "invalid int"),
    (["run", "--tokens", "-5"], "1 or more"),
    (["run", "--prompt", "-1"], "0 or more"),
    (["run", "--synth", "flips=0.1"], "5 probabilities"),
    (["run", "--synth", "flip=0.1"], "did you mean flips"),
    (["run", "--synth", "flips=1.5+0+0+0+0"], "probabilities"),
    (["run", "--set", "hbm.bandwith=6TB/s"], "did you mean"),
    (["run", "--set", "hbm.bandwidth=6TB"], "rate"),
    (["run", "--set", "hbn.bandwidth=6TB/s"], "did you mean hbm"),
    (["run", "--set", "hbm.bandwidth"], "KEY=VALUE"),
    (["run", "--set", "hbm.read_fraction=0"], "above 0"),
    (["run", "--set", "l2.keep_fraction=7"], "between 0 and 1"),
    (["run", "--set", "stack.host.turnaround=fast"], "time"),
    (["run", "--set", "model.repetitions=0"], "repetitions"),
    (["run", "--set", "run.batsh=2"], "did you mean batch"),
    (["run", "--set", "trace.foo=1"], "trace.foo: unknown key"),
    (["run", "--set", "run.batch=two"], "whole number"),
    (["run", "--set", "price=3 USD/hour"], "did you mean price_per_hour"),
    (["run", "--set", "HBM.bandwidth=6TB/s"], "did you mean hbm"),
    (["run", "--set", "hbm="], "which number of it"),
    (["run", "--set", "gpu=l40s"], "--gpu l40s"),
    (["run", "--set", "gpu.hmb.bandwidth=6TB/s"], "did you mean hbm"),
    (["run", "--set", "hbm.bandwidth=6TB/s", "--set", "gpu.hbm.bandwidth=7TB/s"], "given twice"),
    (["run", "--set", "hbm.bandwidth={value: 6TB/s, kind: measured}"], "what_if"),
    (["run", "--set", "hbm.bandwidth=0GB/s"], "zero"),
    (["run", "--set", "sm.peak.bf61=1TFLOP/s"], "peak names bf61"),
    (["run", "--set", "model.kv_heads=5"], "--set model.kv_heads=5: model.kv_heads: q_heads=12"),
    (["run", "--set", "l2.hit_curve=[[0,1],[1e308,0]]"], "16 capacities"),
    (["run", "--set", "stack.kernels.attention.block=0"], "below 1"),
    (["run", "--set", "stack.kernels.gemm.stages=0"], "below 1"),
    (["run", "--set", "stack.kernels.gemm.tiles=[]"], "columns"),
    (["run", "--set", "stack.widths=[0,2]"], "rise"),
    (["run", "--set", "stack.uncertainty.host=[2,1]"], "no range of factors"),
    (["run", "--set", "stack.uncertainty.device.fluid=[0,1]"], "no range of factors"),
    (["run", "--batch", "2147483647"], "at most"),
    (["run", "--control", ""], "none of host"),
    (["run", "--rival-control", "hots"], "--rival-control hots"),
    (["run", "--trace", ""], "unknown"),
    (["run", "--trace", "/"], "a folder"),
    (["run", "--gpu", "h200_sxm@nothing"], "fitted child"),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,count=0"], "count=0"),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,count=1000000000000"], "count=1000000000000"),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,count=2000000,sequences=1000"], "100,000,000"),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,seed=99999999999999999999"], "seed="),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,first=2147483647"], "first="),
    (["run", "--synth", "flips=0.1+0.1+0.1+0.1+0.1,count=5,count=6"], "given twice"),
    (["run", "--synth", "flips=nan+0+0+0+0"], "from 0 to 1"),
    (["run", "--json", ""], "folder"),
    (["run", "--json", "/"], "folder"),
    (["run", "--json", "no\0name"], "no file"),
    (["trace", "convert", "speed_2x6_python", "no\0name.jsonl"], "no file"),
    (["trace", "convert", "speed_2x6_python", "answer.txt"], ".parquet"),
    (["run", "--gpus", "h200_sxm"], "unrecognized"),
    (["rum"], "did you mean run"),
    (["list", "gpu"], "gpus"),
    (["show", "gpu", "nothing"], "unknown"),
    (["trace", "check", "nothing.parquet"], "no such file"),
])
def test_a_wrong_option_is_one_line_with_the_nearest_right_name(arguments, says, capsys):
    extra = ["--synth", SYNTH] if arguments[0] == "run" and not {"--synth", "--trace"} & set(arguments) else []
    assert says in refused(capsys, [*arguments, *extra])


def test_a_model_without_a_trace_says_which_traces_fit(capsys):
    line = refused(capsys, ["run", "--model", "speed_2x8"])
    assert "--synth" in line
    assert "speed_2x6_python" in refused(capsys, ["run", "--model", "speed_2x6_cross"])


def test_a_broken_trace_elsewhere_does_not_hide_what_to_do(tmp_path, monkeypatch, capsys):
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "broken.jsonl").write_text("{")
    monkeypatch.setenv("SPEEDSIM_PATH", str(tmp_path))
    assert "--synth count=" in refused(capsys, ["run", "--model", "speed_12l"])
    assert "speed_2x6_python" in refused(capsys, ["run", "--model", "speed_2x6_cross"])


def test_a_target_that_cannot_be_written_is_refused_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("speedsim.result.answer", lambda scenario: pytest.fail("the run has begun"))
    for target in (tmp_path, tmp_path / "nothing" / "answer.json"):
        assert "cannot be written" in refused(capsys, ["run", "--synth", SYNTH, "--json", str(target)])


def test_an_answer_is_never_half_written(tmp_path, capsys):
    target = tmp_path / "there" / "answer.json"
    assert "cannot be written" in refused(capsys, ["run", "--synth", SYNTH, "--json", str(target)])
    target.parent.mkdir()
    target.write_text("old")
    assert main(["run", "--synth", SYNTH, "--json", str(target)]) == 0
    assert json.loads(target.read_text())["schema"] == "speedsim-result/1"
    assert [p.name for p in target.parent.iterdir()] == ["answer.json"]


def test_a_schedule_without_a_device_form_is_refused_under_device_control():
    from dataclasses import dataclass

    from speedsim.model import Model
    from speedsim.program import Needs
    from speedsim.scenario import _fits
    from speedsim.stack import Control
    from speedsim.units import InputError

    @dataclass(frozen=True)
    class HostOnly:
        def reads(self, repetitions):
            return frozenset((repetitions,))

        def slots(self, repetitions):
            return None

        def needs(self):
            return Needs()

    model = Model(name="m", title="m", d_model=8, q_heads=1, kv_heads=1, head_dim=8, ffn=8, gated=False, vocab=8,
                  group_layers=1, repetitions=2)
    _fits(HostOnly(), "host_only", Control("host"), model)
    with pytest.raises(InputError, match="no device form"):
        _fits(HostOnly(), "host_only", Control("device"), model)
