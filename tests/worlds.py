"""Tiny worlds for tests: plays a program without any machine, one pass a step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from speedsim.batch import in_lock_step
from speedsim.hardware import L2, Energy, Gpu, Hbm, Launch, Link, Sm
from speedsim.machine.build import sim_machine
from speedsim.machine.player import Setting
from speedsim.model import Model
from speedsim.oracle import StrictOracle, TraceOracle
from speedsim.plan import Plan
from speedsim.program import (
    TARGET,
    Commit,
    Ids,
    Issue,
    Oracle,
    Pass,
    Program,
    Retire,
    Squash,
    Text,
    Wait,
    watched,
)
from speedsim.stack import AttentionKernels, Control, GemmKernels, HostWork, Kernels, Stack, Uncertainty
from speedsim.timeline import Timeline
from speedsim.trace import Sequence, Trace
from speedsim.traces.acceptance import Facts


def sequence(exit_tokens: list[list[int]], end: str = "length", first: int = 0, number: int = 0) -> Sequence:
    """A sequence from rows of exit predictions."""
    return Sequence(number, first, len(exit_tokens), end, 0, np.array(exit_tokens, dtype=np.int32))


def text_of(s: Sequence) -> Text:
    """What a schedule may know of the sequence."""
    return Text(s.id, s.first, s.count if s.end == "length" else None, s.exit_tokens.shape[1])


@dataclass
class Played:
    """What a program did, pass by pass."""

    passes: list[Pass] = field(default_factory=list)
    commits: list[tuple[int, int]] = field(default_factory=list)
    """(token, passes issued before its commit - 1)."""
    squashed: list[int] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)

    @property
    def rows(self) -> list[list[list[int]]]:
        """[position, repetition] of every row of every pass."""
        return [[[r.position, r.depth + p.repetitions] for r in p.rows] for p in self.passes]

    @property
    def heads(self) -> list[list[list[int]]]:
        """The same for rows whose head is read."""
        return [[[r.position, r.depth + p.repetitions] for r in p.rows if r.token in p.exits] for p in self.passes]

    @property
    def sweeps(self) -> int:
        """Of the target's group."""
        return sum(p.repetitions for p in self.passes if p.model == TARGET)


def play(program: Program) -> Played:
    """Run a program to its end; every Wait is answered with all its passes."""
    done = Played()
    try:
        command = next(program)
        while True:
            answer: frozenset[int] = frozenset()
            if isinstance(command, Issue):
                done.passes.append(command.item)
            elif isinstance(command, Wait):
                answer = command.passes
            elif isinstance(command, Commit):
                done.commits.append((command.token, len(done.passes) - 1))
            elif isinstance(command, Squash):
                done.squashed.extend(command.tokens)
            elif isinstance(command, Retire):
                done.retired.append(command.sequence)
            command = program.send(answer)
    except StopIteration:
        return done


def decode(schedule: object, s: Sequence, oracle: Oracle) -> Played:
    """Play a schedule over one sequence."""
    return play(watched(schedule.program(oracle, text_of(s), Ids()), oracle))  # type: ignore[attr-defined]


def tiny_gpu(**changes: object) -> Gpu:
    """An H200-like chip with round numbers: 1 TB/s HBM, 10 TB/s L2, 100 TFLOP/s, no cache, nothing between kernels."""
    parts = {"capacity": 0, "hbm": 1e12, "l2": 1e13, "flop": 1e14, "curve": ((1.0, 1.0), (1.0, 0.0)),
             "node": 0, "stream": 0, "start": 0, "peer": None, "latency": None} | changes
    return Gpu(
        name="tiny", title="tiny", generation="none",
        sm=Sm(count=100, clock_hz=1e9, peak_flop_per_s={"bf16": parts["flop"]}),
        l2=L2(capacity_bytes=parts["capacity"], bandwidth_bytes_per_s=parts["l2"], hit_curve=parts["curve"]),
        hbm=Hbm(technology="none", bandwidth_bytes_per_s=parts["hbm"], capacity_bytes=10**11),
        launch=Launch(node_gap_ps=parts["node"], stream_gap_ps=parts["stream"], start_ps=parts["start"]),
        link=Link(peer_bytes_per_s=parts["peer"], latency_ps=parts["latency"]), energy=Energy(),
    )


