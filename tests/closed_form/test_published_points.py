"""What others have measured, predicted without any fit to it.

Linear layers: aiconfigurator 095f58a5, bf16, one row, CUDA graph, six buffers of weights in rotation, the gap between
nodes included. L2: gpu-benches (RRZE-HPC 1038c5d0), gpu-l2-cache; figures derived from its curves: the plateau, the
memory's floor, and the footprint at which the bandwidth is half-way between them. Llama: HazyResearch's blog on
megakernels.
"""

from __future__ import annotations

import pytest
from speedsim import load_gpu, load_stack
from speedsim.kernels.demand import Grid
from speedsim.machine.fluid import FluidDevice
from speedsim.machine.l2 import Residency
from speedsim.machine.work import Work, alone
from speedsim.metrics import Peaks, figures
from speedsim.one_kernel import COLD, ROTATED, Bench, Linear
from speedsim.scenario import Scenario, run

US = 1_000_000
MIB = 2**20


def linear_us(card, n, k, buffers=ROTATED):
    """A linear layer of one row in a graph, with the gap before each of its kernels."""
    bench = Bench(load_gpu(card).value, load_stack("torch_graph").value)
    return bench.predict(Linear(1, n, k), buffers).time_ps / US


def test_a_square_linear_layer_of_32_mib_on_an_h200():
    assert linear_us("h200_sxm", 4096, 4096, COLD) == pytest.approx(12.5, rel=0.15)


def test_a_square_linear_layer_of_512_mib_on_an_h200():
    assert linear_us("h200_sxm", 16384, 16384, COLD) == pytest.approx(125, rel=0.08)


@pytest.mark.parametrize(("card", "floor"), [
    ("h200_sxm", 2.5), ("h100_sxm", 2.55), ("a100_sxm", 2.48), ("b200_sxm", 1.8), ("l40s", 2.0),
    ("rtx_pro_6000_server", 2.1),
])
def test_the_smallest_linear_layer_in_a_graph(card, floor):
    """Node, ramp, one step and drain, each once."""
    assert linear_us(card, 32, 64) == pytest.approx(floor, rel=0.10)


BLOCK = 512 * 1024


def read_again(gpu, footprint):
    """Bytes per second of blocks that read one footprint again and again: gpu-l2-cache.

    Two blocks of 1,024 threads on an SM, each of which reads 512 KiB; 100 GB in all.
    """
    cache = Residency(gpu.l2)
    hit = [cache.read("footprint", footprint) for _ in range(3)][-1]
    blocks = 200_000
    size = blocks * BLOCK
    item = Work("read", "elementwise", "bf16", 0, size, int(size * (1 - hit)), Grid(blocks, 1, 32_768, 2))
    return size / alone(FluidDevice(gpu), item).duration_ps * 1e12


def half_way(gpu, plateau, floor):
    """The footprint at which the bandwidth is half-way between its plateau and its floor."""
    low, high = 0, 4 * gpu.l2.capacity_bytes
    while high - low > MIB // 16:
        middle = (low + high) // 2
        low, high = (middle, high) if read_again(gpu, middle) > (plateau + floor) / 2 else (low, middle)
    return high / MIB


@pytest.mark.parametrize(("card", "plateau", "knee", "floor"), [
    ("gh200_96", 9.77e12, 50.0, 3.888e12),
    ("h100_pcie", 6.92e12, 42.5, 1.989e12),
    ("a100_sxm", 5.43e12, 32.8, 1.87e12),
    ("l40", 5.22e12, 101.7, 0.844e12),
])
def test_reading_a_footprint_again_and_again(card, plateau, knee, floor):
    """Plateau and floor in bytes per second; knee: MiB at which the bandwidth is half-way between them."""
    gpu = load_gpu(card).value
    assert read_again(gpu, gpu.l2.capacity_bytes // 2) == pytest.approx(plateau, rel=0.08)
    assert read_again(gpu, 3 * gpu.l2.capacity_bytes) == pytest.approx(floor, rel=0.08)
    assert half_way(gpu, plateau, floor) == pytest.approx(knee, rel=0.08)


def bandwidth_use(launch=None):
    """Decoding of one sequence on an H100 SXM, a short context: the share of the memory's bandwidth in use."""
    gpu = load_gpu("h100_sxm").value
    peaks = Peaks(gpu.hbm.bandwidth_bytes_per_s, gpu.sm.peak_flop_per_s["bf16"], gpu.sm.clock_hz)
    scenario = Scenario(gpu="h100_sxm", model="llama_3_2_1b", tier="fluid", schedule="autoregressive",
                        synth="count=50", launch=launch)
    return figures(run(scenario), peaks)["mbu"]


def test_an_ordinary_stack_uses_half_of_the_bandwidth_on_llama_3_2_1b():
    assert bandwidth_use() == pytest.approx(0.50, abs=0.08)


def test_a_persistent_kernel_uses_78_percent_of_the_bandwidth_on_llama_3_2_1b():
    assert bandwidth_use("persistent") == pytest.approx(0.78, abs=0.08)
