"""Are profiles read as what they are: kernels under the marks that launched them, on one clock, damage refused?"""

from __future__ import annotations

import gzip
import json
import sqlite3

import pytest
from speedsim.validate.cli import main
from speedsim.validate.imports import engine, kineto, nsys
from speedsim.validate.imports.profile import HOST, RULES, shares, steps_of, timeline, union_ps
from speedsim.validate.refusal import RefusedError


def event(name, start, duration, category, thread=1, **arguments):
    return {"ph": "X", "name": name, "cat": category, "pid": 1, "tid": thread, "ts": 5e12 + start, "dur": duration,
            "args": arguments}


EVENTS = [
    event("step", 0, 40, "user_annotation"),
    event("draft", 1, 8, "user_annotation"),
    event("cudaLaunchKernel", 2, 1, "cuda_runtime", correlation=1),
    event("verify", 10, 20, "user_annotation"),
    event("cudaGraphLaunch", 12, 1, "cuda_runtime", correlation=2),
    event("small", 5, 10, "kernel", 7, correlation=1, stream=7),
    event("large", 20, 15, "kernel", 7, correlation=2, stream=7),
    event("argmax_kernel", 36, 2, "kernel", 7, stream=7),
    event("Memcpy DtoH", 39, 1, "gpu_memcpy", 7, stream=7),
    event("step", 50, 40, "user_annotation"),
    event("verify", 52, 20, "user_annotation"),
    event("cudaGraphLaunch", 53, 1, "cuda_runtime", correlation=3),
    event("large", 60, 20, "kernel", 7, correlation=3, stream=7),
    {"ph": "i", "name": "Record Window End", "ts": 5e12 + 95},
]


@pytest.fixture
def profile(tmp_path):
    file = tmp_path / "a.pt.trace.json"
    file.write_text(json.dumps({"traceEvents": EVENTS}))
    return kineto.read(file)


def test_a_kernel_belongs_to_the_marks_around_the_call_that_launched_it(profile):
    assert [(w.name, w.marks) for w in profile.work] == [
        ("small", ("step", "draft")), ("large", ("step", "verify")), ("argmax_kernel", ()), ("Memcpy DtoH", ()),
        ("large", ("step", "verify"))]
    assert profile.launches == 3
    assert profile.work[0].start_ps == 5_000_000


def test_time_in_steps_is_divided_without_remainder(profile):
    found = shares(profile, steps_of(profile, None))
    assert found.steps == 2
    assert found.total_ps == 90_000_000 == sum(found.parts_ps.values())
    assert found.parts_ps == {"draft": 10_000_000, "verify": 35_000_000, "sampling": 2_000_000, "other": 1_000_000,
                              HOST: 42_000_000}
    assert found.kernels["verify"] == {"large": (2, 35_000_000)}


def test_what_a_draft_hides_behind_a_verification_is_the_verifications(tmp_path):
    file = tmp_path / "b.json"
    file.write_text(json.dumps({"traceEvents": [
        event("step", 0, 20, "user_annotation"), event("draft_kernel", 0, 10, "kernel"),
        event("verify_kernel", 4, 10, "kernel", 9)]}))
    found = shares(profile := kineto.read(file), steps_of(profile, "step"), RULES)
    assert found.parts_ps == {"draft": 4_000_000, "verify": 10_000_000, HOST: 6_000_000}


def test_a_profile_becomes_a_timeline_of_its_steps(profile):
    line = timeline(profile, steps_of(profile, "step"))
    assert list(line.occurrence_ps) == [0, 50_000_000]
    assert [p.duration_ps for p in line.patterns] == [40_000_000, 40_000_000]
    assert line.counters.kernels == 5
    assert line.counters.launch_units == 3
    assert sum(line.bound_ps.values()) == line.decode_ps
    assert line.bound_ps["wait"] == 48_000_000
    assert {span.name for _, span in line.expand()} == {"small", "large", "argmax_kernel", "Memcpy DtoH"}


def test_packed_and_plain_profiles_are_the_same(profile, tmp_path):
    file = tmp_path / "a.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"traceEvents": EVENTS}).encode()))
    assert kineto.read(file).work == profile.work


def test_without_a_gpu_the_outermost_operations_stand_for_kernels(tmp_path):
    file = tmp_path / "cpu.json"
    file.write_text(json.dumps({"traceEvents": [
        event("verify", 0, 10, "user_annotation"), event("aten::linear", 1, 5, "cpu_op"),
        event("aten::addmm", 2, 3, "cpu_op"), event("aten::relu", 6, 1, "cpu_op")]}))
    assert [(w.name, w.marks) for w in kineto.read(file).work] == [
        ("aten::linear", ("verify",)), ("aten::relu", ("verify",))]


