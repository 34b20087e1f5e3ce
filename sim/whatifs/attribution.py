"""A what-if, and which mechanism its difference is owed to.

Each mechanism can be made ideal: it then takes no time. What a run owes to one depends on which others are ideal
already, so it is averaged over all orders in which the mechanisms are made ideal one after the other (Shapley 1953):

    share(m) = mean over orders of  time(ideal: those before m)  -  time(ideal: those before m, and m)

    host      the host's turnaround, dispatch and calls      hbm   the memory's bandwidth
    launch    gaps between kernels, and the start            kv    attention to keys and values, and writing them
    latency   of memory, set-up and loops of kernels         head  all kernels of the exits
    l2        the cache's bandwidth                          flush wrong guesses: every first exit is right; what
                                                                   drafts and other proposers get wrong stays wrong

The shares and what is left with everything ideal add up to the time exactly, in whole picoseconds. A second column
makes one mechanism ideal alone; it does not add up. A difference is owed share by share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import factorial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..hardware import Gpu
from ..scenario import Resolved, Scenario, resolve, tallied
from ..shelf import Shelf
from ..stack import Stack
from ..sweeps.points import Machine, Side, run_on, spread_over, walked_side
from ..trace import Trace
from ..units import NotCoveredError

if TYPE_CHECKING:
    import pandas as pd

MECHANISMS = ("host", "launch", "latency", "l2", "hbm", "kv", "head", "flush")
OF_MACHINE, OF_PROGRAM = MECHANISMS[:5], MECHANISMS[5:]
ENDLESS = 1e24
"""A rate that no kernel waits for."""
REST = "the rest"
"""What is left with everything ideal: arithmetic."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """The time of one run by mechanism, in whole picoseconds."""

    total_ps: int
    tokens: int
    shares_ps: dict[str, int]
    """Averaged over all orders, and REST; they add up to the total."""
    alone_ps: dict[str, int]
    """What is saved by making one mechanism ideal alone."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A base, a what-if with the software as it was, and one with the library's cuts chosen anew."""

    base: Attribution
    frozen: Attribution | None
    """None where the schedule decides on the device: the cuts follow the machine there."""
    tuned: Attribution
    changes: tuple[tuple[str, str], ...]

    def table(self) -> pd.DataFrame:
        """One row a mechanism, in us a token: base, what_if, difference, then each alone and frozen."""
        import pandas as pd

        rows = []
        for name in (*MECHANISMS, REST):
            base, then = (_us(one, one.shares_ps[name]) for one in (self.base, self.tuned))
            alone = [_us(one, one.alone_ps[name]) if name in one.alone_ps else None for one in (self.base, self.tuned)]
            held = None if self.frozen is None else _us(self.frozen, self.frozen.shares_ps[name]) - base
            rows.append((name, base, then, then - base, *alone, held))
        return pd.DataFrame(rows, columns=["mechanism", "base", "what_if", "difference", "base_alone", "what_if_alone",
                                           "difference_frozen"])


def whatif(base: Scenario, sets: Mapping[str, str] | tuple[tuple[str, str], ...]) -> WhatIf:
    """The base beside the base with changed numbers. Raises InputError, NotCoveredError."""
    pairs = tuple(sets.items()) if isinstance(sets, Mapping) else sets
    shelf = Shelf()
    mine = resolve(replace(base, record="summary"), shelf)
    changed = dict(pairs)
    kept = tuple(pair for pair in mine.scenario.sets if pair[0] not in changed)
    then = resolve(replace(mine.scenario, sets=(*kept, *pairs)), shelf)
    try:
        frozen = attributed(then, mine.gpu.value)
    except NotCoveredError:
        frozen = None
    return WhatIf(attributed(mine), frozen, attributed(then), pairs)


def attributed(resolved: Resolved, cut_for: Gpu | None = None) -> Attribution:
    """A run's time by mechanism; cut_for: the GPU for which the library chose its tiles and splits."""
    times: dict[frozenset[str], int] = {}
    on_machine = list(_subsets(OF_MACHINE))
    machines = _ideal_machines(resolved, on_machine, cut_for)
    tokens = 0
    for program in _subsets(OF_PROGRAM):
        side = _ideal_program(resolved, program)
        walked = walked_side(side) if cut_for is None else Side(side, tallied(side, cut_for))
        run = run_on(walked, spread_over(machines))
        tokens = run.line.counters.committed_tokens
        times |= {program | machine: int(time) for machine, time in zip(on_machine, run.decode_ps, strict=True)}
    nothing = times[frozenset()]
    return Attribution(nothing, tokens, _shares(times),
                       {name: nothing - times[frozenset((name,))] for name in MECHANISMS})