def tiny_stack(**changes: object) -> Stack:
    """Software that costs nothing unless told."""
    parts = {"turnaround": 0, "dispatch": 0, "enqueue": 0, "graph": 0, "launch": "graph", "control": "host",
             "widths": None, "block": 1, "work": {"row": 0}} | changes
    return Stack(
        name="tiny", title="tiny", framework="none", version="0", launch=parts["launch"], control=parts["control"],
        plan="weights_only", widths=parts["widths"],
        host=HostWork(turnaround_ps=parts["turnaround"], dispatch_ps=parts["dispatch"],
                      enqueue_ps=parts["enqueue"], graph_call_ps=parts["graph"],
                      work_ps=parts["work"]),
        kernels=Kernels(
            inflight_bytes=32_768,
            gemm=GemmKernels(tiles=(64,), tile_rows=64, large_tile=(0, 0), k_step=64, stages=8, wide_penalty=1.0,
                             split_cost={"default": 0}, split_least={"default": 0}, step_cycles={"default": 0.0},
                             fixed_ps={"default": 0}, small_product={"default": 0},
                             small_most_k={"default": 0}, vector_elements={"default": 0},
                             join_fixed_ps={"default": 0}, quantise_fixed_ps={"default": 0},
                             vector_step_cycles={"default": 0.0}, vector_fixed_ps={"default": 0},
                             hbm_share={"default": 1.0}, l2_share={"default": 1.0}, input_share={"default": 0.0}),
            attention=AttentionKernels(backend={"default": "fill"}, block=parts["block"], stages=2,
                                       most_splits={"default": 1}, step_cycles={"default": 0.0},
                                       wave_cycles={"default": 0.0}, fixed_ps={"default": 0}, cold_ps={"default": 0},
                                       join_fixed_ps={"default": 0}, join_cycles={"default": 0.0},
                                       transpose_fixed_ps={"default": 0}, hbm_share={"default": 1.0},
                                       l2_share={"default": 1.0}),
        ),
        uncertainty=Uncertainty(host=(1.0, 1.0), launch=(1.0, 1.0), device={}),
    )


WEIGHTS_ONLY = Plan(name="weights_only", title="matrices and nothing else", embedding=(),
                    attention=("linear:qkv", "linear:out"), cross=("linear:cross_q", "linear:cross_out"),
                    ffn=("linear:up", "linear:down"), exit=("linear:head",))
WHOLE = Plan(name="whole", title="every kind of kernel", embedding=("embed",),
             attention=("norm", "linear:qkv", "rope+kv_write", "attention", "linear:out"),
             ffn=("add+norm", "linear:up", "activation", "linear:down"), exit=("norm", "linear:head", "argmax"))


def speed_shape(group_layers: int = 2, repetitions: int = 6, **changes: object) -> Model:
    """The T5-Base-sized decoder of the SPEED paper."""
    fields = {"name": "tiny", "title": "tiny", "d_model": 768, "q_heads": 12, "kv_heads": 12, "head_dim": 64,
              "ffn": 2048, "gated": True, "vocab": 32128} | changes
    return Model(group_layers=group_layers, repetitions=repetitions, **fields)


def simulate(schedule: object, trace: Trace, *, gpu: Gpu | None = None, stack: Stack | None = None,
             model: Model | None = None, plan: Plan = WHOLE, batch: int = 1, record: str = "passes",
             control: str | None = None, strict: bool = False, concurrent: bool = False, facts: Facts | None = None,
             draft: Model | None = None,
             **machine: object) -> Timeline:
    """Play a schedule over a trace on a tiny machine; every further model it needs is `draft`."""
    gpu, stack, model = gpu or tiny_gpu(), stack or tiny_stack(), model or speed_shape()
    where = Control.parse(control or stack.control)
    sequences = {s.id: s for s in trace.sequences}
    oracle: Oracle = TraceOracle(sequences, facts)
    if strict:
        oracle = StrictOracle(oracle)
    ids = Ids()
    each = ((s.id, schedule.program(oracle, text_of(s), ids)) for s in trace.sequences)
    fixed = None if where.where == "host" else schedule.slots(model.repetitions)
    needs = schedule.needs()
    setting = Setting(stack, where, stack.launch, fixed, schedule.reads(model.repetitions), batch,
                      concurrent=concurrent or needs.concurrent or needs.devices > 1, devices=needs.devices,
                      models={name: (draft or speed_shape(1, 1), plan) for name, _ in needs.models})
    player = sim_machine(gpu, stack, model, plan, setting, record, **machine)
    return player.play(watched(in_lock_step(each, batch, ids), oracle))
