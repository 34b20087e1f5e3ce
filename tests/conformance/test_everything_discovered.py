"""Does everything that is found by its name load, say its sources, and run?"""

from __future__ import annotations

import pytest
from speedsim import load_gpu, load_model, load_plan, load_stack
from speedsim.catalog import load_acceptance
from speedsim.registry import names
from speedsim.result import answer
from speedsim.scenario import Scenario
from speedsim.traces.acceptance import EVERYONE, Described

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


@pytest.mark.parametrize("name", names("acceptance"))
def test_an_acceptance_table_answers_and_says_where_it_is_from(name):
    loaded = load_acceptance(name)
    assert loaded.value.name == name
    assert all(claim.source for claim in loaded.provenance.values())
    assert len(Described({EVERYONE: loaded.value}).ranks("anyone", 0, 0, 5)) <= 5


@pytest.mark.parametrize("name", names("plans"))
def test_a_plan_names_every_matrix_of_a_layer_once(name):
    plan = load_plan(name).value
    steps = [op for step in (*plan.attention, *plan.cross, *plan.ffn) for op in step.split("+")]
    matrices = [step for step in steps if step.startswith("linear:")]
    assert sorted(matrices) == sorted(f"linear:{w}" for w in ("qkv", "out", "cross_q", "cross_out", "up", "down"))
    assert steps.count("attention") == steps.count("kv_write") == 1
