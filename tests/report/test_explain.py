"""Does the explanation add up, and does it tell a token's life as it was?"""

from __future__ import annotations

import pytest
from speedsim.cli import main
from speedsim.report.explain import of_run, of_token, remedies
from speedsim.result import answer, document
from speedsim.scenario import Scenario
from speedsim.trace import Trace, write
from speedsim.units import InputError
from worlds import sequence

SYNTH = "flips=0.15+0.06+0.03+0.02+0.01,count=60,sequences=2"


@pytest.fixture(scope="module")
def doc():
    return document(answer(Scenario(synth=SYNTH)))


def test_remedies_are_ranked_and_a_free_cause_saves_exactly_its_share(doc):
    found = remedies(doc)
    assert [r.us_per_token for r in found] == sorted((r.us_per_token for r in found), reverse=True)
    figures = doc["schedules"]["speed"]
    total = figures["total_us"] / figures["committed_tokens"]
    bounds = [r for r in found if r.what.endswith("free")]
    assert sum(r.us_per_token for r in bounds) == pytest.approx(total)
    assert all(r.factor == pytest.approx(total / (total - r.us_per_token)) for r in bounds)


def test_right_guesses_would_save_all_passes_but_one(doc):
    (guesses,) = [r for r in remedies(doc) if r.what == "every first guess right"]
    figures = doc["schedules"]["speed"]
    assert guesses.factor == figures["passes"] / figures["committed_tokens"]
    assert guesses.attempts == ("--synth flips=0+0+0+0+0,count=1000",)


def test_every_attempt_it_names_is_a_run(doc, capsys):
    for remedy in remedies(doc):
        for attempt in remedy.attempts:
            own = [] if "--synth" in attempt else ["--synth", SYNTH]
            assert main(["run", *own, *attempt.split(), "--record", "summary"]) == 0
    capsys.readouterr()


def test_a_late_prediction_is_told_with_its_repetition(tmp_path):
    right, late = [7, 7, 7], [5, 5, 7]
    write(Trace("t", "speed_4x3", 3, {}, (sequence([right, late, right, right]),)), tmp_path / "t.jsonl")
    told = document(answer(Scenario(model="speed_4x3", trace=str(tmp_path / "t.jsonl"))))
    text = "\n".join(of_token(told, "2"))
    assert "issued 2 times" in text
    assert "discarded: position 1 predicted otherwise at repetition 3" in text
    assert "3 passes after the position before it: the prediction before it settled only at repetition 3" in text
    assert "the first guess stood" in "\n".join(of_token(told, "0:3"))


def test_what_is_no_token_is_refused(doc):
    for which, said in (("999", "positions are 64 to"), ("x", "write POSITION"), ("1:2:3", "write POSITION")):
        with pytest.raises(InputError, match=said):
            list(of_token(doc, which))


def test_the_explanation_is_ascii_and_starts_with_the_answer(doc):
    lines = list(of_run(doc))
    assert lines[0] == doc["sentence"]
    assert "\n".join(lines).isascii()


def test_doctor_and_support_name_what_is_doubtful_and_what_is_missing(capsys):
    assert main(["doctor", "--gpu", "t4"]) == 0
    text = capsys.readouterr().out
    assert "recalled hbm" in text or "assumed  l2.hit_curve" in text
    assert "schedules from" in text
    assert main(["support", "--gpu", "t4"]) == 0
    text = capsys.readouterr().out
    assert "does not multiply bf16" in text
    assert "t4 has no bf16: speed_2x6 runs in fp16" in text
    assert "refused for want of a number: launch graph+pdl" in text
    assert "transferred: recorded from speed_2x6_small" in text
