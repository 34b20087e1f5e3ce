"""Memory beyond the caches: streams against size, and the road to the host."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .cuda import kernels
from .experiment import Bench, Experiment

MB = 1_000_000
THREADS = 512
BLOCKS_PER_SM = 8


def _stream_points(bench: Bench) -> Iterable[dict[str, Any]]:
    sizes = (16,) if bench.quick else (256, 512) if not bench.cuda else (64, 128, 256, 512, 1000, 2000, 4000, 8000)
    return ({"operation": operation, "size_mb": mb} for operation in ("read", "write", "copy") for mb in sizes)


def _stream(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Bytes that cross the memory's pins, read plus written, a second."""
    operation, size = point["operation"], point["size_mb"] * MB
    data = bench.random(size // 4)
    other = torch.empty_like(data) if operation != "read" else data
    moved = 2 * size if operation == "copy" else size
    if not bench.cuda:
        works: dict[str, Callable[[], object]] = {
            "read": data.sum, "write": lambda: other.fill_(1.5), "copy": lambda: other.copy_(data),
        }
        found = bench.time(works[operation], 1)
        return {"bytes_per_s": moved / found["median_us"] * 1e6, **found}
    cuda, sink = kernels(), torch.zeros(1, device=bench.device)
    blocks = torch.cuda.get_device_properties(bench.device).multi_processor_count * BLOCKS_PER_SM

    def work() -> None:
        if operation == "read":
            cuda.call("l2_read", data, size, 1, 0, blocks, THREADS, sink)
        elif operation == "write":
            cuda.call("stream_write", other, size, 1.5, blocks, THREADS)
        else:
            cuda.call("stream_copy", data, other, size, blocks, THREADS)

    found = bench.time(work, max(1, 2000 * MB // moved))
    return {"bytes_per_s": moved / found["median_us"] * 1e6, **found}


STREAMS = Experiment(
    "streams", "read, write and copy of a buffer, by its size", ("operation", "size_mb"), ("bytes_per_s",),
    _stream_points, _stream, 15)


def _link_points(bench: Bench) -> Iterable[dict[str, Any]]:
    sizes = (1,) if bench.quick else (1, 16, 256)
    return ({"direction": way, "size_mb": mb} for way in ("to device", "to host") for mb in sizes)


def _link(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """A copy between pinned host memory and the card."""
    host = torch.randn(point["size_mb"] * MB // 4).pin_memory()
    device = host.to(bench.device)
    there = point["direction"] == "to device"
    to, source = (device, host) if there else (host, device)
    found = bench.time(lambda: to.copy_(source, non_blocking=True))
    return {"bytes_per_s": point["size_mb"] * MB / found["median_us"] * 1e6, **found}


LINK = Experiment(
    "link", "copies between pinned host memory and the card", ("direction", "size_mb"), ("bytes_per_s",), _link_points,
    _link, 5, ("cuda",))