@pytest.mark.parametrize(("content", "words"), [
    (b"{", "no JSON"), (b"[" * 50_000, "no JSON"), (b"[]", "no traceEvents"), (b'{"traceEvents": []}', "no complete"),
    (b'{"traceEvents": [{"ph": "X", "name": "a", "ts": NaN, "dur": 1}]}', "is no time"),
    (b'{"traceEvents": [{"ph": "X", "name": "a", "ts": "1", "dur": 1}]}', "is no time"),
    (b"\x1f\x8b\x08\x00broken", "a.json"),
])
def test_what_is_no_profile_is_refused_in_one_line(tmp_path, content, words):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(RefusedError, match=words) as refusal:
        kineto.read(file)
    assert "\n" not in str(refusal.value)


def test_steps_must_be_named_where_no_usual_name_is_marked(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"traceEvents": [event("mine 1", 0, 4, "user_annotation"),
                                                event("k", 1, 1, "kernel")]}))
    profile = kineto.read(file)
    with pytest.raises(RefusedError, match="--step NAME, one of mine"):
        steps_of(profile, None)
    assert len(steps_of(profile, "mine 7")) == 1


def documented(path):
    """An export as the documentation describes its tables."""
    with sqlite3.connect(path) as base:
        base.executescript("""
            CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
            CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, end INT, deviceId INT, streamId INT, correlationId INT,
                globalPid INT, demangledName INT, shortName INT, graphNodeId INT);
            CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INT, end INT, globalTid INT, correlationId INT, nameId INT);
            CREATE TABLE NVTX_EVENTS (start INT, end INT, eventType INT, globalTid INT, text TEXT, textId INT);
            INSERT INTO StringIds VALUES (1, 'gemm<bf16>'), (2, 'cudaGraphLaunch_v10000'), (3, 'verify');
            INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (1100, 1300, 0, 7, 4, 9, 1, 1, NULL);
            INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1010, 1020, 5, 4, 2);
            INSERT INTO NVTX_EVENTS VALUES (1000, 1400, 59, 5, 'step', NULL), (1005, 1200, 59, 5, NULL, 3),
                (1001, NULL, 34, 5, 'a point in time', NULL);
        """)
    base.close()


def test_an_export_of_nsight_systems_is_read_by_its_documented_tables(tmp_path):
    file = tmp_path / "a.sqlite"
    documented(file)
    profile = nsys.read(file)
    assert [(w.name, w.start_ps, w.duration_ps, w.marks) for w in profile.work] == [
        ("gemm<bf16>", 100_000, 200_000, ("step", "verify"))]
    assert shares(profile, steps_of(profile, None)).parts_ps == {"verify": 200_000, HOST: 200_000}


def test_a_database_without_kernels_or_none_at_all_is_refused(tmp_path):
    file = tmp_path / "a.sqlite"
    sqlite3.connect(file).close()
    with pytest.raises(RefusedError, match="nothing of CUDA"):
        nsys.read(file)
    file.write_bytes(b"SQLite format 3\x00" + b"x" * 200)
    with pytest.raises(RefusedError, match="no export"):
        nsys.read(file)


def test_a_bench_says_time_per_token_and_acceptance_length(tmp_path):
    file = tmp_path / "bench.json"
    file.write_text(json.dumps({"mean_tpot_ms": 2.5, "output_throughput": 390.0,
                                "spec_decode_stats": {"acceptance_length": 2.8}}))
    assert engine.read(file)[1:3] == (2500.0, 2.8)
    file.write_text(json.dumps({"output_throughput": 400.0, "max_concurrency": 4}))
    assert engine.read(file)[1:3] == (10_000.0, None)
    file.write_text("{}")
    with pytest.raises(RefusedError, match="neither mean_tpot_ms"):
        engine.read(file)


def test_ranges_that_overlap_are_counted_once():
    assert union_ps([(0, 5), (3, 8), (10, 12), (11, 11)]) == 10


def test_the_verb_tells_what_is_in_a_profile_and_writes_its_timeline(tmp_path, capsys):
    file, out = tmp_path / "a.json", tmp_path / "t.json"
    file.write_text(json.dumps({"traceEvents": EVENTS}))
    assert main(["import", "kineto", str(file), "--step", "step", "--json", str(out)]) == 0
    told = capsys.readouterr().out
    assert "5 kernels and copies" in told
    assert "2 steps of 45.0 us" in told
    document = json.loads(out.read_text())
    assert document["schema"] == "speedsim-timeline/1"
    assert len(document["timeline"]["occurrences"]) == 2
    assert main(["import", "nsys", str(file)]) == 2
