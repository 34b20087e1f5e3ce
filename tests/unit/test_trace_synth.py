"""Made-up traces: stated rates come out, bursts keep them, an envelope has its closed form; figures by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim import trace
from speedsim.cli import main
from speedsim.traces.files import TraceError
from speedsim.traces.statistics import bounds, burstiness, summary
from speedsim.units import InputError

FLIPS = (0.16, 0.06, 0.03, 0.02, 0.01)


def mean_settle(flips):
    """E[r] = 1 + sum over j of (1 - product over i >= j of (1 - f_i))."""
    return 1 + sum(1 - np.prod([1 - f for f in flips[j:]]) for j in range(len(flips)))


@pytest.mark.parametrize("burst", [0.2, 0.6, 0.9])
def test_bursts_keep_the_rates_and_have_the_asked_correlation(burst):
    found = trace.statistics(trace.synthetic(FLIPS, 6, 4000, 20, seed=1, burst=burst))
    for said, asked in zip(found["flip_rates"], FLIPS, strict=True):
        assert said["rate"] == pytest.approx(asked, abs=0.02)
    assert found["burstiness"] == pytest.approx(burst, abs=0.03)
    assert found["mean_settle"]["value"] == pytest.approx(mean_settle(FLIPS), abs=0.08)


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0.01, 0.95))
def test_certain_and_impossible_flips_stay_so_in_bursts(flips, burst):
    made = trace.synthetic(flips, len(flips) + 1, 200, seed=3, burst=burst).sequences[0].exit_tokens
    for boundary, rate in enumerate(flips):
        changed = made[:, boundary + 1] != made[:, boundary]
        assert rate > 0 or not changed.any()
        assert rate < 1 or changed.all()


def test_without_bursts_neighbours_know_nothing_of_each_other():
    found = trace.statistics(trace.synthetic(FLIPS, 6, 20_000, seed=1))
    assert abs(found["burstiness"]) < 0.03
    assert trace.statistics(trace.synthetic((0.0,), 2, 50))["burstiness"] is None


@pytest.mark.parametrize(("beta", "alpha"), [(0.4, 1.2), (1.0, 0.5), (0.3, 0.0), (0.0, 1.0)])
def test_an_envelope_is_how_often_an_exit_differs_from_the_last(beta, alpha):
    made = trace.synthetic((), 6, 20_000, seed=2, envelope=(beta, alpha))
    exits = made.sequences[0].exit_tokens
    for r in range(1, 6):
        assert (exits[:, r - 1] != exits[:, -1]).mean() == pytest.approx(min(1, beta * r**-alpha), abs=0.015)
    assert ((exits[:, 1:] != exits[:, :-1]).sum(axis=1) <= 1).all()
    expected = 1 + sum(min(1, beta * r**-alpha) for r in range(1, 6))
    assert trace.statistics(made)["mean_settle"]["value"] == pytest.approx(expected, abs=0.03)


def test_like_takes_the_rates_and_the_bursts_of_a_recorded_trace():
    told = trace.statistics(trace.load(trace.find("traces", "speed_2x6_python")))
    made = trace.statistics(trace.synthetic_from("like=speed_2x6_python,count=8000,sequences=4", 6))
    for said, asked in zip(made["flip_rates"], told["flip_rates"], strict=True):
        assert said["rate"] == pytest.approx(asked["rate"], abs=0.02)
    assert made["burstiness"] == pytest.approx(told["burstiness"], abs=0.03)
    assert trace.synthetic_from("like=speed_2x6_python,burst=0.5,count=10").source["burst"] == 0.5


@pytest.mark.parametrize(("text", "said"), [
    ("flips=0.1,burst=1", "burst=1.0: a correlation from 0 to below 1"), ("envelope=0.4", "BETA[+]ALPHA"),
    ("envelope=0.4+1", "repetitions=G says for how many exits"), ("envelope=2+1,repetitions=3", "beta from 0 to 1"),
    ("flips=0.1,envelope=0.4+1,repetitions=2", "alone"), ("flips=0.1+0.1,repetitions=4", "need 3 probabilities"),
    ("like=absent", "absent"), ("flips=0.1,repetitions=x", "no whole number"), ("burts=0.1", "did you mean burst"),
])
def test_what_cannot_be_made_up_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        trace.synthetic_from(text)
    with pytest.raises(TraceError, match="the model has 6"):
        trace.synthetic_from("envelope=0.4+1,repetitions=3", 6)


def exits(*settled):
    """[count, 4] predictions that last change at these repetitions."""
    return np.array([[int(r <= at) for at in range(1, 5)] for r in settled], dtype=np.int32)


def test_figures_by_hand():
    """Settled at 1, 1, 3, 1 and 2, 4: five of six pairs of neighbours lie within a sequence."""
    found = summary([exits(1, 1, 3, 1), exits(2, 4)], prompts=["chat", "code"])
    assert found["mean_settle"]["value"] == 2.0
    assert found["mean_settle_by_prompt"] == {"chat": 1.5, "code": 3.0}
    assert found["mean_settle_along"] == {"positions_each": 32, "means": [2.0]}
    assert found["runs"] == {"settled_at_once": {"mean": 1.5, "longest": 2}, "restless": {"mean": 1.5, "longest": 2}}
    assert found["bounds"] == {"every_exit": 2.0, "first_exit_checked_at_the_end": 4 / (0.5 + 0.5 * 4),
                               "everything_right": 4.0}


def test_burstiness_is_a_correlation_of_neighbours_within_sequences():
    alternating, blocks = np.tile([1, 2], 50), np.repeat([1, 2], 50)
    assert burstiness([alternating]) == pytest.approx(-1)
    assert burstiness([blocks]) == pytest.approx(0.98, abs=0.01)
    assert burstiness([np.array([1]), np.array([2])]) is None
    assert bounds(6, 1.0, 1.0) == {"every_exit": 6, "first_exit_checked_at_the_end": 6, "everything_right": 6}


def test_the_kinds_of_prompts_come_from_the_traces_source():
    made = trace.synthetic((0.5,), 2, 20, 2)
    told = trace.Trace("t", "m", 2, {"prompts": {"0": "chat", "1": "code"}}, made.sequences)
    assert set(trace.statistics(told)["mean_settle_by_prompt"]) == {"chat", "code"}
    assert trace.statistics(made)["mean_settle_by_prompt"] == {}


def test_the_screen_shows_bars(capsys):
    assert main(["trace", "stats", "speed_2x6_copy"]) == 0
    said = capsys.readouterr().out
    for title in ("flips between exits (%)", "settle repetition r", "E[r] along the text", "E[r] by kind of prompt"):
        assert title in said
    assert "summarise" in said
    assert max(len(line) for line in said.splitlines() if line.startswith("  ")) < 80


# ------------------------------------------------------------------------------------------------------- cut files


def test_wherever_a_file_is_cut_it_is_refused(tmp_path: Path):
    """Also between two sequences, where what is left is a file of its own: the header says how many there were."""
    made = trace.synthetic((0.2, 0.1), 3, 4, 3)
    trace.write(made, tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    assert json.loads(lines[0])["sequences"] == 3
    for kept in range(len(lines)):
        (tmp_path / "cut.jsonl").write_bytes(b"".join(lines[:kept]))
        if kept == len(lines) - 1:  # only the last line is gone: every sequence is there
            assert not trace.check(tmp_path / "cut.jsonl")["sealed"]
            continue
        with pytest.raises(TraceError):
            trace.load(tmp_path / "cut.jsonl")


def test_lines_that_are_written_otherwise_say_the_same(tmp_path: Path):
    """A block of lines in this tool's own form is read at once; one that differs somewhere, line by line."""
    made = trace.synthetic((0.2, 0.1), 3, 40, 2)
    trace.write(made, tmp_path / "own.jsonl")
    lines = (tmp_path / "own.jsonl").read_text().splitlines()[:-1]
    for name, at in (("spaces", (5,)), ("order", (7, 60)), ("all", range(len(lines)))):
        other = [json.dumps(dict(reversed(json.loads(line).items())), separators=(",", ":")) if i in at else line
                 for i, line in enumerate(lines)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(other) + "\n")
        assert trace.load(tmp_path / f"{name}.jsonl").digest == made.digest
    for wrong in ("01", "1.0", "-1", "9999999999", '"1"', "1e0"):
        line = lines[9].rsplit(" ", 1)[0] + f" {wrong}]}}"
        (tmp_path / "wrong.jsonl").write_text("\n".join([*lines[:9], line, *lines[10:]]) + "\n")
        with pytest.raises(TraceError, match=r"wrong\.jsonl:10:"):
            trace.load(tmp_path / "wrong.jsonl")


def test_a_hand_made_file_needs_neither_number_nor_checksum(tmp_path: Path):
    trace.write(trace.synthetic((0.2, 0.1), 3, 4, 3), tmp_path / "whole.jsonl")
    head, *rest = (tmp_path / "whole.jsonl").read_text().splitlines(keepends=True)[:-1]
    entry = json.loads(head)
    del entry["sequences"]
    (tmp_path / "hand.jsonl").write_text(json.dumps(entry) + "\n" + "".join(rest))
    assert trace.load(tmp_path / "hand.jsonl").digest == trace.load(tmp_path / "whole.jsonl").digest
    (tmp_path / "hand.jsonl").write_text(json.dumps(entry | {"sequences": 0}) + "\n" + "".join(rest))
    with pytest.raises(TraceError, match=r"hand\.jsonl:1:.*sequences: 0 is no whole number"):
        trace.load(tmp_path / "hand.jsonl")
