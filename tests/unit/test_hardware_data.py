"""The shipped GPUs and torch stacks: they load, every number says who claims it, the figures are the reference's."""

from __future__ import annotations

from pathlib import Path

import pytest
from speedsim.config import Loaded, load
from speedsim.hardware import Gpu
from speedsim.stack import Stack

FOLDER = Path(__file__).parents[2] / "hw_configs"
TWO_SIDED = (
    "h200_sxm", "h200_nvl", "h100_sxm", "h100_pcie", "gh200_96", "a100_sxm", "a100_sxm_40", "b200_sxm", "b300_sxm",
    "gb200", "gb300",
)
ONE_SIDED = (
    "l40s", "l40", "l4", "rtx_pro_6000_server", "rtx_pro_6000_workstation", "rtx_a5000", "rtx_a6000", "a40", "t4",
    "v100_sxm2", "rtx_3090", "rtx_4090", "rtx_5090", "mi300x", "jetson_agx_orin",
)
NAMES = (*TWO_SIDED, *ONE_SIDED)


def gpu(name: str) -> Loaded[Gpu]:
    return load(Gpu, FOLDER / "gpus" / f"{name}.yaml")


def test_every_promised_gpu_is_shipped() -> None:
    assert {path.stem for path in (FOLDER / "gpus").glob("*.yaml")} >= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_bears_its_files_name(name: str) -> None:
    assert gpu(name).value.name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_number_of_a_gpu_names_a_source(name: str) -> None:
    silent = [key for key, claim in gpu(name).provenance.items() if not claim.source]
    assert silent == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_parent_card_is_fitted(name: str) -> None:
    assert not [key for key, claim in gpu(name).provenance.items() if claim.kind in ("fitted", "what_if")]


