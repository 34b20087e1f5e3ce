"""The static pass, the fixed slots and the bookkeeping of TorchMachine, on the CPU in fp32."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if "triton" not in sys.modules and not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported: its kernels run on the CPU

from speedsim.oracle import TraceOracle  # noqa: E402
from speedsim.program import Ids, Issue, Pass, Row, Text, Wait, watched  # noqa: E402
from speedsim.schedules.autoregressive import Autoregressive  # noqa: E402
from speedsim.schedules.speed import Speed  # noqa: E402
from speedsim.trace import Sequence, synthetic  # noqa: E402
from speedsim.validate.attention import Lanes, gather, plan  # noqa: E402
from speedsim.validate.play import Player, program_of, texts_of  # noqa: E402
from speedsim.validate.refusal import RefusedError  # noqa: E402
from speedsim.validate.shapes import random_decoder  # noqa: E402
from speedsim.validate.stage import Rows, Stage  # noqa: E402
from speedsim.validate.torch_machine import TorchMachine  # noqa: E402
from speedsim.workloads.decoder import Shape  # noqa: E402

GOLDEN = [json.loads(path.read_text()) for path in sorted((Path(__file__).parents[1] / "golden").glob("*.json"))]
GOLDEN = [g for g in GOLDEN if "exit_tokens" in g]
MEASURED = "measured on a test's CPU"


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tiny(repetitions: int, kv_heads: int = 2):
    return random_decoder(Shape(32, 4, kv_heads, 8, 64, 61, 2, repetitions), seed=1)


def golden_case(g):
    sequence = Sequence(0, 0, len(g["exit_tokens"]), g["end"], 0, np.array(g["exit_tokens"]))
    exits = tuple(g["exits"]) if g["exits"] else None
    stride = g.get("repetitions_per_pass", 1)
    return Speed(g["first_exit"], exits, g["recheck"], g["max_in_flight"], stride), sequence


def issued_rows(schedule, sequence, repetitions):
    """(position, depth) of each pass that the program issues over the trace."""
    oracle = TraceOracle({sequence.id: sequence})
    (text,) = texts_of([sequence], repetitions)
    program = watched(schedule.program(oracle, text, Ids()), oracle)
    rows, answer = [], None
    try:
        while True:
            command = program.send(answer)
            answer = command.passes if isinstance(command, Wait) else frozenset()
            if isinstance(command, Issue):
                rows.append([(r.position, r.depth) for r in command.item.rows])
    except StopIteration:
        return rows


def stepped_rows(schedule, sequence, repetitions, array):
    """The same from the schedule's step, answered from the trace as its oracle would."""
    (text,) = texts_of([sequence], repetitions)
    last = sequence.first + sequence.count - 1 if sequence.end == "eos" else -5
    plain = schedule.start(text, 3, -7, last)
    state = type(plain)(*map(array, plain))
    exits, unit, rows = sequence.exit_tokens, schedule.unit(repetitions), []
    while bool(state.live[0]):
        stand = [(int(p), int(d), int(t), bool(a)) for p, d, t, a in
                 zip(state.position, state.depth, state.token, state.live, strict=True)]
        for done in range(len(unit)):
            rows.append([(p, d + done * unit[0]) for p, d, _, alive in stand if alive])
        said = []
        for position, depth, token, _ in stand:
            index = position - sequence.first
            known = index == 0 or (0 < index < len(exits) and token == exits[index - 1][-1])
            said.append(int(exits[index][depth + sum(unit) - 1]) if known else -1)
        state = schedule.step(state, array(said))
    return rows


@pytest.mark.parametrize("array", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda g: g["name"])
def test_the_device_form_fills_its_slots_with_the_programs_rows(golden, array):
    schedule, sequence = golden_case(golden)
    for each in (schedule, Autoregressive()):
        g = golden["repetitions"]
        assert stepped_rows(each, sequence, g, array) == issued_rows(each, sequence, g)


