"""Does what is recorded for pictures agree with the exact counters?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.trace import synthetic
from worlds import simulate, tiny_gpu, tiny_stack

US = 1_000_000
FLIPS = [0.3, 0.15, 0.1, 0.05, 0.05]


def line_of(schedule, launch="graph", control="host", batch=1, record="kernels", concurrent=False, tier="roofline"):
    gpu = tiny_gpu(capacity=60 * 2**20, curve=((0.7, 1.0), (1.3, 0.0)), node=1_270_000, start=2_600_000,
                   stream=2_000_000)
    stack = tiny_stack(turnaround=10 * US, dispatch=5 * US, enqueue=1_300_000, graph=2_500_000, block=64,
                       launch=launch, control=control)
    return simulate(schedule, synthetic(FLIPS, 6, 30, sequences=3, seed=1), gpu=gpu, stack=stack, batch=batch,
                    record=record, concurrent=concurrent, tier=tier)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["eager", "stream", "graph"]), st.sampled_from(["host", "lagged:2", "device"]),
       st.integers(1, 3), st.booleans())
def test_kernels_by_name_add_up_to_the_counters(launch, control, batch, concurrent):
    line = line_of(Speed(), launch, control, batch, "summary", concurrent)
    totals = line.kernels.values()
    assert sum(total.launches for total in totals) == line.counters.kernels
    assert {total.family for total in totals} >= {"gemm", "attention"}
    for bound in ("latency", "flop", "l2", "hbm"):
        whole = sum(total.bound_ps[bound] for total in totals)  # passes behind an end are in no sequence's time
        assert whole == pytest.approx(line.bound_ps[bound], rel=1e-9) or (line.counters.late_passes and (
            whole > line.bound_ps[bound]))


@pytest.mark.parametrize("concurrent", [False, True])
@pytest.mark.parametrize("schedule", [Speed(), Autoregressive()])
def test_passes_and_the_waits_between_them_are_all_of_the_time(schedule, concurrent):
    line = line_of(schedule, concurrent=concurrent)
    passes = sum(line.patterns[pattern].duration_ps for pattern in line.occurrence_pattern)
    assert passes + sum(span.duration_ps for span in line.waits) == line.decode_ps
    waited = {bound: sum(s.duration_ps for s in line.waits if s.track == bound) for bound in ("host", "wait")}
    assert waited == {bound: line.bound_ps[bound] for bound in waited}
    ends = [span.start_ps + span.duration_ps for span in line.waits]
    assert all(end <= after.start_ps for end, after in zip(ends, line.waits[1:], strict=False))


def test_the_cache_never_holds_more_than_its_capacity_and_is_known_behind_every_pass():
    for concurrent in (False, True):
        line = line_of(Speed(), concurrent=concurrent)
        assert len(line.occurrence_resident) == len(line.occurrence_ps)
        assert all(sum(content.values()) <= 60 * 2**20 for content in line.resident)
        assert line.resident[0].keys() == {"group", "head", "kv"}


def test_a_token_knows_whose_prediction_it_stands_on():
    line = line_of(Speed())
    slots = {slot.token: slot for rows in line.occurrence_rows for slot in rows}
    first = [slot for slot in slots.values() if slot.parent is None]
    assert len(first) == 3
    assert all(slots[slot.parent].position == slot.position - 1 for slot in slots.values() if slot.parent is not None)
