"""What holds before the first token: the prompt's pass, the encoder, the filling of the pipeline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from speedsim import Scenario, load_gpu, load_model, load_plan, load_stack
from speedsim.kernels.lower import Lowering, prefill_shape
from speedsim.machine.build import prefill_ps
from speedsim.result import answer
from speedsim.scenario import play, resolve, tallied
from worlds import WHOLE, speed_shape, tiny_stack

SOURCE = 100
SYNTH = "flips=0.2+0.1+0.05+0.03+0.02,count=24,first=1"


def lowered(tokens, source, **shape):
    model = speed_shape(cross_attention=True, **shape)
    plan = replace(WHOLE, cross=("linear:cross_q", "cross_attention", "linear:cross_out"))
    return model, Lowering(model, plan, tiny_stack().kernels, "none", 100).kernels(
        prefill_shape(tokens, model.repetitions, source))


def flop(kernels, begins):
    return sum(kernel.demand.flop for kernel in kernels if kernel.name.startswith(begins))


def test_an_encoder_multiplies_its_layers_weights_with_every_source_token_and_attends_both_ways():
    model, kernels = lowered(1, SOURCE, encoder_layers=3)
    weights = sum(n * k for name, (n, k) in model.linear.items() if not name.startswith("cross"))
    assert flop(kernels, "encoder.") == 3 * (2 * SOURCE * weights + 4 * SOURCE**2 * 12 * 64)


def test_keys_and_values_of_the_source_are_made_once_for_each_unique_layer():
    model, kernels = lowered(1, SOURCE, encoder_layers=3)
    assert flop(kernels, "cross_kv.") == model.group_layers * 2 * SOURCE * 768 * 2 * 768
    assert sum(kernel.name.startswith("cross_kv.") for kernel in kernels) == 2


def test_every_token_of_a_prompt_attends_to_the_whole_source():
    model, kernels = lowered(7, SOURCE, encoder_layers=0)
    each = [kernel.demand.flop for kernel in kernels if kernel.name.endswith(".cross_attention")]
    assert each == [7 * SOURCE * 4 * 12 * 64] * model.group_layers * model.repetitions


def test_an_encoder_reads_no_tensor_of_the_decoder():
    _, kernels = lowered(3, SOURCE, encoder_layers=2)
    ahead, behind = (
        {access.tensor for kernel in kernels for access in kernel.demand.reads
         if access.tensor.kind != "activations" and kernel.name.startswith(("encoder.", "cross_kv.")) == before}
        for before in (True, False)
    )
    assert ahead
    assert behind
    assert not ahead & behind


def test_the_encoder_alone_is_what_stands_before_an_empty_prompt():
    gpu, stack, plan = load_gpu("h200_sxm").value, load_stack("torch_graph").value, load_plan("graph_fused").value
    model = load_model("speed_2x6_cross").value
    times = [prefill_ps(gpu, stack, model, plan, "graph", "fluid", prompt, source)
             for prompt, source in ((0, 0), (0, 256), (8, 256), (8, 1024))]
    assert times[0] == 0
    assert times == sorted(set(times))
    assert prefill_ps(gpu, stack, replace(model, encoder_layers=0), plan, "graph", "fluid", 0, 256) == 0


def test_time_to_the_first_token_is_prefill_and_the_filling_of_the_pipeline():
    result = answer(Scenario(model="speed_2x6_cross", synth=f"{SYNTH},source_tokens=512"))
    for figures in result.figures.values():
        assert figures["time_to_first_token_us"] == pytest.approx(figures["prefill_us"] + figures["pipeline_fill_us"])
        assert figures["end_to_end_us"] == pytest.approx(figures["prefill_us"] + figures["total_us"])
    assert 1 < result.gain["end_to_end_speedup"] < result.gain["speedup"]


def test_a_tallied_prompt_has_its_encoder():
    side = resolve(Scenario(model="speed_2x6_cross", synth=f"{SYNTH},source_tokens=64"))
    tally, line = tallied(side), play(side)
    kernels = [sum(map(len, kind.passes)) for kind, often in zip(tally.kinds, tally.often[-1], strict=True) if often]
    assert kernels == [len(Lowering(side.model.value, side.plan.value, side.stack.value.kernels, "hopper", 132).kernels(
        prefill_shape(1, 6, 64)))]
    assert line.decodes[0].prefill_ps > 0
