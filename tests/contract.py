"""The contract of a schedule, clause by clause: each takes the schedule and the repetitions of the model it decodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from speedsim.batch import in_lock_step
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.program import TARGET, Ids, Text, watched
from speedsim.trace import Sequence, Trace, synthetic
from speedsim.traces.acceptance import EVERYONE, Acceptance, Described
from worlds import (
    WEIGHTS_ONLY,
    Played,
    decode,
    play,
    sequence,
    simulate,
    speed_shape,
    text_of,
    tiny_gpu,
    tiny_stack,
)


def proposals(rate: float) -> Described:
    """Every proposer right with this probability."""
    return Described({EVERYONE: Acceptance(name="test", chain=(rate,))})


def mixed(repetitions: int, seed: int) -> Sequence:
    """A text whose exits change their minds now and then."""
    return synthetic([0.4, 0.2, 0.1][:repetitions - 1], repetitions, 40, seed=seed).sequences[0]


def right(repetitions: int, count: int = 20, end: str = "length") -> Sequence:
    """A text that every exit knows."""
    return sequence([[5] * repetitions] * count, end)


def wrong(repetitions: int, count: int = 20) -> Sequence:
    """A text that only the last exit knows."""
    return sequence([list(range(repetitions))] * count)


def strictly(made: Any, s: Sequence, rate: float = 0.6) -> Played:
    """Decode under an oracle that refuses clairvoyance."""
    return decode(made, s, StrictOracle(TraceOracle({s.id: s}, proposals(rate))))


def commits_each_token_once_and_in_order(made: Any, repetitions: int) -> None:
    for rate in (0.0, 0.6, 1.0):
        s = mixed(repetitions, 2)
        played = strictly(made, s, rate)
        position = {r.token: r.position for p in played.passes if p.model == TARGET for r in p.rows}
        assert [position[t] for t, _ in played.commits] == list(range(s.first, s.first + s.count))


def every_token_is_committed_or_squashed_once(made: Any, repetitions: int) -> None:
    played = strictly(made, mixed(repetitions, 5))
    issued = {r.token for p in played.passes for r in p.rows}
    ended = [token for token, _ in played.commits] + played.squashed
    assert sorted(ended) == sorted(issued)


def a_token_runs_all_repetitions_before_it_is_committed(made: Any, repetitions: int) -> None:
    played = strictly(made, mixed(repetitions, 6))
    done: dict[int, int] = {}
    for item in played.passes:
        if item.model == TARGET:
            for row in item.rows:
                assert done.get(row.token, 0) == row.depth
                done[row.token] = row.depth + item.repetitions
    assert {done[token] for token, _ in played.commits} == {repetitions}


def ends_when_every_guess_is_wrong_and_saves_no_pass(made: Any, repetitions: int) -> None:
    if not made.needs().trained:
        assert strictly(made, wrong(repetitions), 0.0).sweeps >= 20 * repetitions


def is_no_faster_than_plain_decoding_when_every_guess_is_wrong(made: Any, repetitions: int) -> None:
    from speedsim.schedules.autoregressive import Autoregressive

    trace = Trace("wrong", "tiny", repetitions, {}, (wrong(repetitions),))
    world = {"gpu": tiny_gpu(l2=1e18, flop=1e20), "plan": WEIGHTS_ONLY, "model": speed_shape(2, repetitions),
             "stack": tiny_stack(work=dict.fromkeys(made.needs().host, 0))}
    mine = simulate(made, trace, facts=proposals(0.0), **world)
    if not made.needs().trained:
        assert mine.decode_ps >= simulate(Autoregressive(), trace, **world).decode_ps


def reaches_its_bound_when_every_guess_is_right(made: Any, repetitions: int) -> None:
    for count in (1, 2, 20):
        assert strictly(made, right(repetitions, count), 1.0).sweeps == made.least_passes(count, repetitions)


def does_the_same_twice(made: Any, repetitions: int) -> None:
    s = mixed(repetitions, 3)
    assert strictly(made, s).passes == strictly(made, s).passes


def issues_no_row_before_its_guess_was_read(made: Any, repetitions: int) -> None:
    read: set[tuple[int, int]] = set()
    for item in strictly(made, mixed(repetitions, 4)).passes:
        for row in item.rows:
            assert row.depth > 0 or row.source is None or row.source[1] == 0 or row.source in read
        if item.model == TARGET:
            read |= {(r.token, r.depth + item.repetitions) for r in item.rows if r.token in item.exits}


def never_learns_the_end_of_a_text_before_it_commits_it(made: Any, repetitions: int) -> None:
    passes = []
    for count in (6, 7):
        oracle = StrictOracle(TraceOracle({0: right(repetitions, count, "eos")}, proposals(1.0)))
        program = made.program(oracle, Text(0, 0, None, repetitions), Ids())
        passes.append(play(watched(program, oracle)).passes)
    assert passes[0] == passes[1][:len(passes[0])]


def together(made: Any, sequences: list[Sequence], places: int, rate: float) -> Played:
    """Decode several sequences in lock step."""
    oracle, ids = StrictOracle(TraceOracle({s.id: s for s in sequences}, proposals(rate))), Ids()
    each = ((s.id, made.program(oracle, text_of(s), ids)) for s in sequences)
    return play(watched(in_lock_step(each, places, ids), oracle))


def rows_of(played: Played, number: int) -> list[list[tuple[str, int, int]]]:
    """(model, position, depth) of one sequence's rows, pass by pass."""
    mine = ([(p.model, r.position, r.depth) for r in p.rows if r.sequence == number] for p in played.passes)
    return [rows for rows in mine if rows]


def does_for_each_sequence_of_a_batch_what_it_does_alone(made: Any, repetitions: int) -> None:
    sequences = [replace(mixed(repetitions, seed), id=seed, count=12 + seed,
                         exit_tokens=mixed(repetitions, seed).exit_tokens[:12 + seed]) for seed in range(5)]
    batch = together(made, sequences, 3, 0.6)
    assert sorted(batch.retired) == [s.id for s in sequences]
    for s in sequences:
        assert rows_of(batch, s.id) == rows_of(strictly(made, s), s.id)


def carries_identical_sequences_as_one_with_as_many_rows(made: Any, repetitions: int) -> None:
    alone = mixed(repetitions, 7)
    one = strictly(made, alone, 1.0)
    batch = together(made, [replace(alone, id=number) for number in range(4)], 4, 1.0)
    assert [len(p.rows) for p in batch.passes] == [4 * len(p.rows) for p in one.passes]


CLAUSES = (
    commits_each_token_once_and_in_order,
    every_token_is_committed_or_squashed_once,
    a_token_runs_all_repetitions_before_it_is_committed,
    ends_when_every_guess_is_wrong_and_saves_no_pass,
    is_no_faster_than_plain_decoding_when_every_guess_is_wrong,
    reaches_its_bound_when_every_guess_is_right,
    does_the_same_twice,
    issues_no_row_before_its_guess_was_read,
    never_learns_the_end_of_a_text_before_it_commits_it,
    does_for_each_sequence_of_a_batch_what_it_does_alone,
    carries_identical_sequences_as_one_with_as_many_rows,
)
