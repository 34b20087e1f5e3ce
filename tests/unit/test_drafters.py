"""Does a model name who drafts for it, where a schedule is asked for without saying so?"""

from __future__ import annotations

import pytest
from speedsim.model import Model
from speedsim.scenario import Scenario, resolve
from speedsim.schedule_names import with_drafter
from speedsim.units import InputError

KNOWN = ("draft=llama_68m", "heads=medusa_heads_7b")


def test_a_schedule_without_a_drafter_gets_the_models():
    assert with_drafter("draft", KNOWN) == "draft:draft=llama_68m"
    assert with_drafter("draft:k=3", KNOWN) == "draft:k=3,draft=llama_68m"
    assert with_drafter("heads", KNOWN) == "heads:heads=medusa_heads_7b"


def test_what_was_said_stays_and_what_nobody_names_is_asked_for():
    assert with_drafter("draft:draft=~8l", KNOWN) == "draft:draft=~8l"
    assert with_drafter("speed:max_in_flight=2", KNOWN) == "speed:max_in_flight=2"
    assert with_drafter("block", KNOWN) == "block"
    with pytest.raises(InputError, match="draft=MODEL is missing"):
        resolve(Scenario(model="llama_3_2_1b", schedule="draft", synth="count=5", acceptance="0.5"))


def test_a_run_says_whose_drafts_it_took():
    made = resolve(Scenario(model="llama_7b", schedule="eagle", synth="count=5", acceptance="0.5"))
    assert made.schedule_name == "eagle:draft=eagle_7b"


def test_a_pair_that_names_nobody_is_refused():
    with pytest.raises(ValueError, match="SCHEDULE=MODEL"):
        Model(name="a", title="", d_model=1, q_heads=1, kv_heads=1, head_dim=1, ffn=1, gated=True, vocab=1,
              group_layers=1, repetitions=1, drafters=("draft",))
