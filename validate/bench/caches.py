"""The L2 from three sides: reads against footprint, six weight buffers in rotation, a pointer chase.

    private   each line is read by one SM, again and again: the plateau is the L2's rate, behind the knee the memory's
    shared    every SM reads every line: what a weight matrix looks like to several waves of blocks
    rotation  y = W_i x over six matrices in turn: a matrix is read again after 6 W bytes, as public benchmarks of
              linear layers do; the knee tells which part of W still hits
    chase     one thread, one load at a time: latency of the near and far side, and of the memory

A processor has caches too: there `private` is one thread's sum over the footprint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from ..refusal import NotMeasuredError
from ..units import capture
from .cuda import kernels
from .experiment import Bench, Experiment

MB = 1_000_000
FOOTPRINTS_MB = (1, 2, 4, 8, 12, 16, 20, 24, 26, 28, 30, 32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 63,
                 66, 70, 75, 80, 90, 100, 120, 150, 200, 300, 400)
"""Dense around the capacities of current cards: 40, 50 and 60 MiB."""
CPU_FOOTPRINTS_MB = (1, 2, 4, 8, 16, 32, 64, 128, 256)
THREADS = 512
BLOCKS_PER_SM = 4
BUFFERS = 6


def footprints(bench: Bench) -> tuple[int, ...]:
    """Footprints in MB for this device."""
    if bench.quick:
        return (1, 8, 32)
    return FOOTPRINTS_MB if bench.cuda else CPU_FOOTPRINTS_MB


def _read_points(bench: Bench) -> Iterable[dict[str, Any]]:
    sharings = ("private", "shared") if bench.cuda else ("private",)
    return ({"sharing": s, "footprint_mb": mb} for s in sharings for mb in footprints(bench))


def _read(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Bandwidth of reading a footprint again and again."""
    size = point["footprint_mb"] * MB
    data = bench.random(size // 4)
    if not bench.cuda:
        found = bench.time(data.sum)
        return {"bytes_per_s": size / found["median_us"] * 1e6, "passes": 1, **found}
    cuda, sink = kernels(), torch.zeros(1, device=bench.device)
    sms = torch.cuda.get_device_properties(bench.device).multi_processor_count
    blocks, shared = sms * BLOCKS_PER_SM, point["sharing"] == "shared"
    once = size * (blocks if shared else 1)
    passes = max(1, min(2000, (40_000 if shared else 8_000) * MB // once))

    def work() -> None:
        cuda.call("l2_read", data, size, passes, int(shared), blocks, THREADS, sink)

    found = bench.time(work, 1)
    return {"bytes_per_s": once * passes / found["median_us"] * 1e6, "passes": passes, **found}


READS = Experiment(
    "l2_reads", "read bandwidth against footprint, past the L1", ("sharing", "footprint_mb"), ("bytes_per_s", "passes"),
    _read_points, _read, 30)


def _rotation_points(bench: Bench) -> Iterable[dict[str, Any]]:
    totals = (6, 12) if bench.quick else (20, 25, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57, 60, 63, 66, 70, 75, 80, 90)
    return ({"total_mb": total, "rows": rows} for total in totals for rows in ((1,) if bench.quick else (1, 6)))


def _rotation(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Six square-ish linear layers in rotation inside one graph; time of one."""
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    k = 1024
    n = point["total_mb"] * MB // (BUFFERS * k * dtype.itemsize) // 8 * 8
    weights = [bench.random(n, k, dtype=dtype) for _ in range(BUFFERS)]
    x = bench.random(point["rows"], k, dtype=dtype)

    def work() -> None:
        for weight in weights:
            torch.nn.functional.linear(x, weight)

    launch: Callable[[], object] = capture(work).replay if bench.cuda else work
    found = bench.time(launch)
    for column in ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us"):
        found[column] /= BUFFERS
    size = n * k * dtype.itemsize
    return {"n": n, "k": k, "bytes": size, "bytes_per_s": size / found["median_us"] * 1e6, **found}


ROTATION = Experiment(
    "rotation", "one of six linear layers in rotation (one graph), by the bytes of all six", ("total_mb", "rows"),
    ("n", "k", "bytes", "bytes_per_s"), _rotation_points, _rotation, 15)


def _chase_points(bench: Bench) -> Iterable[dict[str, Any]]:
    sizes = (1,) if bench.quick else (1, 4, 8, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 120, 200, 400, 1000)
    return ({"footprint_mb": mb} for mb in sizes)


def _chase(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Cycles and time of one dependent load, in a random cyclic order of 128-byte lines."""
    if not bench.cuda:
        raise NotMeasuredError("a pointer chase needs compiled code")
    lines = point["footprint_mb"] * MB // 128
    order = np.random.default_rng(bench.seed).permutation(lines).astype(np.int64)
    following = np.zeros(lines * 32, dtype=np.int32)
    following[order * 32] = np.roll(order, -1) * 32
    table = torch.from_numpy(following).to(bench.device)
    place = torch.full((1,), int(order[0]) * 32, dtype=torch.int32, device=bench.device)
    cycles = torch.zeros(1, dtype=torch.int64, device=bench.device)
    cuda, steps = kernels(), min(4 * lines, 100_000)
    cuda.call("pointer_chase", table, 2 * lines if lines < 1_000_000 else lines, place, cycles)
    found = bench.time(lambda: cuda.call("pointer_chase", table, steps, place, cycles), 1)
    for column in ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us"):
        found[column] /= steps
    return {"cycles": cycles.item() / steps, "steps": steps, **found}


CHASE = Experiment(
    "chase", "one dependent load of a random cyclic chase, by footprint", ("footprint_mb",), ("cycles", "steps"),
    _chase_points, _chase, 25)
