"""Do the schedules of looped decoders reach their closed forms exactly?"""

from __future__ import annotations

import numpy as np
import pytest
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.program import Ids, Issue, Text, Wait
from speedsim.schedules.loop_draft import LoopDraft
from speedsim.schedules.loopspec import LoopSpec
from speedsim.schedules.plt import ParallelLoops
from worlds import decode, sequence

LIVE_ROWS = [  # (G, K, d1, d2): most live rows, by the paper's recurrence
    ((4, 1, 1, None), 4), ((4, 1, 1, 2), 7), ((32, 2, 2, None), 16), ((32, 4, 4, None), 8),
    ((32, 4, 4, 8), 54), ((32, 2, 2, 10), 139), ((32, 2, 2, 8), 249),
]


class Restless:
    """Every row changes its mind at every exit, on the text or off it."""

    def guess(self, row, exit):
        return exit

    def ends(self, row):
        return False


@pytest.mark.parametrize(("shape", "most"), LIVE_ROWS)
def test_the_most_live_rows_are_the_papers(shape, most):
    repetitions, stride, d1, d2 = shape
    made = LoopSpec(d1, d2, stride)
    program = made.program(Restless(), Text(0, 0, 1000, repetitions), Ids())
    widest, command = 0, next(program)
    for _ in range(400):
        if isinstance(command, Issue):
            widest = max(widest, len(command.item.rows))
        command = program.send(command.passes if isinstance(command, Wait) else frozenset())
    assert widest == made.most_rows(repetitions) == most


@pytest.mark.parametrize(("repetitions", "stride", "d1", "d2"), [
    (4, 1, 1, None), (4, 1, 1, 2), (4, 1, 2, 3), (8, 2, 2, 4), (8, 2, 2, 6), (6, 1, 2, 5), (6, 3, 3, None),
])
def test_gamma_is_exact(repetitions, stride, d1, d2):
    """The gap in front of every token is d1, d2 or G repetitions, by which of its parent's guesses was final."""
    random = np.random.default_rng(repetitions * 100 + d1 * 10 + (d2 or 0))
    for _ in range(50):
        tokens = random.integers(0, 2, size=(60, repetitions)).tolist()
        s = sequence(tokens)
        gaps = [d1 if row[d1 - 1] == row[-1] else d2 if d2 and row[d2 - 1] == row[-1] else repetitions
                for row in tokens[:-1]]
        played = decode(LoopSpec(d1, d2, stride), s, StrictOracle(TraceOracle({0: s})))
        assert played.sweeps == repetitions + sum(gaps)


def test_one_proposal_accepted_with_p_leaves_a_gap_of_p_plus_1_minus_p_times_g():
    p, repetitions, count = 0.8, 6, 20_000
    wrong = np.random.default_rng(3).random(count) >= p
    s = sequence([[0 if bad else 1] + [1] * (repetitions - 1) for bad in wrong])
    sweeps = decode(LoopSpec(), s, TraceOracle({0: s})).sweeps
    assert sweeps / count == pytest.approx(p + (1 - p) * repetitions, abs=4 * 5 * (p * (1 - p) / count) ** 0.5)


def test_parallel_loops_let_a_token_out_at_every_pass():
    s = sequence([[0, 1, 2, 3]] * 50)
    assert decode(ParallelLoops(), s, StrictOracle(TraceOracle({0: s}))).sweeps == 53


def test_a_drafting_round_takes_k_early_exits_and_the_rest_once():
    repetitions, early, k, a, count = 6, 2, 4, 0.7, 20_000
    wrong = np.random.default_rng(4).random(count) >= a
    s = sequence([[0 if bad else 1] * early + [1] * (repetitions - early) for bad in wrong])
    played = decode(LoopDraft(early, k), s, TraceOracle({0: s}))
    rounds = sum(p.repetitions == repetitions - early for p in played.passes)
    assert played.sweeps == pytest.approx(rounds * (k * early + repetitions - early), abs=k * early)
    expected = (1 - a**k) / (1 - a)
    spread = sum((2 * j + 1) * a**j for j in range(k)) - expected**2
    assert count / rounds == pytest.approx(expected, abs=4 * (spread / rounds) ** 0.5)
