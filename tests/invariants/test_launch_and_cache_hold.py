"""What holds for launch modes, L2 policies, prefill and the power limit."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from speedsim import load_gpu, load_model, load_plan, load_stack
from speedsim.hardware import L2, Energy
from speedsim.kernels.demand import Grid
from speedsim.kernels.lower import Lowering, PassShape, RowShape
from speedsim.machine.build import prefill_ps
from speedsim.machine.l2 import Residency
from speedsim.machine.power import Governor, sustained
from speedsim.machine.work import Timed, Work
from speedsim.metrics import gain
from speedsim.result import answer, document
from speedsim.scenario import Scenario
from speedsim.schedules.speed import Speed
from speedsim.trace import synthetic
from speedsim.units import NotCoveredError
from worlds import WHOLE, simulate, speed_shape, tiny_gpu, tiny_stack

SYNTH = "flips=0.2+0.1+0.05+0.03+0.02,count=40"
MIB = 2**20


def per_token(**changes):
    result = answer(Scenario(synth=SYNTH, **changes))
    return [line.decode_ps / line.counters.committed_tokens for _, line in result.runs.values()]


def test_less_launching_is_never_slower():
    modes = [per_token(launch=mode) for mode in ("eager", "stream", "graph", "graph+pdl", "persistent")]
    for slower, faster in pairwise(modes):
        assert all(a >= b for a, b in zip(slower, faster, strict=True))


def test_the_gain_shrinks_as_launches_vanish():
    gains = [answer(Scenario(synth=SYNTH, launch=mode)).speedup for mode in ("eager", "graph", "persistent")]
    assert gains == sorted(gains, reverse=True)


def test_a_card_without_programmatic_dependent_launch_says_so():
    with pytest.raises(NotCoveredError, match=r"graph\+pdl"):
        answer(Scenario(gpu="a100_sxm", launch="graph+pdl", synth=SYNTH))


def test_the_roofline_is_never_slower_than_the_fluid_tier():
    for control in ("host", "device"):
        for roof, fluid in zip(per_token(tier="roofline", control=control), per_token(control=control), strict=True):
            assert roof <= fluid


def test_a_rival_may_be_decided_elsewhere():
    doc = document(answer(Scenario(synth=SYNTH, rival_control="device")))
    assert doc["control"] == "host"
    assert doc["rival_control"] == "device"
    assert doc["schedules"]["autoregressive@speed_2x6"]["time_by_bound_us"]["host"] == 0
    assert doc["schedules"]["speed"]["time_by_bound_us"]["host"] > 0


def cache(capacity, **changes):
    step = ((1.0, 1.0), (1.0, 0.0))
    return Residency(L2(capacity_bytes=capacity, bandwidth_bytes_per_s=1e13, hit_curve=step, **changes))


def test_a_kept_tensor_stays_whatever_passes_by():
    l2 = cache(100 * MIB, keep_fraction=0.75)
    assert l2.read("kept", 50 * MIB, "keep") == 0
    for number in range(20):
        l2.read(number, 90 * MIB)
        assert l2.read("kept", 50 * MIB, "keep") == 1.0


def test_kept_tensors_share_what_may_be_set_aside_and_leave_the_rest():
    l2 = cache(100 * MIB, keep_fraction=0.75)
    l2.read("a", 100 * MIB, "keep")
    assert l2.read("a", 100 * MIB, "keep") == pytest.approx(0.75)
    l2.read("b", 30 * MIB)
    assert l2.read("b", 30 * MIB) == 0.0
    l2.read("c", 20 * MIB)
    assert l2.read("c", 20 * MIB) == 1.0


def test_a_streamed_tensor_displaces_nothing():
    l2 = cache(100 * MIB)
    l2.read("a", 60 * MIB)
    for _ in range(5):
        assert l2.read("big", 90 * MIB, "stream") == 0.0
    assert l2.read("a", 60 * MIB) == 1.0


def test_six_buffers_in_rotation_have_a_distance_of_six():
    l2 = cache(60 * MIB)
    for hit, size in ((1.0, 10 * MIB), (0.0, 11 * MIB)):
        for _ in range(2):
            found = [l2.read(("buffer", size, i), size) for i in range(6)]
        assert found == [hit] * 6


def test_a_policy_moves_the_bytes_it_names():
    plain = document(answer(Scenario(synth=SYNTH)))["schedules"]["speed"]["bytes_per_token"]["hbm"]
    kept = document(answer(Scenario(synth=SYNTH, l2="keep=group,stream=head")))
    hbm = kept["schedules"]["speed"]["bytes_per_token"]["hbm"]
    assert hbm["weights"] < plain["weights"] / 10
    assert hbm["head"] == kept["schedules"]["speed"]["bytes_per_token"]["requested"]["head"]


def test_near_the_knee_both_ends_are_given_and_on_a_one_sided_card_none():
    doc = document(answer(Scenario(synth=SYNTH)))
    assert doc["knee"]["share"] > 0.02
    assert {doc["knee"][end]["plateau"] for end in ("early", "late")} == {0.45, 0.75}
    assert document(answer(Scenario(synth=SYNTH, gpu="rtx_a5000")))["knee"] is None


def test_a_prompt_takes_its_flop_at_least_and_grows_with_its_length():
    gpu, stack = load_gpu("h200_sxm").value, load_stack("torch_graph").value
    model, plan = load_model("ouro_1_4b").value, load_plan("graph_fused").value
    times = [prefill_ps(gpu, stack, model, plan, "graph", "fluid", n) for n in (0, 64, 512, 2048)]
    assert times[0] == 0
    assert times == sorted(times)
    flop = 2 * 2048 * model.repetitions * model.group_layers * sum(n * k for n, k in model.linear.values())
    assert times[-1] >= flop / gpu.sm.peak_flop_per_s["bf16"] * 1e12


def test_the_end_to_end_gain_lies_between_none_and_the_gain_of_decoding():
    result = answer(Scenario(synth=f"{SYNTH},first=2000"))
    figures = gain(result.timeline(result.key), result.timeline(result.plain_key))
    assert 1 < figures["end_to_end_speedup"] < figures["speedup"]


def test_a_kernel_that_is_repeated_above_the_power_limit_is_stretched_to_it():
    work = Work("k", "gemm", "bf16", 10**12, 10**6, 10**6, Grid(132, 1, 32_768))
    timed = Timed(work, 1_000_000_000, (("flop", 750_000_000), ("latency", 250_000_000)))
    free = Energy(limit_w=700, static_w=100, per_hbm_byte_j=1e-10, per_flop_j=5e-13)
    assert sustained(timed, free) == timed
    slow = sustained(timed, replace(free, limit_w=500))
    assert slow.duration_ps == pytest.approx((5e-13 * 10**12 + 1e-10 * 10**6) / 400 * 1e12, rel=1e-9)
    assert sum(time for _, time in slow.parts) == slow.duration_ps


def test_a_board_lets_a_burst_pass_and_settles_at_its_limit():
    """100 us passes of 0.06 J ask for 100 + 600 W; the board may have 500 on the average of 1 ms."""
    board = Governor(Energy(limit_w=500, static_w=100, window_ps=10**9))
    ends, added = [0], []
    for _ in range(200):
        end = ends[-1] + 10**8
        added.append(board.added_ps(end, 0.06))
        ends.append(end + added[-1])
    assert added[0] == 0
    assert added[-1] == pytest.approx(0.5 * 10**8, rel=1e-3)
    assert 100 + 0.06 / ((ends[-1] - ends[-2]) / 1e12) == pytest.approx(500, rel=1e-3)
    for first in (0, 50, 150):  # no stretch of ten windows has more than the limit, and what one window may borrow
        span = (ends[first + 50] - ends[first]) / 1e12
        assert 100 * span + 50 * 0.06 <= 500 * span + 400 * 1e-3


def test_a_board_below_its_limit_adds_nothing_and_a_pause_gives_room():
    board = Governor(Energy(limit_w=500, static_w=100, window_ps=10**9))
    assert [board.added_ps(n * 10**8, 0.04) for n in range(1, 100)] == [0] * 99
    assert board.added_ps(100 * 10**8, 0.06) > 0
    assert board.added_ps(200 * 10**8, 0.06) == 0
    assert Governor(Energy(limit_w=500, static_w=100)).added_ps(10**8, 1e6) == 0


@pytest.mark.parametrize("concurrent", [False, True])
def test_what_the_power_limit_adds_is_told_and_part_of_the_time_it_slows(concurrent):
    trace = synthetic([0.2, 0.1, 0.1, 0.05, 0.05], 6, 12, sequences=2, seed=3)
    base = tiny_gpu(node=1_000_000)
    hot = replace(base, energy=Energy(limit_w=200, static_w=100, per_hbm_byte_j=1e-9, window_ps=10**8))
    cool, slow = (simulate(Speed(), trace, gpu=gpu, tier="fluid", concurrent=concurrent) for gpu in (base, hot))
    assert cool.throttled_ps == 0 < slow.throttled_ps
    assert slow.decode_ps == cool.decode_ps + slow.throttled_ps
    assert sum(slow.bound_ps.values()) == slow.decode_ps
    assert {why for why, time in slow.bound_ps.items() if time > cool.bound_ps[why]} <= {"latency", "l2", "flop"}
    assert slow.counters == cool.counters


def test_both_paths_have_the_same_power():
    trace = synthetic([0.2, 0.1, 0.1, 0.05, 0.05], 6, 12, sequences=2, seed=3)
    hot = replace(tiny_gpu(node=1_000_000), energy=Energy(limit_w=200, static_w=100, per_hbm_byte_j=1e-9,
                                                           window_ps=10**8))
    one, many = (simulate(Speed(), trace, gpu=hot, tier="fluid", record="kernels", concurrent=c) for c in (False, True))
    assert one.throttled_ps == many.throttled_ps
    assert one.bound_ps == many.bound_ps
    assert list(one.commits) == list(many.commits)


def test_what_all_sms_read_has_the_shorter_plateau_of_one_side():
    """Rotating buffers of 0.6 of a two-sided cache: private reads hit, reads by every SM do not."""
    curve = ((0.7, 1.0), (0.9, 0.0))
    l2 = Residency(L2(capacity_bytes=100 * MIB, sides=2, shared_plateau=0.5, bandwidth_bytes_per_s=1e13,
                      hit_curve=curve))
    for shared, hit in ((False, 1.0), (True, pytest.approx((0.9 - 0.84) / 0.2, abs=0.05))):
        for name in (("a", shared), ("b", shared)) * 2:
            found = l2.read(name, 30 * MIB, shared=shared)
        assert found == hit
    l2.read("c", 45 * MIB, shared=True)
    assert l2.read("c", 45 * MIB, shared=True) == 1.0


def test_more_rows_than_a_cta_takes_share_their_weights():
    step = Lowering(speed_shape(), WHOLE, tiny_stack().kernels, "none", 100)
    for rows, shared in ((64, False), (65, True)):
        kernels = step.kernels(PassShape((RowShape(0, 0, 1, True),), rows, rows, rows))
        assert {k.demand.shared for k in kernels if k.family == "gemm"} == {shared}


def test_weights_of_four_bits_are_a_quarter_of_the_bytes():
    docs = [document(answer(Scenario(synth=SYNTH, sets=sets))) for sets in ((), (("model.dtype.weights", "int4"),))]
    one, four = (doc["schedules"]["speed"]["bytes_per_token"]["requested"] for doc in docs)
    assert four["weights"] == pytest.approx(one["weights"] / 4)
    assert four["kv"] == one["kv"]
