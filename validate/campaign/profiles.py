"""Names: which kernel the library chose for a linear layer, and which kernels a pass consists of.

Both come from torch's own profiler, which needs no counters and no privileges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.autograd.profiler_util import DeviceType
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from ..bench.experiment import Bench, Experiment
from ..refusal import NotMeasuredError
from .cases import decoder_for, model_for, pass_work, seated_rows

SIZES = (32, 64, 128, 256, 512, 768, 1024, 1536, 2048, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288,
         16384, 51200, 65536)
"""n and k of the public kernel tables (aiconfigurator 095f58a5): every pair but the largest, 483 cells."""


def kernel_names(work: Callable[[], object]) -> list[tuple[str, float]]:
    """(name, microseconds) of each kernel that `work` runs, in order of its start."""
    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
        work()
        torch.cuda.synchronize()
    events = [e for e in seen.events() if e.device_type == DeviceType.CUDA]
    events.sort(key=lambda e: e.time_range.start)
    return [(e.name, float(e.time_range.elapsed_us())) for e in events if not e.name.startswith(("Mem", "Activity"))]


def _name_points(bench: Bench) -> Iterable[dict[str, Any]]:
    sizes = (32, 128) if bench.quick else SIZES
    return ({"n": n, "k": k, "rows": r} for n in sizes for k in sizes for r in (1, 8, 64) if n * k < 65536**2)


def _name(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """The kernels of one bf16 linear layer."""
    n, k = point["n"], point["k"]
    if bench.kept.get("cell") != (n, k):
        bench.kept.clear()
        bench.kept.update(cell=(n, k), weight=bench.random(n, k, dtype=torch.bfloat16))
    x = bench.random(point["rows"], k, dtype=torch.bfloat16)
    weight = bench.kept["weight"]
    found = kernel_names(lambda: functional.linear(x, weight))
    if not found:
        raise NotMeasuredError("the profiler saw no kernel")
    return {"kernels": len(found), "names": " | ".join(name for name, _ in found),
            "each_us": " | ".join(f"{us:.2f}" for _, us in found), "median_us": sum(us for _, us in found),
            "repeats": 1, "remark": "profiled once"}


KERNEL_NAMES = Experiment(
    "kernel_names", "kernels that the library chose for a bf16 linear layer", ("n", "k", "rows"),
    ("kernels", "names", "each_us"), _name_points, _name, 150, ("cuda",))


def _pass_points(bench: Bench) -> Iterable[dict[str, Any]]:
    models = ("speed_2x6",) if bench.quick else ("speed_2x6", "speed_4x3", "speed_12l", "ouro_1_4b", "llama_7b")
    return ({"model": m, "plan": plan, "rows": r, "heads": h} for m in models for plan in ("graph_fused", "eager")
            for r in (1, 6) for h in (0, r))


def _pass(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """The kernels of one pass launched without a graph, counted by name."""
    model = model_for(bench, point["model"])
    seated = seated_rows(point["rows"], 256, model.repetitions, point["heads"])
    try:
        work, _ = pass_work(decoder_for(bench, model), seated, "eager", wanted=point["plan"])
    except ImportError:
        raise NotMeasuredError("Triton is absent") from None
    found = kernel_names(work)
    counts = Counter(name for name, _ in found)
    return {"kernels": len(found), "names": " | ".join(f"{n} x {name}" for name, n in counts.most_common()),
            "each_us": "", "median_us": sum(us for _, us in found), "repeats": 1, "remark": "profiled once"}


PASS_KERNELS = Experiment(
    "pass_kernels", "kernels of one pass, to compare with its execution plan", ("model", "plan", "rows", "heads"),
    ("kernels", "names", "each_us"), _pass_points, _pass, 30, ("cuda",))
