"""Do the commands that check a prediction make every engine accept what the run accepted?"""

from __future__ import annotations

import json
import re
import shlex

from speedsim.cli import main

ASK = ["run", "--model", "llama_7b", "--synth", "count=60,first=99", "--acceptance", "0.7", "--check-me"]


def told(capsys, *arguments):
    assert main([*ASK, *arguments]) == 0
    return capsys.readouterr().out


def test_each_engine_is_told_the_same_acceptance_in_its_own_meaning(capsys):
    text = told(capsys, "--schedule", "draft:draft=llama_3_2_1b,k=3")
    length = float(re.search(r"([\d.]+) tokens a verification", text)[1])
    assert 1 < length <= 4
    (serve,) = [line for line in text.splitlines() if "speculative-config" in line]
    config = json.loads(shlex.split(serve)[-1])
    assert config == {"method": "draft_model", "model": "DRAFTER", "num_speculative_tokens": 3,
                      "rejection_sample_method": "synthetic", "synthetic_acceptance_length": length}
    assert f"SGLANG_SIMULATE_ACC_LEN={length} " in text
    assert f"TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS={round(length - 1, 3)} " in text
    assert "--random-input-len 100 --random-output-len 60" in text
    assert "--max-concurrency 1 " in text


def test_an_engine_without_the_method_is_named(capsys):
    text = told(capsys, "--schedule", "copying:k=3")
    assert '"method": "ngram"' in text
    assert "DRAFTER" not in text


def test_a_schedule_that_no_engine_has_is_not_covered(capsys):
    assert main([*ASK, "--schedule", "speed"]) == 3
    assert "no engine decodes by speed" in capsys.readouterr().err
