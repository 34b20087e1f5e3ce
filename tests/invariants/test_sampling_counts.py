"""Are the kernels that draw a token counted, and is a greedy-only schedule kept from drawing?"""

from __future__ import annotations

import pytest
from speedsim import load_plan
from speedsim.registry import names
from speedsim.scenario import Scenario, resolve, run
from speedsim.units import InputError

ASK = {"synth": "flips=0.1+0.1,count=20", "model": "speed_4x3", "schedule": "loopspec", "record": "summary"}
VOCAB_BYTES = 2 * 32128


def played(sampling=None, **more):
    return run(Scenario(**ASK, sampling=sampling, **more)).counters


def test_a_draw_reads_the_logits_of_every_row_whose_head_is_read():
    greedy, drawn = played(), played("temperature=0.8")
    assert drawn.kernels == greedy.kernels
    assert drawn.requested_bytes == greedy.requested_bytes  # the fused draw takes the logits as the arg-max does


def test_a_truncated_draw_passes_over_the_vocabulary_for_every_row():
    """softmax (in, out), four passes over keys and indices, a scan, a mask (two in, one out)."""
    greedy, cut = played(), played("temperature=0.8,top_p=0.9")
    per_row = (2 + 4 * 4 + 2 + 3) * VOCAB_BYTES
    assert cut.requested_bytes["activations"] - greedy.requested_bytes["activations"] == greedy.head_reads * per_row
    assert cut.requested_bytes["weights"] == greedy.requested_bytes["weights"]


def test_a_larger_vocabulary_takes_longer_to_draw_from():
    times = []
    for vocab in ("32128", "128256"):
        greedy, cut = (run(Scenario(**ASK, sampling=how, sets=(("model.vocab", vocab),))).decode_ps
                       for how in (None, "temperature=1,top_k=50"))
        times.append(cut - greedy)
    assert 0 < times[0] < times[1]


def test_only_a_verification_rejects_by_probabilities():
    """softmax and rejection in one kernel more for each pass of the target; the draft draws and rejects nothing."""
    ask = {"model": "speed_12l", "schedule": "draft:draft=speed_2l,k=2", "synth": "count=30", "acceptance": "0.7"}
    greedy, drawn = (run(Scenario(**ask, record="summary", sampling=how)).counters for how in (None, "temperature=1"))
    assert drawn.kernels - greedy.kernels == greedy.passes
    assert drawn.draft_passes == greedy.draft_passes > 0


def test_a_greedy_schedule_refuses_to_draw():
    with pytest.raises(InputError, match="schedule speed is greedy only"):
        resolve(Scenario(synth="flips=0.1+0.1,count=20", model="speed_4x3", sampling="temperature=1"))


@pytest.mark.parametrize("text", ["temperature=0", "temperature=x", "top_k=3", "temperature=1,top_p=2", "heat=1",
                                  "temperature=1,temperature=2", "temperature=1,top_k=0", "temperature=1,top_k=2.5"])
def test_what_is_no_sampling_is_refused(text):
    with pytest.raises(InputError, match="--sampling"):
        resolve(Scenario(**ASK, sampling=text))


@pytest.mark.parametrize("name", names("plans"))
@pytest.mark.parametrize("rejecting", [False, True])
def test_every_plan_says_how_its_framework_draws(name, rejecting):
    plan = load_plan(name).value
    drawn = plan.sampled(True, rejecting)
    assert "argmax" not in drawn.exit
    assert drawn.exit[-1].endswith("sample")
    assert any("reject" in step for step in drawn.exit) == rejecting
