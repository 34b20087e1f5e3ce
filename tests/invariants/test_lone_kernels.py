"""Are kernels that have the device to themselves the same picoseconds as arrays and on the event-driven device?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from speedsim.catalog import load_gpu, load_stack
from speedsim.many_kernels import Many
from speedsim.one_kernel import COLD, ROTATED, WARM, Attention, Bench, Linear

LAYERS = [Linear(m, n, k) for m in (1, 7, 64) for n in (32, 1000, 4096, 65536) for k in (32, 1000, 4096, 16384)]
HEADS = [Attention(b, c, 32, kv, 128) for b in (1, 5, 32) for c in (2, 1000, 20000) for kv in (1, 8, 32)]


@pytest.mark.parametrize("gpu", ["h200_sxm", "b200_sxm", "l40s", "rtx_3090"])
@pytest.mark.parametrize(("layers", "buffers"), [(LAYERS, ROTATED), (LAYERS, COLD), (HEADS, WARM), (HEADS, COLD)])
def test_many_kernels_take_what_each_takes_by_itself(gpu, layers, buffers):
    chip, stack = load_gpu(gpu).value, load_stack("vllm_0_24").value
    bench = Bench(chip, stack)
    assert (Many(layers, buffers, chip, stack.kernels).times_us(chip, stack.kernels) * 1e6).round().tolist() == [
        bench.predict(layer, buffers).time_ps for layer in layers]


def test_other_numbers_of_the_device_need_no_lowering():
    chip, stack = load_gpu("h200_sxm").value, load_stack("vllm_0_24").value
    many = Many(LAYERS, ROTATED, chip, stack.kernels)
    slow = replace(chip, hbm=replace(chip.hbm, read_fraction=0.5, latency_ps=900_000),
                   l2=replace(chip.l2, usable_fraction=0.6))
    gemm = replace(stack.kernels.gemm, hbm_share={"default": 0.8}, l2_share={"default": 0.4},
                   step_cycles={"default": 200.0}, fixed_ps={"default": 1_100_000}, join_fixed_ps={"default": 200_000})
    other = replace(stack, kernels=replace(stack.kernels, gemm=gemm))
    told = many.times_us(slow, other.kernels)
    assert (told * 1e6).round().tolist() == [Bench(slow, other).predict(layer, ROTATED).time_ps for layer in LAYERS]
