"""Does a timeline that is too large for its document come back whole, and only the right one?"""

from __future__ import annotations

import json

import pytest
from speedsim.schedules.speed import Speed
from speedsim.timeline_files import embedded, put_beside
from speedsim.trace import synthetic
from speedsim.units import InputError
from worlds import simulate


@pytest.fixture
def document():
    line = simulate(Speed(), synthetic([0.3] * 5, 6, 30, seed=1), record="kernels")
    return {"schema": "speedsim-result/1", "timeline": json.loads(json.dumps(line.document()))}


def test_a_small_timeline_stays_inside(document, tmp_path):
    assert put_beside(document, tmp_path / "answer.json") == document
    assert list(tmp_path.iterdir()) == []


def test_a_large_timeline_goes_beside_and_comes_back_equal(document, tmp_path):
    path = tmp_path / "answer.json"
    small = put_beside(document, path, most=1000)
    assert small["timeline"]["file"].startswith("answer.timeline-")
    assert embedded(small, path) == document["timeline"]


def test_another_or_a_damaged_file_is_refused(document, tmp_path):
    path = tmp_path / "answer.json"
    small = put_beside(document, path, most=1000)
    beside = tmp_path / small["timeline"]["file"]
    whole = beside.read_bytes()
    beside.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="damaged"):
        embedded(small, path)
    beside.write_bytes(whole)
    with pytest.raises(InputError, match="not the timeline"):
        embedded({"timeline": small["timeline"] | {"sha256": "0" * 64}}, path)
    beside.unlink()
    with pytest.raises(InputError, match="no such file"):
        embedded(small, path)


def test_a_document_without_a_timeline_says_so(tmp_path):
    assert embedded({"schema": "speedsim-result/1"}, tmp_path / "answer.json") is None
