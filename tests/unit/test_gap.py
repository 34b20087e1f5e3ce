"""Is a measured speed-up explained by an identity that holds, from any kind of file?"""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speedsim import cli
from speedsim.units import InputError
from speedsim.validate.gap import ORDER, Side, explain, main

TIMES = st.floats(0.01, 1e4)


@given(TIMES, st.lists(TIMES, min_size=5, max_size=5), st.floats(1, 12))
def test_the_factors_multiply_to_the_speed_up(plain, parts, length):
    spec = Side("b", math.fsum(parts), length, dict(zip(ORDER, parts, strict=True)), {})
    found = explain(Side("a", plain, 1.0, None, {}), spec)
    assert math.prod(found["factors"].values()) == pytest.approx(found["speedup"], rel=1e-9)
    assert found["verification_us"] == parts[0]


def kineto(file, step_us, kernels):
    """A profile of ten steps; `kernels` are (mark, start, duration) in each."""
    events = []
    for i in range(10):
        at = 100.0 + i * step_us
        events.append({"ph": "X", "cat": "user_annotation", "name": "step", "pid": 1, "tid": 1, "ts": at,
                       "dur": step_us})
        for name, start, duration in kernels:
            events.append({"ph": "X", "cat": "kernel", "name": name, "pid": 0, "tid": 7, "ts": at + start,
                           "dur": duration, "args": {"stream": 7}})
    file.write_text(json.dumps({"traceEvents": events}))
    return str(file)


def test_two_profiles_say_what_a_step_is_made_of(tmp_path, capsys):
    plain = kineto(tmp_path / "a.json", 100, [("decode", 10, 80)])
    spec = kineto(tmp_path / "b.json", 160, [("draft", 0, 30), ("verify", 40, 90), ("sample", 130, 10)])
    assert main(["--baseline", plain, "--speculative", spec, "--acceptance-length", "2.4", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["speedup"] == pytest.approx(2.4 * 100 / 160, rel=1e-9)
    assert found["verification_us"] == pytest.approx(90)
    assert found["factors"]["plain_step / verification"] == pytest.approx(100 / 90)
    assert found["factors"]["draft"] == pytest.approx(90 / 120)
    assert found["factors"]["sampling"] == pytest.approx(120 / 130)
    assert found["factors"]["host"] == pytest.approx(130 / 160)
    assert found["speculative"]["kernels"]["draft"][0][:2] == ["draft", 10]
    assert main(["--baseline", plain, "--speculative", spec, "--acceptance-length", "2.4"]) == 0
    assert "x verification" not in (told := capsys.readouterr().out)
    assert "drafting" in told


def test_benches_know_the_whole_step_and_not_its_parts(tmp_path, capsys):
    for name, token, length in (("a", 10.0, None), ("b", 5.0, 2.5)):
        (tmp_path / f"{name}.json").write_text(json.dumps(
            {"mean_tpot_ms": token} | ({} if length is None else {"acceptance_length": length})))
    where = ["--baseline", str(tmp_path / "a.json"), "--speculative", str(tmp_path / "b.json")]
    assert main([*where, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["factors"] == {"acceptance_length": 2.5, "plain_step / speculative_step": pytest.approx(10 / 12.5)}
    log = tmp_path / "log.jsonl"
    log.write_text('{"metrics": {"speculative_decoding": {"mean_acceptance_length": 2.0}}}\n' * 2)
    assert main([*where, "--acceptance", str(log), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["acceptance_length"] == 2.0


def test_a_prediction_explains_itself_and_stands_beside(tmp_path, capsys):
    result = tmp_path / "r.json"
    assert cli.main(["run", "--tokens", "40", "--tier", "roofline", "--json", str(result)]) == 0
    bench = tmp_path / "a.json"
    bench.write_text('{"mean_tpot_ms": 0.5}')
    capsys.readouterr()
    files = ["--baseline", str(bench), "--speculative", str(result), "--prediction", str(result)]
    assert main([*files, "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    beside = found["prediction"]
    assert math.prod(beside["factors"].values()) == pytest.approx(beside["speedup"], rel=1e-9)
    assert beside["speedup"] == pytest.approx(json.loads(result.read_text())["gain"]["speedup"], rel=1e-9)


@pytest.mark.parametrize(("extra", "words"), [
    ([], "a profile does not know how many tokens"),
    (["--acceptance-length", "0.8"], "the bonus token is included"),
    (["--acceptance-length", "2", "--part", "host=x"], "write verify=REGEX"),
    (["--acceptance-length", "2", "--part", "draft=("], "no regular expression"),
    (["--acceptance-length", "2", "--step", "unit"], "no mark is called unit"),
    (["--acceptance-length", "2", "--baseline", "none.json"], "no such file"),
])
def test_what_cannot_be_explained_is_refused(tmp_path, extra, words):
    file = kineto(tmp_path / "a.json", 100, [("decode", 10, 80)])
    with pytest.raises(InputError, match=words):
        main(["--baseline", file, "--speculative", file, *extra])
