"""Passes on the cycle tier: sampling costs less than half a percent, the cache alone decides, bytes are kept."""

from __future__ import annotations

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

from cycle_worlds import GPU, HBM3
from speedsim.catalog import load_plan, load_stack
from speedsim.kernels.lower import Lowering, PassShape, RowShape
from speedsim.machine.computed import Cache, Computed
from speedsim.machine.cycle_device import CycleDevice
from speedsim.machine.cycle_passes import LineComputer
from speedsim.machine.l2 import Residency
from speedsim.model import Dtypes, Model

STACK = load_stack("torch_graph").value
PLAN = load_plan(STACK.plan).value
TINY = Model(name="tiny", title="eight equal layers", d_model=128, q_heads=2, kv_heads=2, head_dim=64, ffn=256,
             gated=False, vocab=512, group_layers=8, repetitions=2,
             dtype=Dtypes(weights="bf16", kv="bf16", activations="bf16"))


def computer(exact: bool = False) -> LineComputer:
    device = CycleDevice(GPU, HBM3, STACK.kernels, exact)
    lowering = Lowering(TINY, PLAN, STACK.kernels, GPU.generation, GPU.sm.count)
    return LineComputer(lowering, device, Cache(Residency(GPU.l2)), GPU.energy, {})


def shape(depth: int) -> PassShape:
    return PassShape((RowShape(0, depth, 128, True),), 1, int(depth == 0), 1)


def time_of(computed: Computed) -> int:
    return sum(kernel.duration_ps for kernel in computed.kernels)


def test_sampling_a_class_of_kernels_changes_a_pass_by_less_than_half_a_percent():
    sampled, exact = computer(), computer(exact=True)
    for depth in (0, 1, 0):
        assert time_of(sampled.run(shape(depth))) == pytest.approx(time_of(exact.run(shape(depth))), rel=0.005)


def test_a_pass_depends_on_its_shape_and_the_recency_list_alone():
    one, two = computer(exact=True), computer(exact=True)
    first = [one.run(shape(depth)) for depth in (0, 1)]
    two.run(shape(0))
    two.once(shape(1))  # something else moves the lines
    assert time_of(two.run(shape(1))) == time_of(first[1])


def test_weights_that_stay_in_the_cache_are_read_from_memory_once():
    passes = computer()
    cold, warm = passes.run(shape(0)), passes.run(shape(1))
    weights = cold.requested["weights"]
    assert cold.hbm["weights"] == pytest.approx(weights, rel=0.01)
    assert warm.hbm["weights"] < 0.4 * weights
    assert time_of(warm) < time_of(cold)


def test_a_warning_of_the_timing_set_is_a_note_of_the_answer(tmp_path):
    from speedsim.scenario import Scenario, resolve

    (tmp_path / "short.yaml").write_text("extends: hbm3_6400\nrc: {value: 30 ns, kind: what_if}\n")
    made = resolve(Scenario(tier="cycle", sets=(("hbm.timing", str(tmp_path / "short.yaml")),)))
    assert any("the sum holds" in note for note in made.notes)
