"""What holds for max-min shares, whatever the flows and the pipes."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from speedsim.machine.flows import Flow, max_min

EXACT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}

use = st.one_of(st.just(0.0), st.floats(0.1, 10))
weight = st.one_of(st.sampled_from([1.0, 2.0, 132.0]), st.floats(0.1, 100))


@st.composite
def worlds(draw, most=6):
    """Up to 6 flows over up to 3 pipes; every flow is held by something."""
    pipes = draw(st.integers(1, 3))
    widths = draw(st.lists(st.floats(0.5, 50), min_size=pipes, max_size=pipes))
    flows = []
    for _ in range(draw(st.integers(1, most))):
        uses = tuple(draw(st.lists(use, min_size=pipes, max_size=pipes)))
        free = st.floats(0.01, 100) if not any(uses) else st.one_of(st.just(math.inf), st.floats(0.01, 100))
        flows.append(Flow(draw(weight), draw(free), uses))
    return flows, widths


def by_linear_programmes(flows, widths):
    """Lexicographic max-min: raise the lowest level as far as it goes, fix the flows that hold it, and again.

    A flow holds the level if its own row of the programme, rate >= weight * level, has a price: then it is at that
    level in every best solution.
    """
    count = len(flows)
    pipes = np.array([[flow.uses[p] for flow in flows] + [0.0] for p in range(len(widths))])
    fixed: dict[int, float] = {}
    while len(fixed) < count:
        rising = [i for i in range(count) if i not in fixed]
        rows = np.zeros((len(rising), count + 1))
        for row, i in enumerate(rising):
            rows[row, i], rows[row, count] = -1.0, flows[i].weight
        bounds = [(fixed[i], fixed[i]) if i in fixed else (0, flow.limit) for i, flow in enumerate(flows)]
        cost = np.zeros(count + 1)
        cost[count] = -1.0
        # What the fixed flows take is put on the other side, so that their own rounding cannot make it infeasible.
        gone = sum((pipes[:, i] * rate for i, rate in fixed.items()), np.zeros(len(widths)))
        left = pipes.copy()
        left[:, list(fixed)] = 0.0
        most = np.concatenate([np.array(widths) - gone, np.zeros(len(rising))])
        answer = linprog(cost, np.vstack([left, rows]), most, bounds=[*bounds, (0, None)], method="highs-ds",
                         options=EXACT)
        assert answer.status == 0, answer.message
        prices = answer.ineqlin.marginals[len(widths):]
        held = [i for i, price in zip(rising, prices, strict=True) if price < -1e-9]
        assert held
        for i in held:
            fixed[i] = flows[i].weight * answer.x[count]
    return [fixed[i] for i in range(count)]


@settings(max_examples=80, deadline=None)
@given(worlds())
def test_shares_are_those_of_a_linear_programme(world):
    flows, widths = world
    expected = by_linear_programmes(flows, widths)
    assert max_min(flows, widths) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(worlds(most=12))
def test_no_pipe_is_over_its_width_and_no_flow_over_its_limit(world):
    flows, widths = world
    rates = max_min(flows, widths)
    for pipe, width in enumerate(widths):
        assert sum(r * f.uses[pipe] for r, f in zip(rates, flows, strict=True)) <= width * (1 + 1e-12)
    assert all(0 < r <= f.limit for r, f in zip(rates, flows, strict=True))


@settings(max_examples=100, deadline=None)
@given(worlds(most=12))
def test_every_flow_is_held_by_its_limit_or_by_a_full_pipe_in_which_none_has_more(world):
    """The definition of max-min, checked flow by flow."""
    flows, widths = world
    rates = max_min(flows, widths)
    levels = [r / f.weight for r, f in zip(rates, flows, strict=True)]
    for i, flow in enumerate(flows):
        if rates[i] >= flow.limit * (1 - 1e-12):
            continue
        held = False
        for pipe, width in enumerate(widths):
            through = [j for j, f in enumerate(flows) if f.uses[pipe] > 0]
            if i in through and sum(rates[j] * flows[j].uses[pipe] for j in through) >= width * (1 - 1e-9):
                held |= levels[i] >= max(levels[j] for j in through) * (1 - 1e-9)
        assert held


@settings(max_examples=80, deadline=None)
@given(worlds(), st.floats(1e-3, 1e15))
def test_shares_scale_with_the_pipes(world, factor):
    flows, widths = world
    scaled = max_min([f._replace(limit=f.limit * factor) for f in flows], [w * factor for w in widths])
    assert scaled == pytest.approx([factor * r for r in max_min(flows, widths)], rel=1e-9)


@settings(max_examples=80, deadline=None)
@given(worlds(), st.sampled_from([2.0**-30, 0.5, 2.0, 2.0**40]))
def test_weights_count_only_against_each_other(world, factor):
    flows, widths = world
    assert max_min([f._replace(weight=f.weight * factor) for f in flows], widths) == max_min(flows, widths)


@settings(max_examples=60, deadline=None)
@given(worlds(most=4))
def test_the_order_of_flows_and_pipes_does_not_matter(world):
    flows, widths = world
    rates = max_min(flows, widths)
    for order in permutations(range(len(flows))):
        assert max_min([flows[i] for i in order], widths) == pytest.approx([rates[i] for i in order], rel=1e-12)
    for order in permutations(range(len(widths))):
        turned = [f._replace(uses=tuple(f.uses[p] for p in order)) for f in flows]
        assert max_min(turned, [widths[p] for p in order]) == pytest.approx(rates, rel=1e-12)


def test_a_flow_alone_takes_the_pipe_that_it_fills_first():
    assert max_min([Flow(7, math.inf, (0.5, 1.0, 0.0))], (4.0, 10.0, 1.0)) == [8.0]
    assert max_min([Flow(7, 3.0, (0.5, 1.0, 0.0))], (4.0, 10.0, 1.0)) == [3.0]


def test_two_flows_share_by_weight_and_leave_each_other_what_they_cannot_take():
    assert max_min([Flow(1, math.inf, (1.0,)), Flow(3, math.inf, (1.0,))], (8.0,)) == [2.0, 6.0]
    assert max_min([Flow(1, math.inf, (1.0,)), Flow(3, 4.0, (1.0,))], (8.0,)) == [4.0, 4.0]
    assert max_min([Flow(1, math.inf, (0.0, 1.0)), Flow(1, math.inf, (1.0, 1.0))], (1.0, 10.0)) == [9.0, 1.0]


def test_a_flow_at_its_limit_is_there_to_the_last_bit():
    """Whoever asks whether a flow is held by its limit compares for equality."""
    for limit in (0.1, 450941.3400473489, 150313.78001578295):
        assert max_min([Flow(635.0, limit, (1.0,)), Flow(256.0, math.inf, (1.0,))], (1e12,))[0] == limit


def test_a_flow_through_no_pipe_is_held_by_its_limit_alone():
    assert max_min([Flow(1, math.inf, (0.0,)), Flow(1, 5.0, (0.0,)), Flow(1, math.inf, (1.0,))], (2.0,)) == [
        math.inf, 5.0, 2.0]