def _shares(times: Mapping[frozenset[str], int]) -> dict[str, int]:
    """The order-averaged shares, rounded to whole picoseconds so that they add up."""
    count = len(MECHANISMS)
    exact = dict.fromkeys(MECHANISMS, 0)  # in 1 / count! picoseconds
    for ideal, time in times.items():
        size = len(ideal)
        for name in MECHANISMS:
            if name in ideal:
                exact[name] -= factorial(size - 1) * factorial(count - size) * time
            else:
                exact[name] += factorial(size) * factorial(count - size - 1) * time
    found, carried = {}, 0
    for name, share in exact.items():
        found[name] = (share + carried) // factorial(count)
        carried += share - found[name] * factorial(count)
    return {**found, REST: times[frozenset(MECHANISMS)]}


def _subsets(names: tuple[str, ...]) -> Any:
    for chosen in product((False, True), repeat=len(names)):
        yield frozenset(name for name, taken in zip(names, chosen, strict=True) if taken)


def _ideal_machines(resolved: Resolved, subsets: list[frozenset[str]], cut_for: Gpu | None) -> list[Machine]:
    """The machine with each subset of its mechanisms ideal; equal parts are one object, so that they are timed once."""
    gpu, stack = resolved.gpu.value, resolved.stack.value
    launches = (gpu.launch, _nothing(gpu.launch))
    hosts = (stack.host, _nothing(stack.host))
    unlimited = replace(gpu.energy, limit_w=None)
    chips: dict[frozenset[str], tuple[Any, Any, Any]] = {}
    made = []
    for ideal in subsets:
        chip = ideal & {"latency", "l2", "hbm"}
        if chip not in chips:
            chips[chip] = _ideal_chip(gpu, stack, chip)
        l2, hbm, kernels = chips[chip]
        # What is ideal needs no power: the limit holds the real machine alone.
        energy = unlimited if ideal or cut_for is not None else gpu.energy
        made.append((replace(gpu, l2=l2, hbm=hbm, energy=energy, launch=launches["launch" in ideal]),
                     replace(stack, host=hosts["host" in ideal], kernels=kernels)))
    return made


def _nothing(part: Any) -> Any:
    """The launch path or the host's work with every time 0."""
    named = {name: value for name in part.__dataclass_fields__ if (value := getattr(part, name)) is not None}
    return replace(part, **{name: dict.fromkeys(value, 0) if isinstance(value, dict) else 0
                            for name, value in named.items()})


def _ideal_chip(gpu: Gpu, stack: Stack, ideal: frozenset[str]) -> tuple[Any, Any, Any]:
    """(L2, HBM, kernel library) with these mechanisms ideal."""
    l2, hbm, kernels = gpu.l2, gpu.hbm, stack.kernels
    if "l2" in ideal:
        l2 = replace(l2, bandwidth_bytes_per_s=ENDLESS)
    if "hbm" in ideal:
        hbm = replace(hbm, bandwidth_bytes_per_s=ENDLESS)
    if "latency" in ideal:
        l2 = replace(l2, near_latency_ps=0, far_latency_ps=0)
        hbm = replace(hbm, latency_ps=0)
        kernels = replace(kernels, gemm=_at_once(kernels.gemm), attention=_at_once(kernels.attention))
    return l2, hbm, kernels


def _at_once(family: Any) -> Any:
    """A family of kernels without set-up and without a loop of its own."""
    return replace(family, fixed_ps=dict.fromkeys(family.fixed_ps, 0),
                   step_cycles=dict.fromkeys(family.step_cycles, 0.0))


def _ideal_program(resolved: Resolved, ideal: frozenset[str]) -> Resolved:
    """The run with these mechanisms of its program ideal."""
    plan = resolved.plan.value
    if "kv" in ideal:
        plan = replace(plan, attention=tuple(map(_without_kv, plan.attention)),
                       cross=tuple(map(_without_kv, plan.cross)))
    if "head" in ideal:
        plan = replace(plan, exit=())
    trace = _right_at_once(resolved.trace) if "flush" in ideal else resolved.trace
    return replace(resolved, plan=replace(resolved.plan, value=plan), trace=trace)


def _without_kv(step: str) -> str:
    """A kernel that hands on what it gets where it would have attended."""
    return "+".join("copy" if operation in ("attention", "cross_attention", "kv_write") else operation
                    for operation in step.split("+"))


def _right_at_once(trace: Trace) -> Trace:
    """The same text, every exit predicting what the last does."""
    settled = (replace(s, exit_tokens=np.repeat(s.exit_tokens[:, -1:], s.exit_tokens.shape[1], axis=1))
               for s in trace.sequences)
    return replace(trace, sequences=tuple(settled), digest="")


def _us(one: Attribution, time_ps: int) -> float:
    """Picoseconds of the run as microseconds a token."""
    return time_ps / 1e6 / max(1, one.tokens)

