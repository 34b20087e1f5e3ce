"""Logs of steps: what they answer, what they refuse, and that their file cannot be cut or changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speedsim import trace
from speedsim.cli import main
from speedsim.oracle import TraceOracle
from speedsim.traces.files import TraceError
from speedsim.traces.steps import Recorded, StepSequence, StepTrace, read, statistics, write
from speedsim.traces.steps_synth import steps_from, steps_of
from speedsim.units import NotCoveredError


def logged(*steps, draft=4, first=10):
    """One sequence of (drafted, accepted) steps."""
    drafted, accepted = zip(*steps, strict=True)
    sequence = StepSequence(0, first, "length", "", drafted, accepted)
    return StepTrace("log", "m", draft, "accepted", {"order": "recorded"}, (sequence,))


def decoded(facts, steps, k):
    """Accepted tokens of each verification when every one proposes k tokens, to the text's end."""
    position, end, found = steps.sequences[0].first, steps.sequences[0].first + steps.tokens, []
    while position < end:
        found.append(len(facts.ranks("any", 0, position, k)))
        position += found[-1] + 1
    return found


def test_under_its_own_draft_length_a_log_replays_itself():
    steps = logged((4, 2), (4, 4), (4, 0), (3, 3), (4, 1))
    assert decoded(Recorded(steps), steps, 4) == [2, 4, 0, 3, 1]


def test_a_shorter_proposal_is_cut_and_the_rest_of_the_step_is_still_right():
    """4 right of 4 is 2, then the one that is left behind it; the fifth token was the target's own."""
    steps = logged((4, 4), (4, 1))
    assert decoded(Recorded(steps), steps, 2) == [2, 1, 1]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(1, 4))
def test_cutting_keeps_the_text_and_never_saves_steps(accepted, k):
    steps = logged(*((4, a) for a in accepted))
    cut = decoded(Recorded(steps), steps, k)
    assert sum(cut) + len(cut) == steps.tokens
    assert len(cut) >= steps.steps
    assert max(cut) <= k


def test_a_longer_proposal_is_refused_or_imputed_with_the_rate_of_the_last_place():
    steps = logged(*([(2, 2)] * 3 + [(2, 1)]) * 500, draft=2)
    with pytest.raises(NotCoveredError, match="the log has 2 a step"):
        Recorded(steps).ranks("any", 0, 10, 3)
    imputed = [len(Recorded(steps, impute=True).ranks("any", 0, start, 6)) for start in range(10, 10 + 3 * 1500, 3)]
    onward = [n - 2 for n in imputed if n >= 2]
    assert sum(n > 0 for n in onward) / len(onward) == pytest.approx(0.75, abs=0.05)
    assert Recorded(steps, impute=True).ranks("any", 0, 10, 2) == [0, 0]


def test_the_oracle_answers_from_a_log_as_if_from_a_text():
    steps = logged((4, 2), (4, 4))
    text = trace.of_steps(steps)
    oracle = TraceOracle({s.id: s for s in text.sequences}, Recorded(steps))
    assert [oracle.accepted("draft", 0, p, 4) for p in (10, 13)] == [2, 4]
    assert (text.repetitions, text.tokens) == (1, steps.tokens == 8 and 8)


def test_a_file_of_steps_comes_back_as_it_was(tmp_path):
    steps = logged((4, 2), (3, 3), (0, 0))
    write(steps, tmp_path / "log.jsonl")
    again, sealed = read(tmp_path / "log.jsonl")
    assert sealed
    assert again.digest == steps.digest
    assert again.sequences == steps.sequences
    assert trace.load(tmp_path / "log.jsonl").steps.digest == steps.digest


def test_a_cut_or_changed_file_of_steps_is_refused(tmp_path):
    write(steps_of((0.8, 0.5), 5, 3), tmp_path / "log.jsonl")
    whole = (tmp_path / "log.jsonl").read_bytes()
    for at in range(0, len(whole) - 1, 7):
        (tmp_path / "cut.jsonl").write_bytes(whole[:at])
        with pytest.raises(TraceError):
            trace.load(tmp_path / "cut.jsonl")
    for at in range(0, len(whole), 11):
        changed = bytearray(whole)
        changed[at] ^= 1
        (tmp_path / "cut.jsonl").write_bytes(changed)
        with pytest.raises(TraceError):
            trace.load(tmp_path / "cut.jsonl")


