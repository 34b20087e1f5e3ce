"""Does a mixture of experts read the experts its rows ask for, and hold them all?"""

from __future__ import annotations

import math

import pytest
from speedsim import load_model
from speedsim.model import Experts
from speedsim.one_pass import Machinery, pass_time, pipeline_rows
from speedsim.program import Row
from worlds import WEIGHTS_ONLY, tiny_gpu, tiny_stack


def test_independent_rows_ask_for_the_expected_number_of_experts():
    alike = Experts(count=8, active=2, ffn=4, skew=0.0)
    for rows in (1, 2, 8, 64):
        assert alike.distinct(rows) == pytest.approx(8 * (1 - (1 - 2 / 8) ** rows), rel=1e-9)


def test_rows_spread_evenly_touch_the_most_experts_and_skewed_ones_fewer():
    even, alike, skewed = (Experts(count=128, active=8, ffn=4, skew=s) for s in (None, 0.0, 1.2))
    assert even.distinct(4) == 32
    for rows in (2, 8, 64):
        assert even.distinct(rows) > alike.distinct(rows) > skewed.distinct(rows)
    assert skewed.distinct(1) == pytest.approx(8)
    assert even.distinct(1000) == 128


def test_an_overlap_from_a_trace_says_what_each_row_adds():
    seen = Experts(count=64, active=4, ffn=4, overlap=0.25)
    assert seen.distinct(1) == 4
    assert seen.distinct(3) == 4 + 2 * 3
    assert seen.distinct(100) == 64


@pytest.mark.parametrize("wrong", [{"active": 9}, {"active": 0}, {"skew": -1.0}, {"overlap": 1.5}, {"ffn": 0},
                                   {"skew": 0.0, "overlap": 0.1}])
def test_what_is_no_mixture_is_refused(wrong):
    with pytest.raises(ValueError, match="experts"):
        Experts(**({"count": 8, "active": 2, "ffn": 4} | wrong))


def test_shipped_mixtures_hold_what_their_makers_say():
    for name, whole, active in (("mixtral_8x7b", 46.7e9, 12.9e9), ("qwen3_30b_a3b", 30.5e9, 3.3e9)):
        model = load_model(name).value
        assert model.total_bytes / 2 == pytest.approx(whole, rel=0.01)
        embedding = model.vocab * model.d_model
        assert (model.group_bytes + model.head_bytes) / 2 + embedding == pytest.approx(active, rel=0.03)


def test_verification_costs_the_experts_of_every_row():
    model = load_model("mixtral_8x7b").value
    on = Machinery(tiny_gpu(flop=1e20, l2=1e18), tiny_stack(), WEIGHTS_ONLY, "graph", "roofline")
    time = {rows: pass_time(on, model, tuple(Row(i, 0, 99 + i, 0, None) for i in range(rows)), 0) for rows in (1, 4)}
    experts = model.experts
    each = sum(model.weight_bytes(*model.linear[weight]) for weight in ("up", "down"))
    dense = sum(model.weight_bytes(*model.linear[w]) for w in ("qkv", "out"))
    for rows, told in time.items():
        expected = 32 * (dense + experts.distinct(rows) * each)
        assert told.hbm_bytes == pytest.approx(expected, rel=0.01)
    assert math.isclose(time[4].time_ps / time[1].time_ps, time[4].hbm_bytes / time[1].hbm_bytes, rel_tol=0.01)


def test_rows_of_one_sequence_are_a_pipeline_of_its_depths():
    assert [row.depth for row in pipeline_rows(5, 10, 3)] == [0, 1, 2, 0, 1]
