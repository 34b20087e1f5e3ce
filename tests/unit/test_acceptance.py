"""Are described proposals the facts they claim to be, whoever asks?"""

from __future__ import annotations

import pytest
from speedsim.oracle import ClairvoyanceError, StrictOracle, TraceOracle
from speedsim.program import Pass, Row
from speedsim.traces.acceptance import EVERYONE, Acceptance, Described, rate_of_length
from speedsim.units import InputError
from worlds import sequence


def facts(**given):
    return Described({EVERYONE: Acceptance(name="test", **given)}, seed=7)


def test_a_chain_that_starts_later_hears_the_same():
    known = facts(chain=(0.8,))
    whole = known.ranks("draft", 0, 10, 50)
    assert len(whole) > 1
    for start in range(len(whole)):
        assert known.ranks("draft", 0, 10 + start, 50 - start) == whole[start:]


def test_the_levels_rates_are_those_given():
    known, n = facts(chain=(0.9, 0.5)), 20_000
    firsts = sum(bool(known.ranks("draft", 0, p, 1)) for p in range(n))
    both = sum(len(known.ranks("draft", 1, p, 2)) == 2 for p in range(n))
    assert firsts / n == pytest.approx(0.9, abs=4 * (0.09 / n) ** 0.5)
    assert both / n == pytest.approx(0.45, abs=4 * (0.2475 / n) ** 0.5)


def test_ranks_are_drawn_as_often_as_they_are_likely():
    known, n = facts(ranks=((0.6, 0.2, 0.1),)), 20_000
    seen = [known.ranks("heads", 0, p, 1) for p in range(n)]
    for rank, p in enumerate((0.6, 0.2, 0.1)):
        assert seen.count([rank]) / n == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5)


def test_a_tree_is_followed_as_far_as_it_has_the_right_choices():
    tree = ((0,), (1,), (0, 0), (1, 0))
    oracle = TraceOracle({0: sequence([[0]] * 400)}, facts(ranks=((0.5, 0.5),)))
    paths = [oracle.path("heads", 0, p, tree) for p in range(300)]
    assert set(paths) == {(0,), (1,), (0, 0), (1, 0)}
    chain = [oracle.accepted("heads", 0, p, 2) for p in range(300)]
    assert all(count == (2 if path == (0, 0) else int(path[0] == 0)) for path, count in zip(paths, chain, strict=True))


@pytest.mark.parametrize(("length", "k"), [(2.8, 4), (1.0, 3), (4.0, 3)])
def test_a_length_gives_the_rate_that_commits_so_many_tokens(length, k):
    a = rate_of_length(length, k)
    assert sum(a**i for i in range(k + 1)) == pytest.approx(length)


def test_a_length_beyond_what_was_proposed_is_refused():
    with pytest.raises(InputError, match="3 proposed tokens commit at most 4"):
        facts(length=4.5).ranks("draft", 0, 0, 3)


def test_confidence_is_right_on_average_and_sharp_as_told():
    known, n = facts(chain=(0.7,), sharpness=0.5), 20_000
    told = [(known.confidence("draft", 0, p), bool(known.ranks("draft", 0, p, 1))) for p in range(n)]
    for level in (0.85, 0.35):
        mine = [right for confidence, right in told if confidence == pytest.approx(level)]
        assert sum(mine) / len(mine) == pytest.approx(level, abs=4 * (0.25 / len(mine)) ** 0.5)
    assert {round(c, 9) for c, _ in told} == {0.85, 0.35}


def test_an_exit_is_a_proposer_that_the_trace_knows():
    oracle = TraceOracle({0: sequence([[1, 1], [2, 2], [0, 3], [4, 4]])})
    assert [oracle.accepted("exit1", 0, p, 4) for p in range(4)] == [2, 1, 0, 1]


def test_a_proposer_of_whom_nothing_is_known_is_refused():
    with pytest.raises(InputError, match="how often draft is right"):
        TraceOracle({0: sequence([[1]])}).accepted("draft", 0, 0, 1)


def test_a_proposal_is_judged_only_when_the_verifier_has_read_it():
    oracle = StrictOracle(TraceOracle({0: sequence([[1]] * 4)}, facts(chain=(1.0,))))
    rows = tuple(Row(t, 0, t, 0, None) for t in range(2))
    for number, model in enumerate(("draft", "target")):
        with pytest.raises(ClairvoyanceError):
            oracle.accepted("draft", 0, 0, 2)
        oracle.issued(Pass(number, rows, (0, 1), model=model))
        with pytest.raises(ClairvoyanceError):
            oracle.accepted("draft", 0, 0, 2)
        oracle.ended(frozenset((number,)))
    assert oracle.accepted("draft", 0, 0, 2) == 2
    with pytest.raises(ClairvoyanceError):
        oracle.accepted("draft", 0, 0, 3)


@pytest.mark.parametrize("text", ["1.5", "0.5,2", "-0.1", "0.5,x", "length:0.5", "length:x"])
def test_what_is_no_probability_is_refused(text):
    with pytest.raises(ValueError, match=r"probability|convert|commits"):
        Acceptance.parse(text)
