"""Does the schedule equal SPEED's, row by row, in every golden case?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.schedules.speed import Speed
from worlds import decode, sequence

CASES = sorted(Path(__file__).parent.glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_schedule_equals_the_golden_one_row_by_row(path):
    case = json.loads(path.read_text())
    last = case["repetitions"]
    exits = None if case["exits"] == list(range(case["first_exit"], last + 1)) else tuple(case["exits"])
    schedule = Speed(case["first_exit"], exits, case["recheck"], case["max_in_flight"])
    s = sequence(case["exit_tokens"], case["end"])
    played = decode(schedule, s, StrictOracle(TraceOracle({0: s})))
    expect = case["expect"]
    assert played.rows == expect["rows"]
    assert played.heads == expect["heads"]
    assert [place for _, place in played.commits] == expect["commit_pass"]
    assert len(played.passes) == expect["passes"]
    assert sum(map(len, played.rows)) == expect["row_passes"]
    assert len(played.commits) * last == expect["useful_row_passes"]
    assert sum(map(len, played.heads)) == expect["head_reads"]
    tokens = {row.token for item in played.passes for row in item.rows}
    assert len(tokens) - len(played.commits) == expect["squashed_tokens"]


def test_every_golden_case_is_here():
    assert len(CASES) == 31
