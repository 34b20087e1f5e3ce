"""A pass computed once: its kernels' times and traffic, kept for every pass of equal shape on an equal cache.

The key of a computed pass is its shape (rows, depths, contexts rounded to the attention block) and the cache's recency
list. Whatever depends on the exact context (bytes of keys and values, attention's multiplications) is kept per row and
key, and multiplied out for each pass that really ran: rounding is for time, never for bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels.attention import flop_per_key
from ..kernels.demand import Kernel
from ..kernels.lower import Lowering, PassShape
from .l2 import Residency, State
from .work import Device, Timed, Work, alone

MOST_KEPT = 4096
"""Computed passes kept at a time; beyond it they are forgotten and computed again."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What a pass of one shape costs on one state of the cache."""

    number: int
    """Counts the distinct passes of a run."""
    kernels: tuple[Timed, ...]
    flop: int
    """Without self-attention."""
    requested: dict[str, int]
    """Bytes before the cache by kind, without self-attention's keys and values."""
    hbm: dict[str, int]
    """Bytes after it, likewise."""
    row_flop_per_key: tuple[int, ...]
    """Self-attention's flop of each row per key of its context."""
    row_bytes_per_key: tuple[int, ...]
    row_missed_per_key: tuple[float, ...]
    """Bytes of each row per key of its context before and after the cache."""


class Computer:
    """Computes passes on a device and a cache, and remembers them."""

    def __init__(self, lowering: Lowering, device: Device, residency: Residency, remember: bool = True) -> None:
        self._lowering, self._device, self._residency = lowering, device, residency
        self._remember = remember
        self._count = 0
        self._forget()
        self._state = self._number(residency.state())

    def run(self, shape: PassShape) -> Computed:
        """Run the pass now: its cost on the cache as the passes before left it."""
        key = (self._state, shape)
        kept = self._kept.get(key)
        if kept is None:
            self._residency.restore(self._states[self._state])
            computed = self._compute(shape)
            state = self._residency.state()
            if len(self._kept) < MOST_KEPT and self._remember:
                kept = self._kept[key] = (computed, self._number(state))
            else:
                self._forget()
                kept = (computed, self._number(state))
        self._state = kept[1]
        return kept[0]

    def _forget(self) -> None:
        self._kept: dict[tuple[int, PassShape], tuple[Computed, int]] = {}
        self._equal: dict[object, Computed] = {}
        self._numbers: dict[State, int] = {}
        self._times: dict[Work, Timed] = {}
        self._states: list[State] = []

    def _number(self, state: State) -> int:
        """A small name for a state of the cache."""
        known = self._numbers.setdefault(state, len(self._states))
        if known == len(self._states):
            self._states.append(state)
        return known

    def _compute(self, shape: PassShape) -> Computed:
        kernels = self._lowering.kernels(shape)
        model = self._lowering.model
        requested = dict.fromkeys(("weights", "head", "kv", "activations"), 0)
        hbm = dict(requested)
        missing: dict[tuple[str | int, ...], float] = {}
        timed, flop = [], 0
        for kernel in kernels:
            work = self._fetch(kernel, requested, hbm, missing)
            timed.append(self._time(work))
            flop += work.flop
        row_flop, row_bytes, row_missed = [], [], []
        for row in shape.rows:
            instances = self._instances(row.depth, row.read, shape.repetitions)
            missed = [missing[name] for i in instances if (name := ("kv", i, row.place)) in missing]
            row_flop.append(len(missed) * flop_per_key(model))
            row_bytes.append(len(missed) * model.kv_bytes)
            row_missed.append(sum(missed) * model.kv_bytes)
            flop -= row_flop[-1] * row.context
        content = (tuple(timed), tuple(row_missed))
        known = self._equal.get(content)
        if known is None:
            self._count += 1
            known = self._equal[content] = Computed(
                self._count, tuple(timed), flop, requested, hbm, tuple(row_flop), tuple(row_bytes),
                tuple(row_missed),
            )
        return known

    def _instances(self, depth: int, read: bool, repetitions: int) -> list[int]:
        """Layer instances whose keys and values a row reads in the pass."""
        model = self._lowering.model
        first = model.prelude + depth * model.group_layers
        instances = list(range(first, first + repetitions * model.group_layers))
        if depth == 0:
            instances = [*range(model.prelude), *instances]
        if read:
            behind = model.prelude + model.group_layers * model.repetitions
            instances += range(behind, behind + model.coda)
        return instances

    def _fetch(self, kernel: Kernel, requested: dict[str, int], hbm: dict[str, int],
               missing: dict[tuple[str | int, ...], float]) -> Work:
        """Take the kernel's traffic through the cache; self-attention's is counted by the rows instead."""
        demand = kernel.demand
        missed_all = 0
        for tensor, size in demand.reads:
            if tensor.kind == "activations":
                missed = 0 if self._residency.holds(size) else size
            else:
                hit = self._residency.read(tensor.name, size)
                missed = size - int(size * hit)
                if tensor.name[0] == "kv":
                    missing[tensor.name] = 1.0 - hit
            missed_all += missed
            if tensor.name[0] != "kv":
                requested[tensor.kind] += size
                hbm[tensor.kind] += missed
        for tensor, size in demand.writes:
            missed = size if tensor.kind == "kv" or not self._residency.holds(size) else 0
            missed_all += missed
            requested[tensor.kind] += size
            hbm[tensor.kind] += missed
        return Work(kernel.name, kernel.family, demand.dtype, demand.flop, demand.issued_bytes, missed_all, demand.grid)

    def _time(self, work: Work) -> Timed:
        """The kernel alone on the device; equal kernels recur in every pass."""
        known = self._times.get(work)
        if known is None:
            known = self._times[work] = alone(self._device, work)
        return known
