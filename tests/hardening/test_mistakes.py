"""Is every mistake at the verbs beyond `run` one line with exit code 2 (3: not covered), and the nearest right name?"""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest
from speedsim import cli
from speedsim.units import InputError
from speedsim.validate import cli as validate_cli
from speedsim.validate import gap

DRAFT = ["run", "--model", "llama_7b", "--schedule", "draft:draft=llama_68m"]
SOLVE = ["solve", "--target", "time_per_token=200us", "--vary"]
SWEEP = ["sweep", "--out", "made", "--over"]

MISTAKES = [
    (["sweep", "--over", "batch=1,2"], "--out"),
    (["sweep", "--out", "", "--over", "batch=1,2"], "no folder has such a name"),
    (["sweep", "--out", "no\0name", "--over", "batch=1,2"], "no folder has such a name"),
    (["sweep", "--out", os.devnull, "--over", "batch=1,2"], "it is no folder"),
    ([*SWEEP, "gpuu=l4"], "did you mean gpu"),
    ([*SWEEP, "gpu=l5"], "gpu 'l5' is unknown"),
    ([*SWEEP, "hbm.bandwith=1TB/s,2TB/s"], "did you mean bandwidth"),
    ([*SWEEP, "batch=1,nan"], "whole number"),
    ([*SWEEP, "batch=1:0"], "empty range"),
    ([*SWEEP, "batch=1:1e30"], "1,000,000 values"),
    ([*SWEEP, "batch=1,2", "--link", "batch,gpu"], "is no axis"),
    ([*SWEEP, "batch=1,2", "--engine", "seriel"], "did you mean serial"),
    ([*SWEEP, "batch=1,2", "--workers", "0"], "--workers"),
    ([*SWEEP, "batch=1,2", "--worker", "2"], "did you mean --workers"),
    ([*SOLVE, "hbm.bandwith"], "hbm.bandwith"),
    ([*SOLVE, "batch", "--between", "a:b"], "--between: 'a' is no number"),
    ([*SOLVE, "batch", "--between", "nan:nan"], "--between: 'nan' is no finite number"),
    ([*SOLVE, "batch", "--between", "1:1e999"], "no finite number"),
    ([*SOLVE, "batch", "--between", "4:1"], "is not below"),
    ([*SOLVE, "batch", "--between", "4"], "LOW:HIGH"),
    ([*SOLVE, "hbm.bandwidth", "--between", "1:2"], "no unit"),
    ([*SOLVE, "hbm.bandwidth", "--between", "nan:nan"], "--between: nan"),
    (["solve", "--vary", "batch", "--target", "gain=nan"], "no finite number"),
    (["solve", "--vary", "batch", "--target", "gain=1e999"], "no finite number"),
    (["solve", "--vary", "batch", "--target", "gain"], "FIGURE=VALUE"),
    (["solve", "--vary", "batch", "--target", "time_per_token=2TB"], "time"),
    (["whatif", "h200_sxm"], "--set"),
    (["whatif", "", "--set", "hbm.bandwidth=3TB/s"], "gpu '' is unknown"),
    (["whatif", "h200_sxn", "--set", "hbm.bandwidth=3TB/s"], "did you mean h200_sxm"),
    (["whatif", "h200_sxm", "--set", "hbm.bandwidth=1e999TB/s"], "hbm.bandwidth"),
    (["compare", "--schedules", ""], "names no schedule"),
    (["compare", "--schedules", "speed", "--gpu", ","], "names no gpu"),
    (["compare", "--schedules", "sped"], "did you mean speed"),
    (["compare", "--schedules", "speed", "--batch", "\u0663"], "whole number"),
    (["compare", "--schedules", "speed", "--context", "1,,2"], "whole number"),
    (["suite", "loopspek"], "did you mean loopspec"),
    (["suite", "loopspec", "--rows", "bytes"], "not UTF-8 text"),
    (["suite", "published", "--rows", "bytes"], "not UTF-8 text"),
    (["suite", "speed_paper", "--rows", "bytes"], "not UTF-8 text"),
    (["suite", "loopspec", "--rows", "nothing.csv"], "cannot be read"),
    (["suite", "published", "--rows", "empty"], "columns"),
    (["sensitivity", "--top", "0"], "--top 0"),
    (["trace", "synht", "flips=0.1", "t.jsonl"], "did you mean synth"),
    (["trace", "synth", "flisp=0.1", "t.jsonl"], "did you mean flips"),
    (["trace", "synth", "flips=nan", "t.jsonl"], "from 0 to 1"),
    (["trace", "synth", "length=2,draft=99999999999999", "t.jsonl"], "100,000,000"),
    (["trace", "synth", "accepted=0.5+0.5,sequences=999999999", "t.jsonl"], "100,000,000"),
    (["trace", "import", "bytes", "t.jsonl"], "bytes"),
    (["trace", "import", "empty", "t.jsonl", "--form", "vllm"], "a log is an object a line"),
    (["trace", "import", "object", "t.jsonl", "--form", "vlm"], "did you mean vllm"),
    (["explain", "bytes"], "bytes"),
    (["curve", "--slo", "tpot=1"], "unit"),
    (["energy", "--gpu", "h200_sxn"], "did you mean h200_sxm"),
    ([*DRAFT, "--acceptance", "0.5,nan"], "nan is no probability"),
    ([*DRAFT, "--acceptance", "0.5,1e999"], "inf is no probability"),
    ([*DRAFT, "--acceptance", "specbench_spx_7b"], "did you mean specbench_sps_7b"),
    ([*DRAFT, "--acceptance-length", "nan"], "nan"),
    ([*DRAFT, "--acceptance", "=0.5"], "WHO=P,P"),
    (["run", "--model", "llama_7b", "--acceptance", "0.5", "--schedule", "lookahead:window=4000"], "4,096 rows"),
    (["run", "--model", "llama_7b", "--acceptance", "0.5", "--schedule", "mask_tokens:k=4000"], "4,096 rows"),
    (["run", "--model", "llama_7b", "--acceptance", "0.5", "--schedule", "lookahead:window=99999999"], "above 4,096"),
    (["export", "predictor", "--rows", "999999999999", "--out", "x.csv"], "from 1 to 1,048,576"),
    (["run", "--set", "model.d_model=99999999999999"], "is above"),
    (["run", "--set", "model.vocab=99999999999999"], "is above"),
    (["run", "--set", "model.group_layers=99999999"], "is above 10,000"),
    (["run", "--schedule", "eagel", "--acceptance", "0.5"], "did you mean eagle"),
    (["run", "--sampling", "temprature=1"], "did you mean temperature"),
    (["run", "--schedul", "speed"], "did you mean --schedule"),
]
OF_VALIDATE = [
    (["predcit", "linear"], "did you mean predict"),
    (["predict", "liner"], "did you mean linear"),
    (["predict", "linear", "--gpu", "h200_sxn"], "did you mean h200_sxm"),
    (["compare", "nothing"], "no measurement file"),
    (["compare", "empty"], "no measurement file"),
    (["calibrate", "nothing"], "no measurement file"),
    (["import", "kineto", "empty"], "no JSON"),
    (["import", "kinto", "empty"], "did you mean kineto"),
    (["whatif", "--from", "h100_sxm"], "--to"),
    (["whatif", "--from", "h100_sxm", "--to", "h200_sxm", "--op", "liner"], "did you mean linear"),
    (["silicon", "--oop", "linear"], "did you mean --op"),
    (["fit", "silicn"], "did you mean silicon"),
    (["power", "--gpus", "l40s"], "did you mean --gpu"),
    (["serving", "--teir", "fluid"], "did you mean --tier"),
    pytest.param(["curves", "--gpo", "l40s"], "did you mean --gpu", marks=pytest.mark.skipif(
        find_spec("numba") is None, reason="the cycle tier needs the extra fast")),
    (["accuracy", "--onli", "linear"], "did you mean --only"),
    (["score", "--lst", "x"], "did you mean --list"),
]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A working directory with a file of no bytes and one of bytes that are no text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").touch()
    (tmp_path / "object").write_text('{"a": 1}\n')
    (tmp_path / "bytes").write_bytes(b"\x89\xff\x00\x01" * 20)


