"""Does `compare` rank what can be ranked, and name what cannot?"""

from __future__ import annotations

import json

import pytest
from speedsim.cli import main
from speedsim.comparison import split

ASK = ["compare", "--synth", "flips=0.2+0.1,count=20,sequences=4", "--model", "speed_4x3"]


def compared(capsys, *more):
    assert main([*ASK, *more, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("text", "schedules"), [
    ("speed,plt", ["speed", "plt"]),
    ("speed:exits=1+3,recheck=final,plt", ["speed:exits=1+3,recheck=final", "plt"]),
    ("loopspec:d1=1,d2=2,speed,speed", ["loopspec:d1=1,d2=2", "speed"]),
])
def test_a_comma_before_a_key_goes_on_with_the_same_schedule(text, schedules):
    assert split(text) == schedules


def test_schedules_are_ranked_by_their_gain_at_every_place(capsys):
    told = compared(capsys, "--schedules", "autoregressive,speed,plt", "--gpu", "l4,h200_sxm", "--batch", "1,4",
                    "--context", "64,1k")
    entries = told["entries"]
    assert len(entries) == 3 * 8
    for first in range(0, len(entries), 3):
        group = entries[first:first + 3]
        assert len({(e["gpu"], e["batch"], e["context"]) for e in group}) == 1
        gains = [e["speedup"] for e in group]
        assert gains == sorted(gains, reverse=True)
    plain = [e for e in entries if e["schedule"] == "autoregressive"]
    assert {(e["speedup"], e["acceptance_length"], e["bound"], e["kernels_ratio"]) for e in plain} == {(1, 1, 1, 1)}


def test_nothing_beats_its_closed_form(capsys):
    for entry in compared(capsys, "--schedules", "all")["entries"]:
        if entry["why_not"] is None:
            assert entry["acceptance_length"] <= entry["bound"] + 1e-9


def test_a_place_gives_what_a_run_gives(capsys):
    (entry,) = [e for e in compared(capsys, "--schedules", "speed", "--gpu", "l4")["entries"]]
    assert main(["run", *ASK[1:], "--gpu", "l4", "--json", "-"]) == 0
    run = json.loads(capsys.readouterr().out)
    assert entry["speedup"] == run["gain"]["speedup"]
    assert entry["interval"] == run["intervals"]["gain.speedup"]
    assert entry["memory"] == run["schedules"]["speed"]["memory"]


def test_what_does_not_fit_is_named_and_not_ranked(capsys):
    (entry,) = compared(capsys, "--schedules", "plt", "--set", "hbm.capacity=600MB")["entries"]
    assert "it does not fit" in entry["why_not"]
    assert main([*ASK, "--schedules", "plt", "--set", "hbm.capacity=600MB"]) == 0
    assert "not ranked: plt: needs" in capsys.readouterr().out


def test_what_a_model_does_not_allow_is_named_and_the_rest_ranked(capsys):
    ranked, refused = compared(capsys, "--schedules", "loopspec:d1=5,speed")["entries"]
    assert (ranked["schedule"], ranked["why_not"]) == ("speed", None)
    assert refused["schedule"] == "loopspec:d1=5"
    assert "beyond the model's 3" in refused["why_not"]


@pytest.mark.parametrize(("more", "said"), [
    (["--gpu", "h300"], "h300"), (["--batch", "1,x"], "--batch x"), (["--context", "1m"], "--context 1m"),
    (["--schedules", "sped,speed"], "sped"),
])
def test_a_wrong_question_is_refused_in_one_line(capsys, more, said):
    code = main([*ASK, "--schedules", "speed", *more])
    told = capsys.readouterr()
    if code == 0:
        assert f"not ranked: {said}" in told.out
    else:
        assert code == 2
        assert said in told.err
