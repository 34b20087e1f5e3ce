"""The 5-gram bar: against hand-counted cases, a plain dictionary version, and the sum over the vocabulary."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.workloads import ngram

ORDER = 3


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int64)


def plainly(stream: list[int], vocabulary: int, order: int, context: list[int], token: int) -> float:
    """The same model with dictionaries, straight from the equation."""
    if order == 0:
        return 1 / vocabulary
    grams = Counter(tuple(stream[i:i + order]) for i in range(len(stream) - order + 1))
    if order < ORDER:  # how many different tokens were seen before each n-gram
        grams = Counter(longer[1:] for longer in {tuple(stream[i:i + order + 1]) for i in range(len(stream) - order)})
    taken = ngram.discounts(np.array(list(grams.values())))
    history = tuple(context[len(context) - order + 1:])
    follow = {g[-1]: c for g, c in grams.items() if g[:-1] == history}
    lower = plainly(stream, vocabulary, order - 1, context, token)
    if not follow or len(context) < order - 1:
        return lower
    total = sum(follow.values())
    left = sum(taken[min(c, 3)] for c in follow.values()) / total
    count = follow.get(token, 0)
    return max(count - taken[min(count, 3)], 0) / total + left * lower


def test_a_bigram_counted_by_hand() -> None:
    """0 1 0 2: every count is 1, so D1 = 1/2; every token follows one other, so the unigrams are uniform."""
    model = ngram.fit(ids(0, 1, 0, 2), 3, order=2)
    assert model.probabilities(ids(0)) == pytest.approx([1 / 6, 5 / 12, 5 / 12])
    assert model.probabilities(ids(1)) == pytest.approx([2 / 3, 1 / 6, 1 / 6])
    assert model.probabilities(ids(2)) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert model.probabilities(ids()) == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    expected = -(2 * math.log(5 / 12) + math.log(2 / 3)) / 3
    assert ngram.loss(model, ids(0, 1, 0, 2), np.arange(1, 4)) == pytest.approx(expected)


def test_below_the_highest_order_a_token_counts_by_what_stood_before_it() -> None:
    """2 comes often but only behind 1; 3 comes rarely but behind 0, 2 and 4: a new context expects 3."""
    model = ngram.fit(ids(1, 2, 1, 2, 1, 2, 1, 2, 3, 0, 3, 4, 3), 6, order=2)
    unseen = model.probabilities(ids(5))
    assert unseen[3] > unseen[2]


def test_discounts_are_chen_and_goodmans() -> None:
    """n1..n4 = 4, 2, 1, 1: Y = 1/2, D1 = 1 - 2 Y 2/4, D2 = 2 - 3 Y 1/2, D3 = 3 - 4 Y 1/1."""
    assert ngram.discounts(ids(1, 1, 1, 1, 2, 2, 3, 4)).tolist() == [0.0, 0.5, 1.25, 1.0]


def test_discounts_fall_back_to_half_a_count_where_a_class_is_empty() -> None:
    assert ngram.discounts(ids(1, 1, 1)).tolist() == [0.0, 0.5, 1.0, 1.5]
    assert ngram.discounts(ids(7, 9)).tolist() == [0.0, 0.5, 1.0, 1.5]


@settings(max_examples=60, deadline=None)
@given(stream=st.lists(st.integers(0, 4), min_size=3, max_size=40), context=st.lists(st.integers(0, 4), max_size=4))
def test_probabilities_add_up_to_one_and_agree_with_dictionaries(stream: list[int], context: list[int]) -> None:
    model = ngram.fit(np.array(stream), 5, order=ORDER)
    found = model.probabilities(np.array(context, dtype=np.int64))
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert (found > 0).all()
    assert found == pytest.approx([plainly(stream, 5, ORDER, context, token) for token in range(5)], abs=1e-12)


def test_a_large_vocabulary_adds_up_to_one_at_order_five() -> None:
    stream = np.random.default_rng(0).zipf(1.3, 20_000) % 4096
    model = ngram.fit(stream, 4096)
    for context in (stream[100:104], stream[:2], ids(), ids(4095, 4095, 4095, 4095), ids(0, *stream[7:10])):
        assert model.probabilities(context).sum() == pytest.approx(1, abs=1e-9)


def test_a_stream_is_scored_as_its_contexts_are() -> None:
    stream = np.random.default_rng(1).integers(6, size=300)
    model = ngram.fit(stream[:200], 6)
    targets = np.array([0, 1, 2, 3, 4, 5, 150, 299])
    alone = [math.log(model.probabilities(stream[max(0, t - 4):t])[stream[t]]) for t in targets]
    assert model.log_probabilities(stream, targets) == pytest.approx(alone)


def test_text_that_repeats_is_learnt() -> None:
    stream = np.tile(np.arange(50), 40)
    every = np.arange(1, 2000)
    assert ngram.loss(ngram.fit(stream, 50), stream, every) < 0.1
    assert ngram.loss(ngram.fit(stream, 50), np.random.default_rng(3).integers(50, size=2000), every) > math.log(50)


@pytest.mark.parametrize(("stream", "vocabulary"), [([0, 1], 4), ([0, 1, 2, 3, 4], 4), ([0, -1, 2, 3, 1], 4),
                                                    ([0, 1, 2, 3, 1], 7000)])
def test_what_cannot_be_counted_is_refused(stream: list[int], vocabulary: int) -> None:
    with pytest.raises(ValueError, match=r"needed|fit 63 bits"):
        ngram.fit(np.array(stream), vocabulary)
