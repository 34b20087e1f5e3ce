"""One pass by itself, again and again: what a pass takes when nobody has to decide anything between two of them.

The pass is issued so often that the cache and the host's lead have settled, on a machine that decides nothing; the time
is from one start to the next. This is how the harness measures a pass: launched back to back, indices on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .machine.build import sim_machine
from .machine.setting import Setting
from .program import Issue, Pass, Program, Row, Wait
from .stack import Control
from .timeline import Span, Timeline

if TYPE_CHECKING:
    from .hardware import Gpu
    from .model import Model
    from .plan import Plan
    from .stack import Stack

SETTLED = 6
"""Passes until the cache and the host's lead have settled."""


class Machinery(NamedTuple):
    """What a pass runs on."""

    gpu: Gpu
    stack: Stack
    plan: Plan
    launch: str
    tier: str = "fluid"


class PassTime(NamedTuple):
    """What one more pass adds."""

    time_ps: int
    bound_ps: dict[str, int]
    """The time by what it waits for."""
    kernels: int
    requested_bytes: int
    """Before the L2."""
    hbm_bytes: int
    """After it."""
    flop: int


def pipeline_rows(rows: int, context: int, repetitions: int, one_depth: bool = False) -> tuple[Row, ...]:
    """`rows` rows as pipelines have them: depths 0 .. G-1 of one sequence, then of the next, all at one context.

    With `one_depth` each is a sequence of its own at depth 0.
    """
    return tuple(Row(r, r if one_depth else r // repetitions, context - 1, 0 if one_depth else r % repetitions, None)
                 for r in range(rows))


def pass_time(on: Machinery, model: Model, rows: tuple[Row, ...], heads: int, repetitions: int = 1) -> PassTime:
    """A pass of these rows, the last `heads` of them read, through so many repetitions."""
    before, after = (_run(on, model, rows, heads, repetitions, count) for count in (SETTLED, SETTLED + 1))
    starts = after.occurrence_ps
    more = after.counters, before.counters
    return PassTime(
        starts[-1] - starts[-2],
        {bound: time - before.bound_ps[bound] for bound, time in after.bound_ps.items()},
        more[0].kernels - more[1].kernels,
        sum(more[0].requested_bytes.values()) - sum(more[1].requested_bytes.values()),
        sum(more[0].hbm_bytes.values()) - sum(more[1].hbm_bytes.values()),
        more[0].flop - more[1].flop,
    )


def pass_kernels(on: Machinery, model: Model, rows: tuple[Row, ...], heads: int) -> tuple[Span, ...]:
    """The kernels of such a pass, once it has settled."""
    line = _run(on, model, rows, heads, 1, SETTLED, "kernels")
    return line.patterns[line.occurrence_pattern[-1]].spans


def _run(on: Machinery, model: Model, rows: tuple[Row, ...], heads: int, repetitions: int, count: int,
         record: str = "passes") -> Timeline:
    places = len({row.sequence for row in rows})
    setting = Setting(on.stack, Control.parse("device"), on.launch, None, frozenset(), places, 0)
    machine = sim_machine(on.gpu, on.stack, model, on.plan, setting, record, on.tier)
    return machine.play(_again(rows, tuple(row.token for row in rows[len(rows) - heads:]), repetitions, count))


def _again(rows: tuple[Row, ...], exits: tuple[int, ...], repetitions: int, count: int) -> Program:
    """The same pass so many times, each a launch of its own that nobody waits for."""
    for number in range(count):
        yield Issue(Pass(number, rows, exits, repetitions))
        yield Wait(frozenset((number,)))
