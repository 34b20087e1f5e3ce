"""What holds for the simulated GPU whatever it plays."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.timeline import TRAFFIC
from speedsim.trace import synthetic
from worlds import simulate, speed_shape, tiny_gpu, tiny_stack

US = 1_000_000
TWO_SIDED = ((0.7, 1.0), (1.3, 0.0))
FLIPS = [0.3, 0.15, 0.1, 0.05, 0.05]


def busy_gpu(**changes):
    return tiny_gpu(**{"capacity": 60 * 2**20, "curve": TWO_SIDED, "node": 1_270_000, "start": 2_600_000,
                       "stream": 2_000_000} | changes)


def busy_stack(**changes):
    return tiny_stack(**{"turnaround": 10 * US, "dispatch": 5 * US, "enqueue": 1_300_000, "graph": 2_500_000,
                         "block": 64} | changes)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["eager", "stream", "graph"]), st.sampled_from(["host", "lagged:1", "lagged:3", "device"]),
       st.integers(1, 3), st.integers(0, 99), st.booleans())
def test_time_by_bound_adds_up_to_the_time_of_decoding_exactly(launch, control, batch, seed, plain):
    trace = synthetic(FLIPS, 6, 9, sequences=3, seed=seed)
    line = simulate(Autoregressive() if plain else Speed(), trace, gpu=busy_gpu(), batch=batch,
                    stack=busy_stack(launch=launch, control=control), strict=True)
    assert sum(line.bound_ps.values()) == line.decode_ps
    assert line.counters.committed_tokens == 27


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3), st.sampled_from(["graph", "eager"]))
def test_remembering_passes_changes_no_picosecond(seed, batch, launch):
    trace = synthetic(FLIPS, 6, 12, sequences=3, seed=seed)
    runs = [simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(launch=launch), batch=batch, remember=remember)
            for remember in (True, False)]
    assert list(runs[0].commits) == list(runs[1].commits)
    assert runs[0].counters == runs[1].counters
    assert runs[0].bound_ps == runs[1].bound_ps


def test_a_finer_reuse_distance_changes_a_total_by_less_than_a_thousandth():
    trace = synthetic(FLIPS, 6, 200, sequences=2, seed=5, first=200)
    for gpu in (busy_gpu(), busy_gpu(capacity=100 * 2**20)):
        coarse, fine = (simulate(Speed(), trace, gpu=gpu, stack=busy_stack(), grain=g) for g in (256, 4096))
        assert coarse.decode_ps == pytest.approx(fine.decode_ps, rel=1e-3)


def test_the_cache_never_adds_bytes():
    trace = synthetic(FLIPS, 6, 60, seed=3)
    for schedule in (Autoregressive(), Speed()):
        line = simulate(schedule, trace, gpu=busy_gpu(), stack=busy_stack())
        for kind in TRAFFIC:
            assert 0 <= line.counters.hbm_bytes[kind] <= line.counters.requested_bytes[kind]


def test_requested_bytes_are_those_of_the_shapes_to_the_byte():
    """Every pass reads the group once; every read head the head; every row its own keys and values per layer."""
    trace = synthetic(FLIPS, 6, 40, seed=3, first=17)
    model = speed_shape()
    line = simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(), model=model)
    count = line.counters
    assert count.requested_bytes["weights"] == count.passes * model.group_bytes
    read = sum(1 for rows in line.occurrence_rows if any(slot.read for slot in rows))
    assert count.requested_bytes["head"] == read * model.head_bytes
    context = sum(slot.position + 1 for rows in line.occurrence_rows for slot in rows)
    written = sum(len(rows) for rows in line.occurrence_rows)
    assert count.requested_bytes["kv"] == (context + written) * model.group_layers * model.kv_bytes


@pytest.mark.parametrize("part", ["hbm", "l2", "flop"])
def test_more_bandwidth_or_arithmetic_is_never_slower(part):
    trace = synthetic(FLIPS, 6, 40, seed=3)
    base = {"hbm": 1e12, "l2": 1e13, "flop": 1e14}
    times = [simulate(Speed(), trace, gpu=busy_gpu(**{part: base[part] * k}), stack=busy_stack()).decode_ps
             for k in (1, 1.5, 2, 4, 100)]
    assert times == sorted(times, reverse=True)


def test_all_times_scale_exactly_when_every_time_does():
    trace = synthetic(FLIPS, 6, 40, seed=3)
    one = simulate(Speed(), trace, gpu=busy_gpu(hbm=1e12, l2=1e13, flop=1e14), stack=busy_stack())
    gpu = busy_gpu(hbm=5e11, l2=5e12, flop=5e13, node=2_540_000, start=5_200_000, stream=4_000_000)
    two = simulate(Speed(), trace, gpu=gpu,
                   stack=busy_stack(turnaround=20 * US, dispatch=10 * US, graph=5_000_000))
    kernels = one.counters.kernels
    assert abs(two.decode_ps - 2 * one.decode_ps) <= kernels  # each kernel rounds up to a picosecond


def test_permuting_the_sequences_of_one_lock_step_batch_changes_nothing():
    trace = synthetic(FLIPS, 6, 30, sequences=4, seed=9)
    other = type(trace)(trace.name, trace.model, 6, {}, tuple(reversed(trace.sequences)))
    for tier in ("roofline", "fluid"):
        a, b = (simulate(Speed(), t, gpu=busy_gpu(), stack=busy_stack(), batch=4, tier=tier) for t in (trace, other))
        assert a.decode_ps == b.decode_ps
        assert a.bound_ps == b.bound_ps
        assert a.counters == b.counters


def test_device_control_computes_fixed_slots_and_counts_the_idle_ones():
    trace = synthetic(FLIPS, 6, 40, seed=3)
    line = simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(control="device"))
    assert line.counters.row_passes + line.counters.idle_row_passes == 6 * line.counters.passes
    assert line.bound_ps["host"] == 0


def test_a_pass_runs_at_the_next_captured_width_and_beyond_the_last_eager():
    trace = synthetic([0.0] * 5, 6, 40, seed=3)
    padded = simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(widths=(4, 8)))
    assert padded.counters.padded_row_passes == sum(
        n * ((4 if rows <= 4 else 8) - rows) for rows, n in padded.counters.rows_per_pass.items()
    )
    beyond = simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(widths=(1,)))
    eager = simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(launch="eager"))
    assert beyond.decode_ps == pytest.approx(eager.decode_ps, rel=0.05)


def test_lagged_control_is_between_host_and_device():
    trace = synthetic(FLIPS, 6, 60, seed=3)
    host, one, many, device = (
        simulate(Autoregressive(), trace, gpu=busy_gpu(), stack=busy_stack(control=c)).decode_ps
        for c in ("host", "lagged:1", "lagged:4", "device")
    )
    assert device <= many <= one <= host


@pytest.mark.parametrize("schedule", [Autoregressive(), Speed()], ids=["plain", "speed"])
@pytest.mark.parametrize("lag", [1, 3])
def test_a_host_that_lags_launches_so_many_units_behind_an_end(schedule, lag):
    """And the next sequence waits behind them; nobody waits behind the last one's."""
    trace = synthetic(FLIPS, 6, 12, sequences=4, seed=3)
    device, late = (simulate(schedule, trace, gpu=busy_gpu(), stack=busy_stack(control=c))
                    for c in ("device", f"lagged:{lag}"))
    unit = 6 if type(schedule) is Autoregressive else 1
    assert late.counters.late_passes == lag * 4 * unit
    assert late.counters.passes == device.counters.passes + late.counters.late_passes
    assert late.counters.row_passes == device.counters.row_passes
    assert 0 not in late.counters.rows_per_pass
    assert late.bound_ps["wait"] > 0
    assert late.decode_ps == sum(late.bound_ps.values()) > device.decode_ps


def test_a_longer_lag_costs_more_where_texts_are_short():
    trace = synthetic(FLIPS, 6, 12, sequences=4, seed=3)
    times = [simulate(Speed(), trace, gpu=busy_gpu(), stack=busy_stack(control=c)).decode_ps
             for c in ("device", "lagged:1", "lagged:2", "lagged:5")]
    assert times == sorted(set(times))
