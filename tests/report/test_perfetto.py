"""Does Perfetto read the timeline that `run --timeline` writes, and find in it what the engine did?"""

from __future__ import annotations

import gzip
import json
from collections import Counter

import pytest
from speedsim.cli import main
from speedsim.report.perfetto import chrome_json
from speedsim.result import answer, document
from speedsim.scenario import Scenario
from speedsim.units import InputError
from trace_processor import ask

SYNTH = "flips=0.15+0.06+0.03+0.02+0.01,count=30,sequences=2"


def told(**scenario):
    result = answer(Scenario(synth=scenario.pop("synth", SYNTH), record="kernels", **scenario))
    return result.timeline(result.key), document(result)


@pytest.mark.parametrize("changes", [
    {}, {"launch": "eager"}, {"control": "device", "batch": 2}, {"control": "lagged:2"},
])
def test_the_trace_processor_finds_every_slice_flow_and_counter_and_no_error(changes):
    line, doc = told(**changes)
    text = chrome_json(doc)
    errors, slices, flows, counters, ends, names = ask(
        text.encode(), "select sum(value) from stats where severity = 'error'",
        "select count(*), min(dur) from slice", "select count(*) from flow",
        "select count(*) from counter", "select max(ts + dur) from slice",
        "select t.name, count(*) from slice s join thread_track k on s.track_id = k.id join thread t using (utid) "
        "group by 1")
    by_track = dict(names)
    rows = sum(map(len, line.occurrence_rows))
    moved = [span for _, span in line.expand()]
    assert errors == [(0,)]
    assert by_track["SMs"] == line.counters.kernels
    assert by_track["L2"] == sum(span.bytes_requested > 0 for span in moved)
    assert by_track["HBM"] == sum(span.bytes_hbm > 0 for span in moved)
    assert sum(n for name, n in names if name.startswith("slot")) == rows
    assert slices[0][0] == sum(by_track.values())
    assert slices[0][1] >= 0
    assert sum(by_track.get(bound, 0) for bound in ("host", "launch", "wait")) == len(line.waits)
    assert flows == [(text.count('"ph":"s"'),)]
    owners = {owner for content in line.resident for owner in content}
    assert counters == [(len(line.occurrence_ps) * (3 + len(owners)) + len(line.commit_ps),)]
    passes = zip(line.occurrence_ps, line.occurrence_pattern, strict=True)
    makespan = max(*(start + line.patterns[pattern].duration_ps for start, pattern in passes), *line.commit_ps)
    assert ends == [(makespan // 1000,)]


def test_every_arrow_starts_at_a_guess_and_ends_at_the_pass_that_settled_it():
    line, doc = told()
    events = [e for e in json.loads(chrome_json(doc))["traceEvents"] if e.get("cat") == "guess"]
    starts, ends = ({e["id"]: e for e in events if e["ph"] == phase} for phase in "sf")
    assert starts.keys() == ends.keys()
    assert all(starts[token]["ts"] <= ends[token]["ts"] for token in starts)
    committed = set(line.commit_token)
    assert all((starts[token]["name"] == "right guess") == (token in committed) for token in starts)


def test_on_a_text_that_is_guessed_right_every_guess_is_verified():
    line, doc = told(synth="flips=0+0+0+0+0,count=20")
    assert line.counters.squashed_tokens == 0
    names = Counter(e["name"] for e in json.loads(chrome_json(doc))["traceEvents"] if e.get("ph") == "s")
    assert names == {"right guess": 19}


def test_slices_of_one_track_never_overlap():
    _, doc = told(launch="eager")
    ends: dict[tuple[int, int], int] = {}
    events = [e for e in json.loads(chrome_json(doc))["traceEvents"] if e["ph"] == "X"]
    for event in sorted(events, key=lambda e: e["ts"]):
        track, start = (event["pid"], event["tid"]), round(event["ts"] * 1000)
        assert start >= ends.get(track, 0)
        ends[track] = start + round(event["dur"] * 1000)


def test_the_command_writes_a_timeline_and_a_compressed_one(tmp_path, capsys):
    plain, small = tmp_path / "t.json", tmp_path / "t.json.gz"
    assert main(["run", "--synth", SYNTH, "--timeline", str(plain)]) == 0
    assert main(["run", "--synth", SYNTH, "--timeline", str(small)]) == 0
    assert gzip.decompress(small.read_bytes()) == plain.read_bytes()
    assert json.loads(plain.read_bytes())["otherData"]["schedule"] == "speed"
    assert main(["run", "--synth", SYNTH, "--timeline", str(tmp_path / "no" / "t.json")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_an_answer_without_kernels_says_how_to_record_them():
    result = answer(Scenario(synth=SYNTH))
    with pytest.raises(InputError, match="--record kernels"):
        chrome_json(document(result))
