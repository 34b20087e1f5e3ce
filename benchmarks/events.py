"""Events a second of processor time: where a run is replayed, where it is played event by event, and the device alone.

    replayed    a kernel's start and its end; most passes are computed once and replayed
    streams     events of the path for several streams, as simpy counts them
    fluid       starts, arrivals and ends of waves on the fluid device, kernels back to back on so many streams
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

import simpy
from speedsim import Scenario, load_gpu, load_stack
from speedsim.kernels.demand import Grid
from speedsim.machine.build import sim_machine
from speedsim.machine.fluid import FluidDevice
from speedsim.machine.setting import Setting
from speedsim.machine.work import Work
from speedsim.result import answer
from speedsim.scenario import program_of, resolve

BAR = 300_000
KERNELS = 2000


class Rate(NamedTuple):
    """What was counted, and how many a second."""

    name: str
    per_second: float


def rates() -> list[Rate]:
    """Every rate, the best of three."""
    known: list[tuple[str, Callable[[], int]]] = [
        ("replayed", _replayed), ("streams", _streams), *(
            (f"fluid, {count} stream{'s' if count > 1 else ''}", lambda count=count: _fluid(count)) for count in (1, 2))
    ]
    _replayed()
    return [Rate(name, max(_rate(count) for _ in range(3))) for name, count in known]


def _rate(counted: Callable[[], int]) -> float:
    begin = time.process_time()
    return counted() / (time.process_time() - begin)


def _replayed() -> int:
    return 2 * sum(line.counters.kernels for _, line in answer(Scenario()).runs.values())


def _streams() -> int:
    side = resolve(Scenario(schedule="autoregressive", synth="flips=0.1+0.1+0.1+0.1+0.1,count=100"))
    setting = Setting(side.stack.value, side.control, side.launch, None, side.schedule.reads(6), concurrent=True)
    machine = sim_machine(side.gpu.value, side.stack.value, side.model.value, side.plan.value, setting, "summary",
                          "fluid")
    count, step = 0, simpy.Environment.step

    def counted(env: simpy.Environment) -> None:
        nonlocal count
        count += 1
        step(env)

    simpy.Environment.step = counted  # type: ignore[method-assign]
    try:
        machine.play(program_of(side))
    finally:
        simpy.Environment.step = step  # type: ignore[method-assign]
    return count


def _fluid(streams: int) -> int:
    gpu, kernels = load_gpu("h200_sxm").value, load_stack("torch_graph").value.kernels
    device, rng, events, left = FluidDevice(gpu, kernels), random.Random(0), 0, KERNELS
    works = [Work("k", "gemm", "bf16", 2_000_000 * n, 100_000 * n, 100_000 * n, Grid(20 * n, 16, 32_768))
             for n in range(1, 12)]
    step = device._step

    def counted(event: int) -> list[object]:
        nonlocal events
        events += 1
        return step(event)  # type: ignore[return-value]

    device._step = counted  # type: ignore[method-assign, assignment]
    for _ in range(streams):
        device.start(rng.choice(works), 0)
    while left:
        end = device.next_end()
        assert end is not None
        for _ in device.advance(end):
            device.start(rng.choice(works), end)
            left = max(0, left - 1)
            events += 1
    return events
