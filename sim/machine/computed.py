"""A pass computed once: its kernels' times and traffic, kept for every pass of equal shape on an equal cache.

The key of a computed pass is its shape (rows, depths, contexts rounded to the attention block) and the cache's recency
list. Whatever depends on the exact context (bytes of keys and values, attention's multiplications) is kept per row and
key, and multiplied out for each pass that really ran: rounding is for time, never for bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..hardware import Energy
from ..kernels.attention import flop_per_key
from ..kernels.demand import Grid, Kernel, Tensor
from ..kernels.lower import Lowering, PassShape
from ..model import Model
from ..units import duration_ps
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
    knee_bytes: int
    """Bytes read where a two-sided cache is hard to predict (l2.KNEE)."""
    row_flop_per_key: tuple[int, ...]
    """Self-attention's flop of each row per key of its context."""
    row_bytes_per_key: tuple[int, ...]
    row_missed_per_key: tuple[float, ...]
    """Bytes of each row per key of its context before and after the cache."""


class Cache:
    """The L2 of one device, and the states it has been in by small numbers. All models on the device share it."""

    def __init__(self, residency: Residency) -> None:
        self.residency = residency
        self.epoch = 0
        """Counts how often the numbers were given up."""
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self.state = self.number(residency.state())
        """The state it is in now."""

    def number(self, state: State) -> int:
        """A small name for a state."""
        known = self._numbers.setdefault(state, len(self._states))
        if known == len(self._states):
            self._states.append(state)
        return known

    def restore(self) -> None:
        """Put the recency list into the state it is in now; computing something else may have moved it."""
        self.residency.restore(self._states[self.state])

    def forget(self) -> None:
        """Give up all numbers, so that memory stays bounded."""
        self._numbers, self._states = {}, []
        self.epoch += 1


class Computer:
    """Computes passes of one model on a device and its cache, and remembers them.

    `owner` tells the tensors of models that share a cache apart; empty for a model that is alone.
    """

    def __init__(self, lowering: Lowering, device: Device, cache: Cache, energy: Energy, policy: dict[str, str],
                 remember: bool = True, owner: str = "") -> None:
        self._lowering, self._device, self._cache, self._residency = lowering, device, cache, cache.residency
        self._energy, self._policy, self._remember = energy, policy, remember
        self._owner = owner
        self._count = 0
        self._forget()

    @property
    def model(self) -> Model:
        """The model whose passes it computes."""
        return self._lowering.model

    def run(self, shape: PassShape) -> Computed:
        """Run the pass now: its cost on the cache as the passes before left it."""
        cache = self._cache
        if self._epoch != cache.epoch:
            self._forget()
        key = (cache.state, shape)
        kept = self._kept.get(key)
        if kept is None:
            cache.restore()
            computed = self._compute(shape)
            state = self._residency.state()
            if len(self._kept) < MOST_KEPT and self._remember:
                kept = self._kept[key] = (computed, cache.number(state))
            else:
                cache.forget()
                self._forget()
                kept = (computed, cache.number(state))
        cache.state = kept[1]
        return kept[0]

    def count(self, shape: PassShape) -> int:
        """Kernels of a pass, whatever the cache holds."""
        known = self._counts.get(shape)
        if known is None:
            known = self._counts[shape] = len(self._lowering.kernels(shape))
        return known

    def copy(self, positions: int) -> Computed:
        """One kernel that reads and writes keys and values of so many positions in all layers, past the L2."""
        model = self._lowering.model
        parts = positions * model.layers
        size = 2 * parts * model.kv_bytes
        work = Work("compact", "kv_cache", model.dtype.activations, 0, size, size, Grid(parts))
        each = {"kv": size}
        return Computed(0, (self.time(work),), 0, each, each, 0, (), (), ())

    def once(self, shape: PassShape) -> Computed:
        """What the pass costs on an empty cache, without leaving anything in it."""
        self._residency.restore(((), (), ()))
        return self._compute(shape)

    def _forget(self) -> None:
        self._epoch = self._cache.epoch
        self._kept: dict[tuple[int, PassShape], tuple[Computed, int]] = {}
        self._equal: dict[object, Computed] = {}
        self._times: dict[tuple[object, ...], Timed] = {}
        self._counts: dict[PassShape, int] = {}

    def _compute(self, shape: PassShape) -> Computed:
        kernels = self._lowering.kernels(shape)
        model = self._lowering.model
        requested = dict.fromkeys(("weights", "head", "kv", "activations"), 0)
        hbm = dict(requested)
        missing: dict[tuple[str | int, ...], float] = {}
        timed, flop = [], 0
        self._knee = 0
        for kernel in kernels:
            work = self._fetch(kernel, requested, hbm, missing)
            timed.append(self.time(work))
            flop += work.flop
        row_flop, row_bytes, row_missed = [], [], []
        for row in shape.rows:
            instances = self._instances(row.depth, row.read, shape.repetitions)
            missed = [missing[name] for i in instances if (name := ("kv", i)) in missing]
            row_flop.append(len(missed) * flop_per_key(model))
            row_bytes.append(len(missed) * model.kv_bytes)
            row_missed.append(sum(missed) * model.kv_bytes)
            flop -= row_flop[-1] * row.context
        content = (tuple(timed), tuple(row_missed))
        known = self._equal.get(content)
        if known is None:
            self._count += 1
            known = self._equal[content] = Computed(
                self._count, tuple(timed), flop, requested, hbm, self._knee, tuple(row_flop), tuple(row_bytes),
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
                name = (self._owner, *tensor.name) if self._owner else tensor.name
                hit = self._residency.read(name, size, self._policy.get(_role(tensor), "normal"))
                self._knee += size if self._residency.near_knee else 0
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

    def time(self, work: Work) -> Timed:
        """The kernel alone on the device; kernels that are equal but for their name recur in every layer and pass."""
        known = self._times.get(work[1:])
        if known is None:
            known = self._times[work[1:]] = throttled(alone(self._device, work), self._energy)
        return known if known.work.name == work.name else known._replace(work=work)


def _role(tensor: Tensor) -> str:
    """What an L2 policy calls a tensor."""
    if tensor.kind != "weights":
        return tensor.kind
    where = str(tensor.name[0])
    return "group" if where.startswith("group") or where == "adapter" else where


def throttled(timed: Timed, energy: Energy) -> Timed:
    """The kernel stretched until the board's mean power is its limit: above it the clock falls.

    E = static * t + (joules a byte) * HBM bytes + (joules a flop) * flop <= limit * t
    """
    limit, static = energy.limit_w, energy.static_w
    if limit is None or static is None or limit <= static:
        return timed
    work = timed.work
    joules = (energy.per_hbm_byte_j or 0.0) * work.hbm_bytes + (energy.per_flop_j or 0.0) * work.flop
    least = duration_ps(joules, limit - static)
    if least <= timed.duration_ps:
        return timed
    parts = (*timed.parts, ("flop", least - timed.duration_ps))
    return Timed(work, least, parts, timed.prologue_ps)