@pytest.mark.parametrize("seed", range(30))
def test_the_device_form_agrees_with_the_program_under_every_option(seed):
    draw = np.random.default_rng(seed)
    g = int(draw.choice([1, 2, 3, 4, 6]))
    trace = synthetic(list(draw.random(g - 1) * 0.6), g, 20, 1, seed, first=int(draw.choice([0, 5])), vocabulary=5)
    (sequence,) = trace.sequences
    if draw.random() < 0.5:
        sequence = Sequence(0, sequence.first, sequence.count, "eos", 0, sequence.exit_tokens)
    stride = int(draw.choice([k for k in range(1, g + 1) if g % k == 0]))
    exits = None if draw.random() < 0.4 else tuple(sorted({int(e) for e in draw.integers(1, g + 1, 2)}))
    cap = None if draw.random() < 0.4 else int(draw.integers(1, 4))
    schedule = Speed(int(draw.integers(1, g + 1)), exits, str(draw.choice(["every_exit", "final"])), cap, stride)
    assert stepped_rows(schedule, sequence, g, np.array) == issued_rows(schedule, sequence, g)


@pytest.mark.parametrize("control", ["host", "device"])
@pytest.mark.parametrize("golden", GOLDEN[::3], ids=lambda g: g["name"])
def test_a_replay_runs_the_golden_rows(golden, control):
    schedule, sequence = golden_case(golden)
    player = Player(tiny(golden["repetitions"]), 256, source=MEASURED, control=control)
    line = player.replay(schedule, [sequence])
    expect = golden["expect"]
    rows = [[[slot.position, slot.repetition] for slot in rows] for rows in line.occurrence_rows]
    assert rows == expect["rows"]
    assert line.counters.head_reads == expect["head_reads"]
    assert line.counters.squashed_tokens == expect["squashed_tokens"]
    assert line.counters.row_passes == expect["row_passes"]
    assert line.counters.committed_tokens == len(golden["exit_tokens"])


@pytest.mark.parametrize("control", ["host", "device"])
@pytest.mark.parametrize("schedule", ["speed", "speed:max_in_flight=2", "speed:exits=1+3+6", "autoregressive"])
def test_prediction_and_replay_of_a_trace_count_the_same(schedule, control):
    pytest.importorskip("simpy")
    from speedsim.scenario import Scenario, resolve, run

    synth = "flips=0.2+0.1+0.1+0.05+0.05,count=20,sequences=2,first=5,seed=3"
    scenario = Scenario(synth=synth, schedule=schedule, control=control, tier="roofline")
    predicted, resolved = run(scenario), resolve(scenario)
    measured = Player(tiny(6), 64, source=MEASURED, control=control).replay(resolved.schedule, resolved.trace.sequences)
    names = ["passes", "row_passes", "idle_row_passes", "padded_row_passes", "head_reads", "committed_tokens",
             "squashed_tokens", "rows_per_pass"]
    if (schedule, control) != ("speed:exits=1+3+6", "device"):
        # There the device launches every step, the prediction joins steps in which no head is read.
        names.append("launch_units")
    for name in names:
        assert getattr(measured.counters, name) == getattr(predicted.counters, name), name
    assert measured.occurrence_rows == predicted.occurrence_rows
    assert [c[:3] for c in measured.commits] == [c[:3] for c in predicted.commits]


@pytest.mark.parametrize("control", ["host", "device"])
def test_the_time_of_a_run_is_divided_without_remainder(control):
    sequences = synthetic([0.2, 0.1], 3, 12, 2, seed=4, first=3).sequences
    line = Player(tiny(3), 32, source=MEASURED, control=control).replay(Speed(), sequences)
    assert sum(line.bound_ps.values()) == line.decode_ps
    assert [d.tokens for d in line.decodes] == [12, 12]
    assert list(line.commit_ps) == sorted(line.commit_ps)
    assert line.source == MEASURED


