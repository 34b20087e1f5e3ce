"""Is a batch of one the sequence itself, and a batch of identical ones one with as many rows, to the picosecond?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from contract import proposals
from speedsim.batch import in_lock_step
from speedsim.comparison import Entry, Place, turns
from speedsim.machine.build import sim_machine
from speedsim.machine.player import Setting
from speedsim.oracle import TraceOracle
from speedsim.program import (
    Cancel,
    Commit,
    Compact,
    Host,
    Ids,
    Issue,
    Pass,
    Retire,
    Row,
    Squash,
    Wait,
    watched,
)
from speedsim.schedule_names import schedule_named
from speedsim.stack import Control
from speedsim.trace import Trace, synthetic
from worlds import WHOLE, simulate, speed_shape, text_of, tiny_gpu, tiny_stack

SCHEDULES = ["autoregressive", "speed", "loopspec:d2=2", "loop_draft", "plt", "draft:draft=tiny"]
GPU = {"capacity": 40_000_000, "node": 1_270_000, "start": 2_600_000, "stream": 2_000_000}
STACK = {"turnaround": 10_000_000, "graph": 2_500_000, "block": 64}
MODEL = speed_shape(2, 4, prelude=1, coda=1)


def played(made, program, places):
    """Play a program on the same machine as `simulate`, without batch.py."""
    needs = made.needs()
    stack = tiny_stack(**STACK)
    setting = Setting(stack, Control("host"), stack.launch, None, made.reads(4), places, concurrent=needs.concurrent,
                      models={name: (speed_shape(1, 1), WHOLE) for name, _ in needs.models})
    return sim_machine(tiny_gpu(**GPU), stack, MODEL, WHOLE, setting).play(program)


def alone(made, s):
    oracle = TraceOracle({s.id: s}, proposals(0.7))
    return watched(made.program(oracle, text_of(s), Ids()), oracle)


def folded(program, places):
    """Every row once for each place, one place behind the other: one sequence of that many rows."""
    def tokens(of):
        return tuple(token * places + place for place in range(places) for token in of)

    answer = frozenset()
    while True:
        try:
            command = program.send(answer) if answer else next(program)
        except StopIteration:
            break
        answer = command.passes if isinstance(command, Wait) else frozenset()
        if isinstance(command, Issue):
            item = command.item
            rows = tuple(
                row._replace(token=row.token * places + place, sequence=place,
                             parent=None if row.parent is None else row.parent * places + place,
                             source=row.source and (row.source[0] * places + place, row.source[1]))
                for place in range(places) for row in item.rows)
            yield Issue(item._replace(rows=rows, exits=tokens(item.exits)))
        elif isinstance(command, Commit):
            for token in tokens((command.token,)):
                yield Commit(token)
        elif isinstance(command, Squash):
            yield Squash(tokens(command.tokens))
        elif isinstance(command, Compact):
            raise NotImplementedError
        else:
            assert isinstance(command, Wait | Host | Cancel)
            yield command
    for place in range(places):
        yield Retire(place)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_batch_of_one_is_the_sequence_itself(name):
    made, _ = schedule_named(name)
    trace = synthetic([0.3, 0.2, 0.1], 4, 30, seed=3)
    (s,) = trace.sequences
    line = simulate(made, trace, gpu=tiny_gpu(**GPU), stack=tiny_stack(**STACK), model=MODEL, facts=proposals(0.7))
    own = played(made, folded(alone(made, s), 1), 1)
    assert line.counters == own.counters
    assert line.bound_ps == own.bound_ps
    assert list(line.commits) == list(own.commits)


@pytest.mark.parametrize("launch", ["graph", "eager"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_event_by_event_a_schedule_takes_the_same_picoseconds(name, launch):
    """Two models on one stream share the cache and the launches in either way of playing them."""
    made, _ = schedule_named(name)
    trace = synthetic([0.3, 0.2, 0.1], 4, 20, sequences=3, seed=5)
    stack = tiny_stack(**STACK | {"launch": launch, "dispatch": 3_000_000})
    whole, events = (simulate(made, trace, gpu=tiny_gpu(**GPU), stack=stack, model=MODEL, batch=2,
                              facts=proposals(0.7), concurrent=concurrent) for concurrent in (False, True))
    assert whole.counters == events.counters
    assert whole.bound_ps == events.bound_ps
    assert list(whole.commits) == list(events.commits)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "draft:draft=tiny"])
@pytest.mark.parametrize("places", [2, 5])
def test_identical_sequences_in_lock_step_take_the_time_of_one_with_as_many_rows(name, places):
    made, _ = schedule_named(name)
    s = synthetic([0.3, 0.2, 0.1], 4, 30, seed=4).sequences[0]
    trace = Trace("same", "tiny", 4, {}, tuple(replace(s, id=number) for number in range(places)))
    line = simulate(made, trace, gpu=tiny_gpu(**GPU), stack=tiny_stack(**STACK), model=MODEL, batch=places)
    one = played(made, folded(alone(made, s), places), places)
    assert line.counters == one.counters
    assert line.decode_ps == one.decode_ps
    assert line.bound_ps == one.bound_ps


def cancelling(number, cancels):
    """One pass on a stream of its own, taken back at once by some sequences; the others wait for it."""
    row = Row(number, number, 0, 0, None)
    item = Pass(10 + number, (row,), (number,), stream=1)
    yield Issue(item)
    if cancels:
        yield Cancel(item.id)
    else:
        yield Wait(frozenset((item.id,)))


@pytest.mark.parametrize(("who", "cancelled"), [((), 0), ((0,), 0), ((0, 1), 1)])
def test_a_merged_pass_is_cancelled_when_everyone_in_it_has_cancelled_it(who, cancelled):
    programs = [(number, cancelling(number, number in who)) for number in range(2)]
    commands, answer = [], None
    program = in_lock_step(programs, 2, Ids())
    try:
        while True:
            commands.append(program.send(answer))
            answer = commands[-1].passes if isinstance(commands[-1], Wait) else None
    except StopIteration:
        pass
    issued = [c.item for c in commands if isinstance(c, Issue)]
    assert [len(item.rows) for item in issued] == [2]
    assert [c.id for c in commands if isinstance(c, Cancel)] == [issued[0].id] * cancelled


def test_a_sequence_does_not_wait_for_what_it_has_cancelled():
    heard = []

    def program(number):
        rows = [Row(10 * number + i, number, i, 0, None) for i in range(2)]
        items = [Pass(10 * number + i, (rows[i],), (rows[i].token,), stream=i) for i in range(2)]
        for item in items:
            yield Issue(item)
        yield Cancel(items[1].id)
        heard.append((yield Wait(frozenset(item.id for item in items))) == {items[0].id})

    dropped = set()
    merged = in_lock_step([(0, program(0)), (1, program(1))], 2, Ids())
    command = next(merged, None)
    while command is not None:
        dropped |= {command.id} if isinstance(command, Cancel) else set()
        try:
            command = merged.send(command.passes - dropped if isinstance(command, Wait) else frozenset())
        except StopIteration:
            break
    assert heard == [True, True]


def test_where_a_schedule_stops_paying_is_told():
    def entry(batch, speedup):
        return Entry(Place("l4", batch, None), "speed", {"speedup": speedup})

    entries = [entry(1, 1.4), entry(4, 1.1), entry(16, 0.9), entry(64, 0.8)]
    assert list(turns(entries)) == ["speed stops paying on l4 between batch 4 and 16"]
    assert list(turns(entries[:2])) == []


def test_sequences_that_draft_are_checked_together():
    """Drafts of different lengths end at different times; a pass of the target still serves whoever has drafted."""
    from worlds import play

    texts = synthetic([], 1, 40, 4, seed=1).sequences
    made, _ = schedule_named("draft:draft=tiny,k=4")
    oracle = TraceOracle({s.id: s for s in texts}, proposals(0.7))
    ids = Ids()
    each = ((s.id, made.program(oracle, text_of(s), ids)) for s in texts)
    together = play(watched(in_lock_step(each, 4, ids), oracle))
    apart = [play(alone(made, s)) for s in texts]
    assert together.sweeps == max(one.sweeps for one in apart)