@pytest.mark.parametrize(("change", "said"), [
    ({"accepted": [5]}, "accepted more than it drafted"), ({"drafted": [4, 4]}, "2 steps drafted, 1 accepted"),
    ({"accepted": ["1"]}, "no list of whole numbers"), ({"first": -1}, "first"), ({"ende": 1}, "did you mean end"),
])
def test_a_mistake_in_a_step_is_refused_by_line_and_key(tmp_path, change, said):
    head = {"schema": "speedsim-trace/1", "kind": "steps", "model": "m", "draft_tokens": 4, "meaning": "accepted",
            "source": {}}
    entry = {"sequence": 0, "first": 1, "end": "length", "drafted": [4], "accepted": [2]} | change
    if "ende" in change:
        del entry["end"]
    (tmp_path / "log.jsonl").write_text(f"{json.dumps(head)}\n{json.dumps(entry)}\n")
    with pytest.raises(TraceError, match=said) as raised:
        trace.load(tmp_path / "log.jsonl")
    assert "log.jsonl:2:" in str(raised.value)


def test_figures_carry_every_meaning_of_acceptance_apart():
    """Steps accept 2, 0, 1 and 3 of 3: 10 tokens in 4 steps."""
    found = statistics(logged((3, 2), (3, 0), (3, 1), (3, 3), draft=3))
    assert found["acceptance_length"] == 2.5
    assert found["accepted_per_step"] == 1.5
    assert found["draft_acceptance_rate"] == 0.5
    assert found["acceptance_histogram"] == {"0": 1, "1": 1, "2": 1, "3": 1}
    assert found["per_position"] == [0.75, 0.5, 0.25]
    assert found["per_position_conditional"] == pytest.approx([3 / 4, 2 / 3, 1 / 2])


@pytest.mark.parametrize(("rates", "tokens"), [((0.8, 0.65, 0.5), 1 + 0.8 + 0.52 + 0.26), ((0.0,), 1), ((1.0,) * 4, 5)])
def test_synthetic_steps_have_the_asked_rates(rates, tokens):
    found = statistics(steps_of(rates, 20_000, 2, seed=1))
    assert found["acceptance_length"] == pytest.approx(tokens, abs=0.03)
    for said, asked in zip(found["per_position_conditional"], rates, strict=True):
        assert said == pytest.approx(asked, abs=0.02)


def test_synthetic_steps_of_a_length_have_that_length():
    found = statistics(steps_from("length=2.8,draft=4,count=20000"))
    assert found["acceptance_length"] == pytest.approx(2.8, abs=0.03)


@pytest.mark.parametrize("text", ["length=9,draft=4", "length=2", "accepted=0.5,draft=3", "accepted=1.5", "accepted=x",
                                  "accepted=0.5,acount=3", "accepted=0.5,count=0", "length=2,draft=4,accepted=0.5"])
def test_impossible_rates_are_refused(text):
    with pytest.raises(TraceError):
        steps_from(text)


def test_a_log_plays_on_a_model_of_one_repetition_only(tmp_path, capsys):
    write(steps_of((0.8, 0.5), 5, 2), tmp_path / "log.jsonl")
    assert main(["run", "--trace", str(tmp_path / "log.jsonl"), "--tier", "roofline"]) == 2
    assert "log: the trace has 1 repetitions" in capsys.readouterr().err
    asked = ["run", "--trace", str(tmp_path / "log.jsonl"), "--tier", "roofline", "--model", "llama_7b",
             "--schedule", "autoregressive"]
    assert main(asked) == 0
    assert "a log of steps of 2 proposed tokens (synthetic, order drawn)" in capsys.readouterr().out
    assert main([*asked, "--acceptance", "0.5"]) == 2


def test_two_traces_with_one_digest_say_the_same():
    steps = logged((4, 2))
    assert replace(steps, name="other").digest == steps.digest
    assert logged((4, 1)).digest != steps.digest


def played(path, schedule, capsys, *more):
    """Passes of the target per committed token when a log is replayed under a schedule."""
    asked = ["run", "--trace", str(path), "--tier", "roofline", "--model", "llama_7b", "--schedule", schedule, *more]
    assert main([*asked, "--json", "-", "--record", "summary"]) == 0
    told = json.loads(capsys.readouterr().out)
    figures = told["schedules"][schedule]
    return figures["passes"], figures["committed_tokens"], told["notes"]


def test_a_schedule_replays_a_log_step_by_step(tmp_path, capsys):
    """2 and 4 right of 4, then none: three checks of four tokens, six of two that are cut out of them."""
    steps = logged((4, 2), (4, 4), (4, 0))
    write(steps, tmp_path / "log.jsonl")
    assert played(tmp_path / "log.jsonl", "copying:k=4", capsys)[:2] == (3, 9)
    assert played(tmp_path / "log.jsonl", "copying:k=1", capsys)[:2] == (6, 9)
    asked = ["run", "--trace", str(tmp_path / "log.jsonl"), "--model", "llama_7b", "--schedule", "copying:k=6"]
    assert main(asked) == 3
    assert "proposals of 6 tokens; the log has 4 a step" in capsys.readouterr().err
    notes = played(tmp_path / "log.jsonl", "copying:k=6", capsys, "--impute")[2]
    assert any("longer ones are imputed" in note for note in notes)