def test_fixed_slots_without_a_row_are_counted():
    sequences = synthetic([0.5, 0.5], 3, 10, 1, seed=4).sequences
    line = Player(tiny(3), 80, source=MEASURED, control="device").replay(Speed(), sequences)
    assert line.counters.idle_row_passes == 3 * line.counters.passes - line.counters.row_passes > 0


def test_rows_up_to_a_captured_width_are_counted_and_change_nothing():
    sequences = synthetic([0.3, 0.3, 0.3], 4, 10, 1, seed=2).sequences
    exact = Player(tiny(4), 80, source=MEASURED).replay(Speed(), sequences)
    padded = Player(tiny(4), 80, source=MEASURED, widths=(3, 4)).replay(Speed(), sequences)
    assert padded.occurrence_rows == exact.occurrence_rows
    narrow = sum(3 - rows for rows in map(len, exact.occurrence_rows) if rows < 3)
    assert (exact.counters.padded_row_passes, padded.counters.padded_row_passes) == (0, narrow)


def test_a_graph_on_a_cpu_falls_back_to_eager_and_says_so():
    sequences = synthetic([0.3], 2, 3, 1).sequences
    notes = Player(tiny(2), 80, source=MEASURED, launch="graph").replay(Speed(), sequences).notes
    assert any("ran eager" in note for note in notes)
    eager = Player(tiny(2), 80, source=MEASURED, launch="eager").replay(Speed(), sequences).notes
    assert not any("ran eager" in note for note in eager)


def attention_by_definition(query, kv, lanes):
    flat, group = kv.view(-1, *kv.shape[3:]), query.shape[1] // kv.shape[4]
    rows = []
    for row, (lane, position) in enumerate(zip(lanes.key.tolist(), lanes.position.tolist(), strict=True)):
        keys = flat[lane, : position + 1].repeat_interleave(group, 1)
        values = flat[lane + lanes.to_value, : position + 1].repeat_interleave(group, 1)
        weights = torch.einsum("hd,lhd->hl", query[row], keys).mul(query.shape[-1] ** -0.5).softmax(-1)
        rows.append(torch.einsum("hl,lhd->hd", weights, values))
    return torch.stack(rows)


def attention_case(q_heads, kv_heads, head_dim, window):
    draw = torch.Generator().manual_seed(3)
    kv = torch.randn(3, 2, 3, window, kv_heads, head_dim, generator=draw)
    position = torch.tensor([0, 1, 63, 64, window - 1]).clamp(max=window - 1)
    key = torch.randint(3, (5,), generator=draw) * 6 + torch.randint(3, (5,), generator=draw)
    return torch.randn(5, q_heads, head_dim, generator=draw), kv, Lanes(key, 3, position, window)


@pytest.mark.parametrize("case", [(4, 4, 8, 70), (8, 2, 16, 90)])
def test_gather_attends_to_each_rows_own_lane_up_to_its_position(case):
    query, kv, lanes = attention_case(*case)
    assert torch.allclose(gather(query, kv, lanes), attention_by_definition(query, kv, lanes), atol=1e-5)


@pytest.mark.parametrize("case", [(4, 4, 8, 70), (8, 2, 24, 600)])
def test_indirect_attends_to_each_rows_own_lane_up_to_its_position(case):
    pytest.importorskip("triton")
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton was loaded for a GPU that is not there")
    from speedsim.validate.attention_triton import indirect

    query, kv, lanes = attention_case(*case)
    assert torch.allclose(indirect(query, kv, lanes), attention_by_definition(query, kv, lanes), atol=1e-5)


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_the_fused_pass_does_the_work_of_the_decoders_own_kernels(kv_heads):
    pytest.importorskip("triton")
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("Triton was loaded for a GPU that is not there")
    decoder = random_decoder(Shape(48, 4, kv_heads, 12, 80, 61, 2, 3), seed=1, stir=3.0)
    stages = [Stage(decoder, 6, 2, 40, gather, plan) for plan in ("eager", "graph_fused")]
    rows = Rows(*map(torch.tensor, ([0, 3, 2, 5], [0] * 4, [7, 30, 0, 12], [0, 1, 0, 1], [0, 1, 2, 0])))
    again = rows._replace(depth=torch.tensor([1, 0, 1, 1]))
    for each, repetitions in ((rows, 1), (again, 2)):
        own, fused = (stage.sweep(each, torch.tensor([5, 6, 7, 60]), repetitions, 40) for stage in stages)
        assert torch.allclose(own, fused, atol=1e-4)
        assert torch.allclose(stages[0].kv, stages[1].kv, atol=1e-4)
        assert torch.allclose(stages[0].hidden, stages[1].hidden, atol=1e-4)


