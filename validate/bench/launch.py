"""What stands between two kernels, and between two decisions.

    node gap     a chain of n dependent small kernels takes about n (own time + gap); the persistent kernel replaces the
                 launch by a barrier of the whole grid
    turnaround   from a decision's data on the device to the next launch call: copy of 4 bytes a row, synchronise, read,
                 decide, launch: round trip minus what the graph takes when it is launched back to back
    dispatch     what one call costs the processor, the device never being waited for
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from ..refusal import NotMeasuredError
from ..units import capture
from .cuda import kernels
from .experiment import Bench, Experiment
from .sampling import spread, timer

THREADS = 128
ROUND_TRIPS = 2000


def _gap_points(bench: Bench) -> Iterable[dict[str, Any]]:
    modes = ("stream", "graph", "graph+pdl", "persistent", "stream+pdl", "eager") if bench.cuda else ("eager",)
    sizes = (1, 132) if bench.cuda else (1,)
    return ({"mode": mode, "blocks": blocks} for mode in modes for blocks in sizes)


def _gap(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Microseconds a node of a chain."""
    mode, blocks = point["mode"], point["blocks"]
    nodes = 50 if bench.quick else 1000
    data = bench.random(blocks * THREADS)
    work = _eager_chain(nodes, data) if mode == "eager" else _chain(mode, nodes, blocks, data)
    sample = timer(bench.device, work)
    return {"nodes": nodes, **bench.point(lambda: sample() / nodes)}


def _eager_chain(nodes: int, data: torch.Tensor) -> Callable[[], object]:
    def work() -> None:
        for _ in range(nodes):
            data.mul_(0.999)

    return work


def _chain(mode: str, nodes: int, blocks: int, data: torch.Tensor) -> Callable[[], object]:
    """The work of a chain in one of the modes that only CUDA has."""
    cuda = kernels()
    if mode.startswith("stream"):
        return lambda: cuda.call("chain_stream", nodes, blocks, THREADS, int(mode == "stream+pdl"), data)
    if mode.startswith("graph"):
        made = cuda.chain_graph(nodes, blocks, THREADS, mode == "graph+pdl", data)
        return lambda: cuda.call("graph_launch", made)
    if blocks > torch.cuda.get_device_properties(data.device).multi_processor_count:
        raise NotMeasuredError("more blocks than multiprocessors")
    barrier = torch.zeros(1, dtype=torch.int32, device=data.device)

    def persistent() -> None:
        barrier.zero_()
        cuda.call("chain_persistent", nodes, blocks, THREADS, data, barrier)

    return persistent


GAPS = Experiment(
    "node_gaps", "time of one node in a chain of dependent small kernels, by launch mode", ("mode", "blocks"),
    ("nodes",), _gap_points, _gap, 10)


def _dispatch_points(bench: Bench) -> Iterable[dict[str, Any]]:
    calls = ("eager operation", "eager layer", "graph call", "stream enqueue") if bench.cuda else (
        "eager operation", "eager layer")
    return ({"call": call} for call in calls)


def _dispatch(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Processor time of a call; the queue is emptied between samples, outside the clock."""
    call, many = point["call"], 20
    data = bench.random(THREADS)
    work: Callable[[], object] = lambda: data.mul_(0.999)  # noqa: E731
    if call == "eager layer":
        work = _layer_call(bench)
    elif call == "graph call":
        work = capture(lambda: data.mul_(0.999)).replay
    elif call == "stream enqueue":
        cuda = kernels()
        work = lambda: cuda.call("chain_stream", 1, 1, THREADS, 0, data)  # noqa: E731

    def sample() -> float:
        _synchronise(bench)
        begin = time.perf_counter_ns()
        for _ in range(many):
            work()
        return (time.perf_counter_ns() - begin) / 1e3 / many

    for _ in range(3):
        sample()
    return bench.point(sample)


def _layer_call(bench: Bench) -> Callable[[], object]:
    """One decoder layer of a small shape, eager."""
    from speedsim.workloads.decoder import Shape, rotary

    from ..shapes import random_decoder

    decoder = random_decoder(Shape(128, 2, 2, 64, 256, 64, 1, 1), bench.device)
    x = bench.random(1, 128)
    cos, sin = rotary(torch.zeros(1, device=bench.device), 64)
    return lambda: decoder.group[0](x, cos, sin, 0, lambda _, query, key, value: query)


DISPATCH = Experiment(
    "dispatch", "processor time of one call, the device not waited for", ("call",), (), _dispatch_points, _dispatch, 5)


def _turnaround_points(bench: Bench) -> Iterable[dict[str, Any]]:
    rows = (1, 6) if bench.quick or not bench.cuda else (1, 3, 6, 16, 64)
    copies = ("outside", "inside") if bench.cuda else ("outside",)
    return ({"rows": r, "copy": copy} for r in rows for copy in copies)


def _turnaround(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    """Round trips of: graph launch, arg-max of every row, 4 bytes a row to the host, synchronise, read, decide."""
    rows, inside = point["rows"], point["copy"] == "inside"
    logits = bench.random(rows, 32128)
    answer = torch.zeros(rows, dtype=torch.int32, device=bench.device)
    host = torch.zeros(rows, dtype=torch.int32, pin_memory=bench.cuda)
    order = torch.zeros(8, dtype=torch.int64, device=bench.device)
    order_host = torch.zeros(8, dtype=torch.int64, pin_memory=bench.cuda)

    def work() -> None:
        answer.copy_(logits.argmax(-1))
        if inside:
            host.copy_(answer, non_blocking=True)

    launch: Callable[[], object] = capture(work).replay if bench.cuda else work
    device_us = bench.time(launch, 50)["median_us"] if bench.cuda else 0.0

    def round_trip() -> float:
        begin = time.perf_counter_ns()
        order.copy_(order_host, non_blocking=True)
        launch()
        if not inside:
            host.copy_(answer, non_blocking=True)
        _synchronise(bench)
        order_host[0] = sum(host.tolist()) & 7
        return (time.perf_counter_ns() - begin) / 1e3

    times = [round_trip() for _ in range(100 if bench.quick else ROUND_TRIPS)][10:]
    ordered = sorted(times)
    middle, _ = spread(times)
    return {
        "device_us": device_us, "turnaround_p50_us": middle - device_us,
        "turnaround_p99_us": ordered[int(0.99 * len(ordered))] - device_us, "round_trips": len(times),
        **bench.point(round_trip),
    }


def _synchronise(bench: Bench) -> None:
    if bench.cuda:
        torch.cuda.current_stream().synchronize()


TURNAROUND = Experiment(
    "turnaround", "from a decision's data to the next launch: round trips, and what they take beyond the device's work",
    ("rows", "copy"), ("device_us", "turnaround_p50_us", "turnaround_p99_us", "round_trips"), _turnaround_points,
    _turnaround, 15)


def _start(bench: Bench, _point: Mapping[str, Any]) -> dict[str, Any]:
    """From the launch call of one small kernel on an idle card to its end seen by the host."""
    data = bench.random(THREADS)
    replay = capture(lambda: data.mul_(0.999)).replay

    def sample() -> float:
        torch.cuda.synchronize()
        begin = time.perf_counter_ns()
        replay()
        torch.cuda.synchronize()
        return (time.perf_counter_ns() - begin) / 1e3

    return bench.point(sample)


START = Experiment(
    "start", "launch of a one-kernel graph on an idle card until the host sees its end", ("kernels",), (),
    lambda _: ({"kernels": 1},), _start, 2, ("cuda",))
