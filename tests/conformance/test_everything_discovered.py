"""Does everything that is found by its name load, say its sources, and run?"""

from __future__ import annotations

import pytest
from speedsim import load_gpu, load_model, load_plan, load_stack
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.program import Ids, Text, watched
from speedsim.registry import names
from speedsim.result import answer
from speedsim.scenario import Scenario
from speedsim.schedule_names import canonical, schedule_named
from speedsim.trace import synthetic
from worlds import decode, play, sequence

FLIPS = {g: "+".join(["0.1"] * (g - 1)) for g in (1, 2, 3, 4, 6, 8, 12, 32)}


def synth(repetitions: int, count: int = 12) -> str:
    return f"flips={FLIPS[repetitions]},count={count}" if repetitions > 1 else f"count={count}"


@pytest.mark.parametrize("name", names("gpus"))
def test_a_gpu_answers_and_every_number_has_a_kind(name):
    gpu = load_gpu(name)
    assert gpu.value.name == name
    assert gpu.provenance["hbm.bandwidth"].kind
    result = answer(Scenario(gpu=name, synth=synth(6)))
    assert result.speedup > 0
    for _, line in result.runs.values():
        assert line.decode_ps >= sum(line.counters.hbm_bytes.values()) / gpu.value.hbm.bandwidth_bytes_per_s * 1e12 - 1


@pytest.mark.parametrize("name", names("models"))
def test_a_model_answers(name):
    model = load_model(name).value
    assert model.name == name
    result = answer(Scenario(model=name, synth=synth(model.repetitions)))
    assert result.speedup > 0
    plain = result.timeline(result.plain_key)
    assert plain.counters.requested_bytes["weights"] == 12 * (
        model.repetitions * model.group_bytes + (model.prelude + model.coda) * model.layer_bytes
    )
    assert plain.counters.requested_bytes["head"] == 12 * model.head_bytes


@pytest.mark.parametrize("stack", names("stacks"))
@pytest.mark.parametrize("control", ["host", "lagged:2", "device"])
@pytest.mark.parametrize("launch", ["eager", "stream", "graph"])
def test_a_stack_answers_under_every_control_and_launch(stack, control, launch):
    load_stack(stack)
    assert answer(Scenario(stack=stack, control=control, launch=launch, synth=synth(6))).speedup > 0


@pytest.mark.parametrize("name", names("plans"))
def test_a_plan_names_every_matrix_of_a_layer_once(name):
    plan = load_plan(name).value
    steps = [op for step in (*plan.attention, *plan.cross, *plan.ffn) for op in step.split("+")]
    matrices = [step for step in steps if step.startswith("linear:")]
    assert sorted(matrices) == sorted(f"linear:{w}" for w in ("qkv", "out", "cross_q", "cross_out", "up", "down"))
    assert steps.count("attention") == steps.count("kv_write") == 1


@pytest.mark.parametrize("name", names("schedules"))
class TestASchedule:
    """The contract of every schedule found in sim/schedules."""

    def run(self, name, s):
        made, _ = schedule_named(name)
        return decode(made, s, StrictOracle(TraceOracle({s.id: s})))

    def test_commits_each_token_once_and_in_order(self, name):
        s = synthetic([0.4, 0.2, 0.1], 4, 40, seed=2).sequences[0]
        played = self.run(name, s)
        position = {r.token: r.position for p in played.passes for r in p.rows}
        assert [position[t] for t, _ in played.commits] == list(range(s.first, s.first + s.count))

    def test_ends_when_every_guess_is_wrong_and_is_no_faster_than_plain_decoding(self, name):
        s = sequence([[1, 2, 3, 4]] * 20)
        assert len(self.run(name, s).passes) >= 80

    def test_reaches_the_bound_when_every_guess_is_right(self, name):
        s = sequence([[5, 5, 5, 5]] * 20)
        assert len(self.run(name, s).passes) in (80, 23)

    def test_does_the_same_twice(self, name):
        s = synthetic([0.4, 0.2, 0.1], 4, 40, seed=3).sequences[0]
        assert self.run(name, s).passes == self.run(name, s).passes

    def test_issues_no_row_before_its_parent_has_been_read(self, name):
        s = synthetic([0.4, 0.2, 0.1], 4, 40, seed=4).sequences[0]
        read: set[tuple[int, int]] = set()
        for item in self.run(name, s).passes:
            for row in item.rows:
                assert row.depth > 0 or row.source is None or row.source in read
            read |= {(r.token, r.depth + item.repetitions) for r in item.rows if r.token in item.exits}

    def test_has_one_canonical_name(self, name):
        made, text = schedule_named(name)
        assert text == name == canonical(name, made)

    def test_never_learns_the_end_of_a_text_before_it_commits_it(self, name):
        rows = [[5, 5, 5, 5]] * 6
        ending, going_on = sequence(rows, "eos"), sequence([*rows, [5, 5, 5, 5]], "eos")
        passes = []
        for s in (ending, going_on):
            made, _ = schedule_named(name)
            oracle = StrictOracle(TraceOracle({0: s}))
            passes.append(play(watched(made.program(oracle, Text(0, 0, None, 4), Ids()), oracle)).passes)
        assert passes[0] == passes[1][:len(passes[0])]
