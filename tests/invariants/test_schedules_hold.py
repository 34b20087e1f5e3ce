"""What holds for every schedule and every text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.batch import in_lock_step
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.program import Ids, watched
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.trace import synthetic
from worlds import decode, play, sequence, text_of

TOKEN = st.integers(0, 2)


@st.composite
def texts(draw, most=12):
    repetitions = draw(st.integers(1, 6))
    count = draw(st.integers(1, most))
    rows = draw(st.lists(st.lists(TOKEN, min_size=repetitions, max_size=repetitions), min_size=count, max_size=count))
    return sequence(rows, draw(st.sampled_from(["length", "eos"])), draw(st.integers(0, 5)))


@st.composite
def schedules(draw, repetitions):
    first = draw(st.integers(1, repetitions))
    exits = draw(st.none() | st.lists(st.integers(1, repetitions), min_size=1, max_size=3).map(tuple))
    stride = draw(st.sampled_from([k for k in range(1, repetitions + 1) if repetitions % k == 0]))
    recheck = draw(st.sampled_from(["every_exit", "final"]))
    return Speed(first, exits, recheck, draw(st.none() | st.integers(1, repetitions)), stride)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_token_is_committed_once_and_in_order_whatever_the_options(data):
    s = data.draw(texts())
    for schedule in (Autoregressive(), data.draw(schedules(s.exit_tokens.shape[1]))):
        played = decode(schedule, s, StrictOracle(TraceOracle({0: s})))
        position = {r.token: r.position for p in played.passes for r in p.rows}
        assert [position[token] for token, _ in played.commits] == list(range(s.first, s.first + s.count))
        issued = {r.token for p in played.passes for r in p.rows if r.depth == 0}
        assert issued == {token for token, _ in played.commits} | set(played.squashed)
        assert len(played.squashed) == len(set(played.squashed))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_more_rows_are_in_flight_than_the_schedule_says(data):
    s = data.draw(texts())
    schedule = data.draw(schedules(s.exit_tokens.shape[1]))
    played = decode(schedule, s, TraceOracle({0: s}))
    assert max(len(p.rows) for p in played.passes) <= schedule.slots(s.exit_tokens.shape[1])
    assert all(len({r.depth for r in p.rows}) == len(p.rows) for p in played.passes)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 1000))
def test_a_batch_does_for_each_sequence_what_it_does_alone(places, sequences, seed):
    trace = synthetic([0.4, 0.2, 0.1], 4, 7, sequences=sequences, seed=seed)
    facts = {s.id: s for s in trace.sequences}
    oracle, ids = StrictOracle(TraceOracle(facts)), Ids()
    each = ((s.id, Speed().program(oracle, text_of(s), ids)) for s in trace.sequences)
    together = play(watched(in_lock_step(each, places, ids), oracle))
    for s in trace.sequences:
        alone = decode(Speed(), s, TraceOracle({s.id: s}))
        mine = [[[r.position, r.depth] for r in p.rows if r.sequence == s.id] for p in together.passes]
        assert [rows for rows in mine if rows] == [[[r.position, r.depth] for r in p.rows] for p in alone.passes]
    assert sorted(together.retired) == sorted(facts)
    assert max(len({r.sequence for r in p.rows}) for p in together.passes) <= places