def one_line(code, captured):
    """What a refusal prints, which is one line."""
    assert code == 2, captured
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_a_mistake_is_one_line_and_leaves_no_file(arguments, says, tmp_path, capsys):
    code = cli.main(arguments)
    line = one_line(code, capsys.readouterr())
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "empty", "object"]


@pytest.mark.parametrize(("change", "says"), [
    ({"--baseline": "nothing"}, "nothing"),
    ({"--baseline": "empty"}, "empty"),
    ({"--speculative": "bytes"}, "bytes"),
    ({"--acceptance-length": "nan"}, "nan"),
    ({"--acceptance-length": "0"}, "0"),
    ({"--part": "verfy=gemm"}, "did you mean verify"),
    ({"--part": "verify=["}, "verify=["),
    ({"--prediction": "object"}, "object"),
    ({"--steps": "x"}, "did you mean --step"),
])
def test_a_mistake_at_gap_is_told_in_one_line(change, says, tmp_path):
    assert cli.main(["run", "--tokens", "8", "--json", "answer.json"]) == 0
    given = {"--baseline": "answer.json", "--speculative": "answer.json", "--acceptance-length": "2"} | change
    with pytest.raises(InputError) as refusal:
        gap.main([word for pair in given.items() for word in pair])
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("arguments", "says"), OF_VALIDATE)
def test_a_mistake_at_a_verb_of_validate_is_one_line(arguments, says, capsys):
    code = validate_cli.main(arguments)
    assert says in one_line(code, capsys.readouterr())