@pytest.mark.parametrize("name", NAMES)
def test_the_hit_curve_falls_from_one_to_zero(name: str) -> None:
    curve = gpu(name).value.l2.hit_curve
    xs, hits = zip(*curve, strict=True)
    assert list(xs) == sorted(set(xs))
    assert list(hits) == sorted(hits, reverse=True)
    assert (curve[0], hits[-1]) == ((0, 1), 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_copying_l2_keeps_its_plateau_to_seven_tenths_and_a_one_sided_one_to_its_size(name: str) -> None:
    l2 = gpu(name).value.l2
    plateau = max(x for x, hit in l2.hit_curve if hit == 1)
    assert l2.sides == (2 if name in TWO_SIDED else 1)
    assert (0.68 <= plateau <= 0.72) if l2.sides == 2 else (0.93 <= plateau <= 1)


@pytest.mark.parametrize("name", NAMES)
def test_rates_are_ordered_read_physical_l2(name: str) -> None:
    card = gpu(name).value
    assert 0.7 < card.hbm.read_fraction < 1
    assert card.hbm.bandwidth_bytes_per_s < card.l2.bandwidth_bytes_per_s
    assert abs(card.hbm.bandwidth_bytes_per_s / (card.hbm.label_bandwidth_bytes_per_s or 0) - 1) < 0.03


@pytest.mark.parametrize("name", NAMES)
def test_latencies_rise_with_the_way(name: str) -> None:
    card = gpu(name).value
    steps = [t for t in (card.l2.near_latency_ps, card.l2.far_latency_ps, card.hbm.latency_ps) if t is not None]
    assert steps == sorted(steps)


@pytest.mark.parametrize("name", NAMES)
def test_the_peak_is_within_reach_of_the_tensor_cores_at_its_clock(name: str) -> None:
    # FLOP per clock and SM is a power of two; the peak's clock carries the rounding of the data sheet.
    sm = gpu(name).value.sm
    assert sm.peak_clock_hz is not None
    peak = sm.peak_flop_per_s.get("bf16") or sm.peak_flop_per_s["fp16"]
    per_clock = peak / (sm.count * sm.peak_clock_hz)
    assert min(abs(per_clock / 2**power - 1) for power in range(9, 14)) < 0.015
    assert sm.peak_clock_hz <= sm.clock_hz * 1.001


@pytest.mark.parametrize(("name", "bandwidth", "label", "sms", "l2", "bf16"), [
    ("h200_sxm", 4917e9, 4800e9, 132, 60 * 2**20, 989.4e12),
    ("h100_sxm", 3352e9, 3350e9, 132, 50 * 2**20, 989.4e12),
    ("a100_sxm", 2039e9, 2039e9, 108, 40 * 2**20, 312e12),
    ("rtx_a5000", 768e9, 768e9, 64, 6 * 2**20, 111.1e12),
    ("l40s", 864e9, 864e9, 142, 96 * 2**20, 362e12),
    ("rtx_pro_6000_server", 1597e9, 1597e9, 188, 128 * 2**20, 467.8e12),
])
def test_the_six_first_cards_have_the_references_figures(
    name: str, bandwidth: float, label: float, sms: int, l2: int, bf16: float,
) -> None:
    card = gpu(name).value
    assert card.hbm.bandwidth_bytes_per_s == bandwidth
    assert card.hbm.label_bandwidth_bytes_per_s == label
    assert (card.sm.count, card.l2.capacity_bytes, card.sm.peak_flop_per_s["bf16"]) == (sms, l2, bf16)


def test_a_h200s_rate_is_its_memory_clock_times_its_bus() -> None:
    assert gpu("h200_sxm").value.hbm.bandwidth_bytes_per_s == pytest.approx(2 * 3201e6 * 6144 / 8, rel=1e-4)


@pytest.mark.parametrize(("name", "gap_ps"), [
    ("gh200_96", 1_270_000), ("a100_sxm", 1_370_000), ("a40", 1_100_000), ("l40", 960_000),
])
def test_the_gap_of_graph_nodes_is_the_measured_one(name: str, gap_ps: int) -> None:
    loaded = gpu(name)
    assert loaded.value.launch.node_gap_ps == gap_ps
    assert loaded.provenance["launch.node_gap"].kind == "measured"


def test_what_was_measured_on_another_card_is_called_assumed() -> None:
    claims = gpu("h200_sxm").provenance
    for key in ("l2.hit_curve", "launch.node_gap", "launch.stream_gap", "launch.barrier"):
        assert claims[key].kind == "assumed"
        assert "GH200" in (claims[key].source or "")


def test_a_variant_states_only_what_differs() -> None:
    nvl, sxm = gpu("h200_nvl"), gpu("h200_sxm")
    assert nvl.parents == ("h200_sxm",)
    assert nvl.value.hbm.capacity_bytes == sxm.value.hbm.capacity_bytes
    assert nvl.value.l2.bandwidth_bytes_per_s < sxm.value.l2.bandwidth_bytes_per_s


def test_a_stack_captures_every_row_count_and_decides_on_the_host() -> None:
    stack = load(Stack, FOLDER / "stacks" / "torch_graph.yaml").value
    assert (stack.launch, stack.control, stack.plan, stack.widths) == ("graph", "host", "graph_fused", None)


def test_the_eager_stack_differs_in_launch_and_plan_alone() -> None:
    graph, eager = (load(Stack, FOLDER / "stacks" / f"torch_{name}.yaml").value for name in ("graph", "eager"))
    assert (eager.launch, eager.plan) == ("eager", "eager")
    assert (eager.host, eager.kernels, eager.uncertainty) == (graph.host, graph.kernels, graph.uncertainty)


@pytest.mark.parametrize("name", ["torch_eager", "torch_graph"])
def test_a_range_of_a_stack_holds_the_factor_or_lies_above_the_lower_bound(name: str) -> None:
    ranges = load(Stack, FOLDER / "stacks" / f"{name}.yaml").value.uncertainty
    assert ranges.host[0] < 1 < ranges.host[1]
    assert ranges.launch[0] < 1 < ranges.launch[1]
    # A kernel is never faster than its roofline.
    assert 1 <= ranges.device["roofline"][0] < ranges.device["roofline"][1]
    assert ranges.device["fluid"][0] < 1 < ranges.device["fluid"][1]
