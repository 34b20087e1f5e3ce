"""Live decoding: the text of plain greedy, the passes of the recorded trace, the rows of its own log."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from speedsim.batch import in_lock_step  # noqa: E402
from speedsim.oracle import StrictOracle  # noqa: E402
from speedsim.program import Ids, Text, watched  # noqa: E402
from speedsim.schedules.autoregressive import Autoregressive  # noqa: E402
from speedsim.schedules.speed import Speed  # noqa: E402
from speedsim.trace import Sequence, settle  # noqa: E402
from speedsim.validate.execution_log import ExecutionLog, LiveOracle, LogOracle, recorded  # noqa: E402
from speedsim.validate.play import Player, program_of  # noqa: E402
from speedsim.validate.refusal import RefusedError  # noqa: E402
from speedsim.validate.shapes import random_decoder  # noqa: E402
from speedsim.validate.torch_machine import TorchMachine  # noqa: E402
from speedsim.workloads.decoder import Shape, greedy  # noqa: E402

G, COUNT = 4, 24
MEASURED = "measured on a test's CPU"
SCHEDULES = {
    "autoregressive": Autoregressive(),
    "speed": Speed(),
    "capped": Speed(max_in_flight=2),
    "final recheck": Speed(recheck="final"),
    "exits subset": Speed(exits=(1, 3)),
    "second exit first": Speed(first_exit=2),
    "two repetitions a pass": Speed(repetitions_per_pass=2),
    "capped at one": Speed(max_in_flight=1),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
every_control = pytest.mark.parametrize("control", ["host", "device"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def world(sharp: float, stir: float, seeds=(0, 3)):
    """A random decoder, two prompts and what greedy says: {sequence: exits [COUNT, G]}.

    Sharp attention makes a random decoder restless: its text does not loop and its exits disagree.
    """
    decoder = random_decoder(Shape(32, 4, 2, 8, 64, 61, 2, G), seed=seeds[0], stir=stir)
    for layer in decoder.group:
        layer.qkv.weight.mul_(sharp)
    prompts = {number: [(seed * 7 + 5 * i) % 61 for i in range(4 + number)] for number, seed in enumerate(seeds)}
    exits = {n: torch.cat(list(greedy(decoder, torch.tensor([p]), COUNT))).numpy() for n, p in prompts.items()}
    return decoder, prompts, exits


@pytest.fixture(scope="module")
def restless():
    decoder, prompts, exits = world(sharp=4, stir=2)
    assert all(len(set(e[:, -1].tolist())) > 5 for e in exits.values()), "the text must not loop"
    assert all(settle(e.astype(np.int32)).mean() > 1.5 for e in exits.values()), "exits must disagree"
    return decoder, prompts, exits


@pytest.fixture(scope="module")
def lived(restless):
    """Live runs by (schedule, control), each decoded once: (player, timeline, log)."""
    decoder, prompts, _ = restless
    known = {}

    def run(schedule, control):
        if (schedule, control) not in known:
            player, log = Player(decoder, 64, source=MEASURED, control=control), ExecutionLog(G)
            known[schedule, control] = player, player.live(schedule, texts_for(prompts), prompts, log=log), log
        return known[schedule, control]

    return run


@pytest.fixture(scope="module")
def calm():
    return world(sharp=1, stir=4, seeds=(5, 3))


def texts_for(prompts, limit=COUNT):
    return [Text(number, len(prompt) - 1, limit, G) for number, prompt in prompts.items()]


def texts_said(line, log):
    said = {}
    for moment in line.commits:
        said.setdefault(moment.sequence, []).append(log.heard[moment.token, G])
    return said


def passes_of(line):
    return [[(s.sequence, s.position, s.repetition) for s in rows] for rows in line.occurrence_rows]


def rows_in_flight(line):
    return line.counters.row_passes / line.counters.passes


@every_control
@every_schedule
def test_live_text_is_greedys_text(restless, lived, schedule, control):
    _, _, exits = restless
    _, line, log = lived(schedule, control)
    assert texts_said(line, log) == {n: e[:, -1].tolist() for n, e in exits.items()}


@every_control
@every_schedule
def test_live_takes_as_many_passes_as_the_replay_of_its_text(restless, lived, schedule, control):
    _, prompts, exits = restless
    player, live, _ = lived(schedule, control)
    facts = [Sequence(n, len(prompts[n]) - 1, COUNT, "length", 0, e) for n, e in exits.items()]
    replay = player.replay(schedule, facts)
    assert live.counters.passes == replay.counters.passes
    assert live.counters.launch_units == replay.counters.launch_units
    assert rows_in_flight(live) <= rows_in_flight(replay)


@pytest.mark.parametrize("schedule", [Speed(), Speed(recheck="final"), Speed(max_in_flight=3)], ids=str)
def test_rows_in_flight_live_are_within_five_per_cent_of_the_replay(calm, schedule):
    decoder, prompts, exits = calm
    mean_settle = np.concatenate([settle(e.astype(np.int32)) for e in exits.values()]).mean()
    assert 1.3 < mean_settle < 1.6, "about as restless as the paper's models"
    player = Player(decoder, 64, source=MEASURED)
    live = player.live(schedule, texts_for(prompts), prompts)
    facts = [Sequence(n, len(prompts[n]) - 1, COUNT, "length", 0, e) for n, e in exits.items()]
    replay = player.replay(schedule, facts)
    assert 0.95 * rows_in_flight(replay) <= rows_in_flight(live) <= rows_in_flight(replay)


@every_control
@every_schedule
def test_the_log_fed_back_gives_the_same_rows(restless, lived, schedule, control):
    _, prompts, _ = restless
    player, live, log = lived(schedule, control)
    oracle = LogOracle(log)
    again = TorchMachine(player.units, MEASURED).play(program_of(schedule, oracle, texts_for(prompts)))
    oracle.finish()
    assert passes_of(again) == passes_of(live)
    assert [c[:3] for c in again.commits] == [c[:3] for c in live.commits]


@every_control
@every_schedule
def test_a_text_that_ends_by_its_token_ends_there(restless, schedule, control):
    decoder, prompts, exits = restless
    text = exits[0][:, -1].tolist()
    eos = next(t for t in text if text.index(t) >= 9)
    stop = {n: ([*e[:, -1].tolist(), eos].index(eos) + 1) for n, e in exits.items()}
    log = ExecutionLog(G)
    player = Player(decoder, 96, source=MEASURED, control=control)
    line = player.live(schedule, texts_for(prompts, limit=None)[:1], prompts, eos=eos, log=log)
    assert texts_said(line, log) == {0: text[: stop[0]]}
    facts = Sequence(0, len(prompts[0]) - 1, stop[0], "eos", 0, exits[0][: stop[0]])
    assert player.replay(schedule, [facts]).counters.passes == line.counters.passes


def test_host_and_device_control_run_the_same_rows(lived):
    lines = [lived(Speed(), control)[1] for control in ("host", "device")]
    assert passes_of(lines[0]) == passes_of(lines[1])
    assert lines[0].counters.squashed_tokens == lines[1].counters.squashed_tokens > 0


@every_control
def test_a_live_run_records_the_trace_that_greedy_makes(restless, lived, control):
    _, prompts, exits = restless
    _, line, log = lived(Speed(), control)
    for sequence in recorded(log, [c[:3] for c in line.commits]):
        assert (sequence.first, sequence.count, sequence.end) == (len(prompts[sequence.id]) - 1, COUNT, "length")
        assert sequence.exit_tokens.tolist() == exits[sequence.id].tolist()


def test_a_run_that_did_not_read_every_exit_records_no_trace(lived):
    _, line, log = lived(Speed(recheck="final"), "host")
    with pytest.raises(RefusedError, match="exit 2 was not read"):
        recorded(log, [c[:3] for c in line.commits])


def test_sequences_in_lock_step_say_what_they_say_alone(restless):
    decoder, prompts, exits = restless
    more = {n: prompts[n % 2] for n in range(5)}
    log = ExecutionLog(G)
    player = Player(decoder, 64, source=MEASURED, batch=3, widths=(4, 8, 12))
    line = player.live(Speed(), [Text(n, len(p) - 1, 12, G) for n, p in more.items()], more, log=log)
    assert texts_said(line, log) == {n: exits[n % 2][:12, -1].tolist() for n in more}
    assert max(line.counters.rows_per_pass) > G


def test_a_schedule_asks_nothing_before_its_wait(restless):
    decoder, prompts, _ = restless
    log = ExecutionLog(G)
    player = Player(decoder, 64, source=MEASURED)
    oracle = StrictOracle(LiveOracle(log))
    ids, (text, _) = Ids(), texts_for(prompts)
    program = watched(in_lock_step([(0, Speed(exits=(1, 3)).program(oracle, text, ids))], 1, ids), oracle)
    line = TorchMachine(player.units, MEASURED, prompts, log).play(program)
    assert line.counters.committed_tokens == COUNT


@dataclasses.dataclass(frozen=True)
class Forgetful(Speed):
    """A device form that lets the next token in one pass late."""

    def step(self, state, predictions):
        new = super().step(state, predictions)
        return new._replace(live=new.live & (new.depth + (new.place == 0) > 0))


def test_a_device_form_that_strays_from_its_program_is_refused(restless):
    decoder, prompts, _ = restless
    player = Player(decoder, 64, source=MEASURED, control="device")
    with pytest.raises(RefusedError, match="pass 1: the program issues"):
        player.live(Forgetful(), texts_for(prompts), prompts)


def test_a_text_that_outgrows_the_buffers_is_refused_and_writes_nothing_beyond_them(restless):
    decoder, prompts, _ = restless
    reasons = {"host": "lies beyond the 16 positions", "device": "reached the end of this machine's 16"}
    for control, reason in reasons.items():
        player = Player(decoder, 16, source=MEASURED, control=control)
        with pytest.raises(RefusedError, match=reason):
            player.live(Speed(), texts_for(prompts, limit=None)[:1], prompts, eos=-3)
    with pytest.raises(RefusedError, match="24 positions from 3 on lie beyond the 16"):
        player.live(Speed(), texts_for(prompts)[:1], prompts)


def test_a_log_of_another_run_is_refused(restless, lived):
    texts = texts_for(restless[1])
    player, _, log = lived(Speed(), "host")
    with pytest.raises(RefusedError, match="pass 0"):
        TorchMachine(player.units, MEASURED).play(program_of(Speed(repetitions_per_pass=2), LogOracle(log), texts))
    short = dataclasses.replace(log, sweeps=log.sweeps[:-1])
    with pytest.raises(RefusedError, match="the log ends before it"):
        TorchMachine(player.units, MEASURED).play(program_of(Speed(), LogOracle(short), texts))


def test_a_prompt_that_does_not_reach_its_first_row_is_refused(restless):
    decoder, prompts, _ = restless
    with pytest.raises(RefusedError, match="first row stands at position 9, its prompt has 4 tokens"):
        Player(decoder, 64, source=MEASURED).live(Speed(), [Text(0, 9, 5, G)], prompts)
