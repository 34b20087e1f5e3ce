"""Does the simulator reach the closed forms of SPEED exactly?"""

from __future__ import annotations

import numpy as np
import pytest
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.trace import Trace, settle, synthetic
from worlds import WEIGHTS_ONLY, decode, sequence, simulate, speed_shape, tiny_gpu, tiny_stack

MB = 1e6
STEP = ((1.0, 1.0), (1.0, 0.0))


def test_passes_are_g_plus_the_sum_of_settle_repetitions_on_10_000_random_traces():
    random = np.random.default_rng(20231019)
    for _ in range(10_000):
        repetitions, count = int(random.integers(1, 9)), int(random.integers(1, 9))
        tokens = random.integers(0, 3, size=(count, repetitions))
        s = sequence(tokens.tolist())
        played = decode(Speed(), s, TraceOracle({0: s}))
        assert len(played.passes) == repetitions + int(settle(s.exit_tokens)[:-1].sum())
        assert [p for p, _ in played.commits] == sorted(p for p, _ in played.commits)


def test_a_cap_of_one_is_autoregression_in_passes_and_in_picoseconds():
    trace = synthetic([0.3, 0.2, 0.1, 0.05, 0.05], 6, 100, sequences=3, seed=1)
    gpu = tiny_gpu(capacity=60 * 2**20, node=1_270_000, start=2_600_000, stream=2_000_000)
    for launch in ("eager", "stream", "graph"):
        for control in ("host", "lagged:2", "device"):
            stack = tiny_stack(turnaround=10_000_000, dispatch=5_000_000, enqueue=1_300_000, graph=2_500_000,
                               launch=launch, control=control, block=64)
            plain = simulate(Autoregressive(), trace, gpu=gpu, stack=stack)
            capped = simulate(Speed(max_in_flight=1), trace, gpu=gpu, stack=stack)
            assert plain.counters == capped.counters
            assert plain.bound_ps == capped.bound_ps
            assert list(plain.commits) == list(capped.commits)


def settling(mean: float, repetitions: int, count: int) -> Trace:
    """A trace whose settle repetitions average `mean`: a share of tokens changes its mind once, at exit 2."""
    late = round((mean - 1) * (count - 1))
    rows = [[1] * repetitions] * (count - 1 - late) + [[0] + [1] * (repetitions - 1)] * late + [[1] * repetitions]
    return Trace("settling", "tiny", repetitions, {}, (sequence(rows),))


@pytest.mark.parametrize(("capacity", "ratio", "plain_mb"), [(63_000_000, 0.685, 82.4), (0, 2.06, 247.5)])
def test_weight_bytes_of_2x6_with_cross_attention_are_the_papers(capacity, ratio, plain_mb):
    """Weights only, E[r] = 1.46, step curve: requested 247.5 against 120 MB; an L2 of 63 MB turns 2.06 into 0.685."""
    model = speed_shape(cross_attention=True)
    gpu = tiny_gpu(capacity=capacity, curve=STEP)
    trace = settling(1.46, 6, 2001)
    speed = simulate(Speed(), trace, gpu=gpu, model=model, plan=WEIGHTS_ONLY)
    plain = simulate(Autoregressive(), trace, gpu=gpu, model=model, plan=WEIGHTS_ONLY)

    def per_token(line, which):
        by_kind = getattr(line.counters, which)
        return (by_kind["weights"] + by_kind["head"]) / line.counters.committed_tokens / MB

    assert per_token(plain, "requested_bytes") == pytest.approx(247.5, rel=1e-3)
    assert per_token(speed, "requested_bytes") == pytest.approx(120.3, rel=4e-3)
    assert per_token(plain, "requested_bytes") / per_token(speed, "requested_bytes") == pytest.approx(2.06, rel=5e-3)
    assert per_token(plain, "hbm_bytes") == pytest.approx(plain_mb, rel=2e-3)
    assert per_token(speed, "hbm_bytes") == pytest.approx(120.3, rel=4e-3)
    assert per_token(plain, "hbm_bytes") / per_token(speed, "hbm_bytes") == pytest.approx(ratio, rel=5e-3)


def test_when_nothing_flips_a_token_leaves_at_every_pass():
    s = sequence([[7] * 4] * 50)
    played = decode(Speed(), s, StrictOracle(TraceOracle({0: s})))
    assert len(played.passes) == 50 + 3


def test_in_the_bandwidth_limit_time_is_bytes_over_the_rate():
    """No cache, no gaps, matrices only, an L2 and tensor cores that never bind: a pass takes its HBM bytes / 1 TB/s."""
    trace = settling(1.5, 6, 201)
    gpu = tiny_gpu(l2=1e18, flop=1e20)
    for schedule in (Autoregressive(), Speed()):
        line = simulate(schedule, trace, gpu=gpu, plan=WEIGHTS_ONLY)
        assert line.decode_ps == sum(line.counters.hbm_bytes.values())
