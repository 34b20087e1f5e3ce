"""Arithmetic: matrix rates, the clock under load, linear layers of few rows, and the small kernels of an exit."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional

from ..refusal import NotMeasuredError
from ..units import capture
from .cuda import kernels
from .experiment import Bench, Experiment

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def launched(bench: Bench, work: Callable[[], object]) -> Callable[[], object]:
    """The work as it runs in a decode: inside a graph where there are graphs."""
    return capture(work).replay if bench.cuda else work


def _matrix_points(bench: Bench) -> Iterable[dict[str, Any]]:
    if bench.quick:
        return ({"dtype": "fp32", "size": 256},)
    if not bench.cuda:
        return ({"dtype": d, "size": s} for d in ("fp32", "bf16") for s in (512, 1024, 2048))
    return ({"dtype": d, "size": s} for d in ("bf16", "fp16", "fp8", "tf32", "fp32") for s in (1024, 2048, 4096, 8192))


def _matrix(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Dense square products of random data."""
    n, dtype = point["size"], point["dtype"]
    work = _product(bench, n, dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    try:
        found = bench.time(work)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    return {"flop_per_s": 2 * n**3 / found["median_us"] * 1e6, **found}


def _product(bench: Bench, n: int, dtype: str) -> Callable[[], object]:
    if dtype == "fp8":
        eight = getattr(torch, "float8_e4m3fn", None)
        if eight is None or torch.cuda.get_device_capability() < (8, 9):
            raise NotMeasuredError("this card has no fp8")
        a = bench.random(n, n).to(eight)
        b = bench.random(n, n).to(eight).t()
        one = torch.ones((), device=bench.device)
        return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    a, b = bench.random(n, n, dtype=DTYPES[dtype]), bench.random(n, n, dtype=DTYPES[dtype])
    return lambda: a @ b


MATRICES = Experiment(
    "matrices", "dense square matrix products of random data", ("dtype", "size"), ("flop_per_s",), _matrix_points,
    _matrix, 20)


def _clock(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Cycles a second while every SM is busy."""
    cuda = kernels()
    sms = torch.cuda.get_device_properties(bench.device).multi_processor_count
    cycles, elapsed = (torch.zeros(1, dtype=torch.int64, device=bench.device) for _ in range(2))
    found = bench.time(lambda: cuda.call("clock_spin", sms * 4, 512, point["span_us"] * 1000, cycles, elapsed), 1)
    return {"clock_hz": cycles.item() / elapsed.item() * 1e9, **found}


CLOCK = Experiment(
    "clock", "clock of the SMs while all of them are busy", ("span_us",), ("clock_hz",),
    lambda bench: ({"span_us": us} for us in (1000, 20_000)), _clock, 5, ("cuda",))


def _linear_points(bench: Bench) -> Iterable[dict[str, Any]]:
    if bench.quick:
        return ({"n": 256, "k": 256, "rows": r} for r in (1, 4))
    sizes = ((2304, 768), (768, 768), (4096, 768), (768, 2048), (32128, 768), (6144, 2048), (2048, 2048), (11264, 2048),
             (2048, 5632), (49152, 2048), (12288, 4096), (4096, 4096), (22016, 4096), (4096, 11008), (32000, 4096))
    rows = (1, 2, 4, 6, 8, 16, 32, 64) if bench.cuda else (1, 6)
    return ({"n": n, "k": k, "rows": r} for n, k in (sizes if bench.cuda else sizes[:5]) for r in rows)


def _linear(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """One linear layer, cold: enough copies of its weights in rotation that none is still in the cache."""
    n, k = point["n"], point["k"]
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    copies = max(2, min(64, 400_000_000 // (n * k * dtype.itemsize))) if bench.cuda else 2
    weights = [bench.random(n, k, dtype=dtype) for _ in range(copies)]
    x = bench.random(point["rows"], k, dtype=dtype)

    def work() -> None:
        for weight in weights:
            functional.linear(x, weight)

    found = bench.time(launched(bench, work))
    for column in ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us"):
        found[column] /= copies
    return {"copies": copies, "bytes_per_s": n * k * dtype.itemsize / found["median_us"] * 1e6, **found}


LINEAR = Experiment(
    "linear", "one linear layer of few rows, its weights from memory", ("n", "k", "rows"), ("copies", "bytes_per_s"),
    _linear_points, _linear, 40)


def _small_points(bench: Bench) -> Iterable[dict[str, Any]]:
    rows = (1, 6) if bench.quick else (1, 6, 16, 64)
    widths = {"rms_norm": (768, 2048, 4096), "silu_mul": (2048, 5632, 11008), "argmax": (32128, 128256),
              "softmax_sample": (32128, 128256), "top_k": (32128, 128256)}
    if bench.quick:
        widths = {"rms_norm": (768,), "argmax": (32128,)}
    return ({"kernel": kernel, "width": w, "rows": r} for kernel, each in widths.items() for w in each for r in rows)


def _small(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """The kernels between the matrices, ten in a graph."""
    width = point["width"]
    dtype = torch.bfloat16 if bench.cuda else torch.float32
    x = bench.random(point["rows"], width, dtype=dtype)
    weight = bench.random(width, dtype=dtype)
    works = {
        "rms_norm": lambda: functional.rms_norm(x, (width,), weight, 1e-6),
        "silu_mul": lambda: functional.silu(x) * x,
        "argmax": lambda: x.argmax(-1),
        "softmax_sample": lambda: (x.float().softmax(-1) / x.float().exp()).argmax(-1),
        "top_k": lambda: x.topk(50, -1),
    }
    one, inner = works[point["kernel"]], 10

    def work() -> None:
        for _ in range(inner):
            one()

    found = bench.time(launched(bench, work))
    for column in ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us"):
        found[column] /= inner
    return found


SMALL = Experiment(
    "small_kernels", "norms, activations, arg-max and sampling by rows and width", ("kernel", "width", "rows"), (),
    _small_points, _small, 30)


def _power_points(_bench: Bench) -> Iterable[dict[str, Any]]:
    return ({"work": work} for work in ("idle", "stream", "multiply"))


def _power(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Power and clocks while the card does one thing for some seconds."""
    size, seconds = (256, 0.1) if bench.quick else (8192, 2.0)
    if point["work"] == "multiply":
        a = bench.random(size, size, dtype=torch.bfloat16)
        work: Callable[[], object] = lambda: a @ a  # noqa: E731
    elif point["work"] == "stream":
        source = bench.random(8 * size * size)
        to = torch.empty_like(source)
        work = lambda: to.copy_(source)  # noqa: E731
    else:
        work = lambda: time.sleep(0.05)  # noqa: E731
    until = time.monotonic() + seconds
    while time.monotonic() < until:  # power is averaged over about a second
        work()
        torch.cuda.synchronize()
    return bench.time(work, 1 if point["work"] == "idle" else 20)


POWER = Experiment(
    "power", "power and clocks while idle, streaming and multiplying", ("work",), (), _power_points, _power, 25,
    ("cuda",))
