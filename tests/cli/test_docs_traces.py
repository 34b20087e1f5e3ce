"""Does everything in docs/traces.md and docs/speed_paper.md do what it says?"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from speedsim.cli import main

PAGE = "".join((Path(__file__).parents[2] / "docs" / name).read_text() for name in ("traces.md", "speed_paper.md"))
BLOCKS = [[line for line in body.splitlines() if line.startswith("speedsim ")]
          for kind, body in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if not kind]
CHOICE = {"index": 0, "turns": [""], "new_tokens": [12], "wall_time": [1.0]}
LOGS = {
    "responses.jsonl": {"usage": {"prompt_tokens": 8, "completion_tokens": 9}, "metrics": {"speculative_decoding": {
        "num_spec_tokens": 3, "acceptance_histogram": [1, 1, 0, 1], "per_step_accepted": [1, 3, 0],
        "per_step_drafted": [3, 3, 3]}}},
    "profile_export.jsonl": {"metadata": {}, "metrics": {},
                             "spec_decode_acceptance": {"engine": "vllm", "acceptance_histogram": {"0": 1, "2": 2}}},
    "answers.jsonl": {"question_id": 1, "category": "math", "model_id": "m",
                      "choices": [CHOICE | {"decoding_steps": [4], "accept_lengths": [1, 5, 2, 4]}]},
    "eagle.jsonl": {"question_id": 1, "model_id": "m", "choices": [CHOICE | {"idxs": [3]}]},
}


@pytest.mark.parametrize("commands", BLOCKS, ids=lambda block: block[0])
def test_the_commands_run_in_their_order(commands, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, entry in LOGS.items():
        (tmp_path / name).write_text(json.dumps(entry) + "\n")
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
        assert capsys.readouterr().out
