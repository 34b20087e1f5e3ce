"""Does every way of speculating commit as many tokens a round as its closed form says, with independent acceptance?"""

from __future__ import annotations

import math

import pytest
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.program import TARGET
from speedsim.schedule_names import schedule_named
from speedsim.schedules._rounds import chain, sparse
from speedsim.traces.acceptance import EVERYONE, Acceptance, Described
from worlds import decode, sequence

COUNT = 6000


def rounds_of(name, acceptance):
    """(rounds, tokens, most rows of a pass of the target) of a schedule over a long text."""
    s = sequence([[1]] * COUNT)
    schedule, _ = schedule_named(name)
    played = decode(schedule, s, StrictOracle(TraceOracle({0: s}, Described({EVERYONE: acceptance}, seed=5))))
    passes = [p for p in played.passes if p.model == TARGET]
    return len(passes), COUNT, max(len(p.rows) for p in passes)


@pytest.mark.parametrize("a", [0.0, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize(("name", "k"), [
    ("draft:draft=tiny,k=4", 4), ("draft:draft=tiny,k=1", 1), ("block:draft=tiny,k=7", 7), ("copying:k=5", 5),
    ("mask_tokens:k=3", 3), ("eagle:draft=tiny,depth=3,width=1,nodes=3", 3), ("lookahead:n=5", 4),
    ("heads:heads=tiny,depth=4,width=1,nodes=4", 4),
])
def test_tokens_a_round_are_the_geometric_sum(name, k, a):
    expected = k + 1 if a == 1 else (1 - a ** (k + 1)) / (1 - a)
    spread = math.sqrt(sum(a**i * (1 - a) * (i + 1 - expected) ** 2 for i in range(k)) + a**k * (k + 1 - expected) ** 2)
    rounds, tokens, _ = rounds_of(name, Acceptance(name="a", chain=(a,)))
    assert abs(tokens / rounds - expected) <= 4 * spread / math.sqrt(rounds) + (k + 1) ** 2 / rounds


def test_a_tree_commits_what_its_levels_accept():
    ranks = Acceptance(name="a", ranks=((0.5, 0.2, 0.1), (0.4, 0.2)))
    rounds, tokens, rows = rounds_of("heads:heads=tiny,depth=2,width=3,nodes=9", ranks)
    tree = sparse(2, 3, 9)
    share = {0: 0.5, 1: 0.2, 2: 0.1}, {0: 0.4, 1: 0.2, 2: 0.0}
    expected = 1 + sum(math.prod(share[level][choice] for level, choice in enumerate(path)) for path in tree)
    assert rows == 1 + len(tree) == 10
    assert abs(tokens / rounds - expected) <= 4 * 1.0 / math.sqrt(rounds)


def test_a_sparse_tree_holds_every_parent_and_the_likeliest_first():
    tree = sparse(3, 4, 12)
    assert len(tree) == len(set(tree)) == 12
    assert all(len(path) == 1 or path[:-1] in tree for path in tree)
    assert sparse(4, 1, 9) == chain(4)
    assert sparse(2, 3, 4) == ((0,), (1,), (0, 0), (0, 1))


def test_rows_of_a_pass_are_what_the_method_says():
    sure = Acceptance(name="a", chain=(0.7,))
    assert rounds_of("lookahead:window=6,n=4,guesses=5", sure)[2] == 1 + 3 * (6 + 5)
    assert rounds_of("mask_tokens:k=3", sure)[2] == 4 * 4
    assert rounds_of("eagle:draft=tiny,depth=5,width=10,nodes=60", sure)[2] == 61


def test_a_drafter_passes_as_often_as_it_must():
    s = sequence([[1]] * 40)
    for name, each in (("draft:draft=tiny,k=3", 3), ("block:draft=tiny,k=3", 1),
                       ("eagle:draft=tiny,depth=3,width=2,nodes=8", 3)):
        schedule, _ = schedule_named(name)
        played = decode(schedule, s, TraceOracle({0: s}, Described({EVERYONE: Acceptance(name="a", chain=(1.0,))})))
        drafts = [p for p in played.passes if p.model == "draft"]
        assert len(drafts) == 10 * each


def test_a_draft_stops_where_it_does_not_trust_itself():
    s = sequence([[1]] * 400)
    unsure = Described({EVERYONE: Acceptance(name="a", chain=(0.5,), sharpness=1.0)}, seed=3)
    rows = {}
    for stop in ("0", "0.9"):
        schedule, _ = schedule_named(f"draft:draft=tiny,k=6,stop={stop}")
        played = decode(schedule, s, StrictOracle(TraceOracle({0: s}, unsure)))
        rows[stop] = sum(len(p.rows) for p in played.passes if p.model == TARGET)
        assert sum(p.model == TARGET for p in played.passes) <= 400 * 0.6
    assert rows["0.9"] < rows["0"] / 2