def test_graphs_get_the_fused_plan_where_there_is_triton():
    def indirect():
        pass

    assert plan("auto", "graph", indirect) == "graph_fused"
    assert plan("auto", "eager", indirect) == plan("auto", "graph", gather) == "eager"
    with pytest.raises(RefusedError, match="this machine plays eager and graph_fused"):
        plan("fast", "graph", gather)


def play_passes(player, *passes):
    def program():
        for item in passes:
            yield Issue(item)
        yield Wait(frozenset(p.id for p in passes))

    return TorchMachine(player.units, MEASURED).play(program())


def test_a_position_beyond_the_buffers_is_refused():
    player = Player(tiny(2), 8, source=MEASURED)
    with pytest.raises(RefusedError, match="position 8 lies beyond the 8 positions"):
        play_passes(player, Pass(0, (Row(0, 0, 8, 0, None),), (0,)))


def test_two_tokens_of_one_position_are_refused():
    player = Player(tiny(2), 8, source=MEASURED)
    with pytest.raises(RefusedError, match="position 3 of sequence 0 is in flight twice"):
        play_passes(player, Pass(0, (Row(0, 0, 3, 0, None), Row(1, 0, 3, 0, None)), (0,)))


def test_another_stream_is_refused():
    player = Player(tiny(2), 8, source=MEASURED)
    with pytest.raises(RefusedError, match="one model on one stream"):
        play_passes(player, Pass(0, (Row(0, 0, 3, 0, None),), (0,), stream=1))


def test_device_control_of_a_schedule_without_a_device_form_is_refused():
    class Plain:
        def slots(self, repetitions):
            return None

    sequences = synthetic([0.3], 2, 3, 1).sequences
    with pytest.raises(RefusedError, match="no device form"):
        Player(tiny(2), 80, source=MEASURED, control="device").replay(Plain(), sequences)
    with pytest.raises(RefusedError, match="one sequence at a time"):
        Player(tiny(2), 80, source=MEASURED, control="device", batch=2)


def test_a_committed_token_keeps_its_seat_until_the_next_commit():
    """Three tokens one after the other through two seats: the input of each is the one before it."""
    player = Player(tiny(1), 16, source=MEASURED)
    line = TorchMachine(player.units, MEASURED).play(
        program_of(Autoregressive(), _Never(), [Text(0, 2, 3, 1)]))
    assert list(line.commit_position) == [2, 3, 4]


class _Never:
    def issued(self, item):
        pass

    def ended(self, passes):
        pass

    def ends(self, row):
        return False


def test_commits_stand_behind_the_pass_that_settled_them():
    sequences = synthetic([0.3, 0.3], 3, 8, 1, seed=9).sequences
    line = Player(tiny(3), 80, source=MEASURED).replay(Speed(), sequences)
    ends = {}
    for start, pattern, rows in zip(line.occurrence_ps, line.occurrence_pattern, line.occurrence_rows, strict=True):
        for slot in rows:
            if slot.repetition == 3:
                ends[slot.token] = start + line.patterns[pattern].duration_ps
    assert all(moment.time_ps >= ends[moment.token] for moment in line.commits)
