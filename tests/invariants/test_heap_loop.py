"""Does the machine of several streams agree with a plain loop over a heap, to the picosecond?"""

from __future__ import annotations

import math
import random

import pytest
from heap_loop import Loop
from speedsim.kernels.lower import Lowering
from speedsim.machine.build import sim_machine
from speedsim.machine.fluid import FluidDevice
from speedsim.machine.setting import Setting
from speedsim.machine.work import Work
from speedsim.plan import Plan
from speedsim.program import Cancel, Host, Issue, Move, Pass, Row, Wait
from speedsim.stack import Control
from worlds import speed_shape, tiny_gpu, tiny_stack

NS = 1000
ONE_KERNEL = Plan(name="one", title="one matrix", embedding=(), attention=("linear:up",), ffn=(), exit=())
MODELS = {"target": 300, "small": 70, "large": 900}
TIMES = {"turnaround": 9_100 * NS + 3, "start": 2_600 * NS + 1, "stream_gap": 2_030 * NS + 7,
         "node_gap": 1_270 * NS + 5}
CALL, WORK, LATENCY, RATE = 2_510 * NS + 9, 3_300 * NS + 11, 10_000 * NS + 13, 450e9


class InTurn:
    """One kernel after the other, each its bytes over the rate."""

    def __init__(self, rate):
        self.rate, self.queue, self.end = rate, [], None

    def start(self, key, work, now):
        self.queue.append((key, math.ceil(work.hbm_bytes / self.rate * 1e12 - 1e-6)))
        self.end = now + self.queue[0][1] if len(self.queue) == 1 else self.end

    def next_end(self):
        return self.end

    def advance(self, now):
        key, _ = self.queue.pop(0)
        self.end = now + self.queue[0][1] if self.queue else None
        return [key]


class Shared:
    """The fluid tier, its kernels by key."""

    def __init__(self, gpu, stack):
        self.tier, self.open = FluidDevice(gpu, stack.kernels), {}

    def start(self, key, work, now):
        self.open.setdefault((work, now), []).append(key)
        self.tier.start(work, now)

    def next_end(self):
        return self.tier.next_end()

    def advance(self, now):
        return [self.open[timed.work, now - timed.duration_ps].pop(0) for timed in self.tier.advance(now)]


def world(tier):
    """The same world twice: a machine, and the loop."""
    gpu = tiny_gpu(node=TIMES["node_gap"], stream=TIMES["stream_gap"], start=TIMES["start"], latency=LATENCY, peer=RATE)
    stack = tiny_stack(turnaround=TIMES["turnaround"], graph=CALL, work={"look": WORK})
    models = {n: (speed_shape(group_layers=1, repetitions=1, d_model=d), ONE_KERNEL) for n, d in MODELS.items()}
    setting = Setting(stack, Control("host"), "graph", None, frozenset((1,)), 99, concurrent=True, devices=2,
                      models={n: pair for n, pair in models.items() if n != "target"})
    machine = sim_machine(gpu, stack, *models["target"], setting, tier=tier)

    def work_of(item):
        model, plan = models[item.model]
        n, k = model.linear["up"]
        size = 2 * (n * k + len(item.rows) * (n + k))
        shape = machine._shaper.shape(item)
        (kernel,) = Lowering(model, plan, stack.kernels, "none", gpu.sm.count).kernels(shape)
        return Work(kernel.name, "gemm", "bf16", 2 * n * k * len(item.rows), size, size, kernel.demand.grid)

    def transfer(tokens):
        return LATENCY + math.ceil(tokens * 2 * MODELS["target"] / RATE * 1e12 - 1e-6)

    devices = [InTurn(1e12) if tier == "roofline" else Shared(gpu, stack) for _ in range(2)]
    return machine, Loop(devices, work_of, transfer, call=CALL, host=WORK, **TIMES)


def program(seed, log):
    """Random passes with random dependences, waits, cancellations and moves."""
    draw = random.Random(seed)
    open_, device_of, number = [], {}, 0
    for _ in range(draw.randint(3, 14)):
        kind = draw.random()
        if kind < 0.6 or not open_:
            after = tuple(draw.sample(open_, draw.randint(0, min(2, len(open_)))))
            moved = [t for t, d in device_of.items() if d is not None]
            token = draw.choice(moved) if moved and draw.random() < 0.5 else 1000 + number
            device = device_of[token] if token in device_of else draw.randint(0, 1)
            name = "target" if token in device_of else draw.choice(list(MODELS))
            rows = (Row(token, token, 0, 0, None), *(Row(2000 + 9 * number + i, token, 0, 0, None)
                                                     for i in range(draw.randint(0, 3))))
            yield Issue(Pass(number, rows, (), 1, name, device, draw.randint(0, 2), after))
            open_.append(number)
            device_of |= {token: device} if name == "target" else {}
            number += 1
        elif kind < 0.8:
            asked = frozenset(draw.sample(open_, draw.randint(1, len(open_))))
            answer = yield Wait(asked, draw.random() < 0.5)
            log.append(answer)
        elif kind < 0.87:
            yield Host("look", draw.randint(1, 5))
        elif kind < 0.94:
            yield Cancel(draw.choice(open_))
        elif device_of:
            token = draw.choice(list(device_of))
            device_of[token] = 1 - device_of[token]
            yield Move((token,), device_of[token])


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
def test_machine_and_heap_loop_agree_to_the_picosecond(tier):
    ran = dropped = answers = 0
    for seed in range(300):
        machine, loop = world(tier)
        heard, expected = [], []
        line = machine.play(program(seed, heard))
        truth = loop.play(program(seed, expected))
        assert heard == expected, seed
        found = sorted((start, start + line.patterns[p].duration_ps)
                       for p, start in zip(line.occurrence_pattern, line.occurrence_ps, strict=True))
        assert found == sorted(truth.values()), seed
        ran, dropped, answers = ran + len(truth), dropped + len(loop.needs) - len(truth), answers + len(heard)
    assert ran > 1000
    assert dropped > 20
    assert answers > 300
