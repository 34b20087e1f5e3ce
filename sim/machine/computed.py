"""A pass computed once: its kernels' times and traffic, kept for every pass of equal shape on an equal cache.

The key of a computed pass is its shape (rows, depths, contexts rounded to the attention block) and the cache's recency
list. Whatever depends on the exact context (bytes of keys and values, attention's multiplications) is kept per row and
key, and multiplied out for each pass that really ran: rounding is for time, never for bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ..hardware import Energy
from ..kernels.demand import Grid, Kernel, Tensor
from ..kernels.lower import Lowering, PassShape
from ..model import Model
from ..program import TARGET
from .l2 import Residency, State
from .power import joules
from .prepared import Piece, Prepared, Read, prepared, role
from .work import Device, Timed, Work, alone

MOST_KEPT = 4096
"""Computed passes kept at a time; beyond it they are forgotten and computed again."""

MISS_UNIT = 2**20
"""Bytes that miss per row and key are counted in 1 / MISS_UNIT, so that sums over passes are exact in any order."""


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """What a pass of one shape costs on one state of the cache. Equal costs are one object."""

    kernels: tuple[Timed, ...]
    flop: int
    """Without self-attention."""
    requested: dict[str, int]
    """Bytes before the cache by kind, without self-attention's keys and values."""
    hbm: dict[str, int]
    """Bytes after it, likewise."""
    knee_bytes: int
    """Bytes read where a two-sided cache is hard to predict (L2.knee)."""
    energy_j: float
    """Beside the board's static power."""
    row_flop_per_key: tuple[int, ...] = ()
    """Self-attention's flop of each row per key of its context."""
    row_bytes_per_key: tuple[int, ...] = ()
    row_missed_per_key: tuple[int, ...] = ()
    """Bytes of each row per key of its context before the cache, and after it in 1 / MISS_UNIT."""
    row_coda_bytes_per_key: tuple[int, ...] = ()
    row_coda_missed_per_key: tuple[int, ...] = ()
    """The coda's part of these, where rows meet in a layer instance."""


class Cache:
    """The L2 of one device, and the states it has been in by small numbers. All models on the device share it."""

    def __init__(self, residency: Residency) -> None:
        self.residency = residency
        self.epoch = 0
        """Counts how often the numbers were given up."""
        self._names: dict[tuple[str | int, ...], int] = {}
        self._resident: dict[int, dict[str, int]] = {}
        self._numbers: dict[State, int] = {}
        self._states: list[State] = []
        self.state = self.number(residency.state())
        """The state it is in now."""

    def name(self, tensor: tuple[str | int, ...]) -> int:
        """A small name for a tensor."""
        return self._names.setdefault(tensor, len(self._names))

    def number(self, state: State) -> int:
        """A small name for a state."""
        known = self._numbers.setdefault(state, len(self._states))
        if known == len(self._states):
            self._states.append(state)
        return known

    def restore(self) -> None:
        """Put the recency list into the state it is in now; computing something else may have moved it."""
        self.residency.restore(self._states[self.state])

    def resident(self) -> dict[str, int]:
        """Bytes that a read would find in the state it is in, by what they belong to: group, head, kv, ..."""
        known = self._resident.get(self.state)
        if known is None:
            known = self._resident[self.state] = {}
            self.restore()
            names = list(self._names)
            for number, size in self.residency.resident().items():
                assert isinstance(number, int)
                owner = _belongs(names[number])
                known[owner] = known.get(owner, 0) + size
        return known

    def forget(self) -> None:
        """Give up all numbers of states, so that memory stays bounded."""
        self._numbers, self._states, self._resident = {}, [], {}
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
        self._forget()

    @property
    def model(self) -> Model:
        """The model whose passes it computes."""
        return self._lowering.model

    def resident(self) -> dict[str, int]:
        """What the cache holds now, in bytes by what they belong to."""
        return self._cache.resident()

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
        return len(self._prepare(shape).pieces)

    def copy(self, positions: int) -> Computed:
        """One kernel that reads and writes keys and values of so many positions in all layers, past the L2."""
        model = self._lowering.model
        parts = positions * model.layers
        size = 2 * parts * model.kv_bytes
        work = Work("compact", "kv_cache", model.dtype.activations, 0, size, size,
                    Grid(parts, 1, self._lowering.software.inflight_bytes))
        timed = (self._time(work),)
        return Computed(timed, 0, {"kv": size}, {"kv": size}, 0, joules(timed, self._energy))

    def once(self, shape: PassShape) -> Computed:
        """What the pass costs on an empty cache, without leaving anything in it."""
        self._residency.restore(((), (), ()))
        return self._compute(shape)

    def _forget(self) -> None:
        self._epoch = self._cache.epoch
        self._kept: dict[tuple[int, PassShape], tuple[Computed, int]] = {}
        self._equal: dict[object, Computed] = {}
        self._prepared: dict[PassShape, Prepared] = {}
        self._pieces: dict[int, Piece] = {}
        """By the identity of the kernel, which lives as long as its piece."""
        self._times: dict[tuple[object, ...], Timed] = {}
        self._numbers: dict[Work, int] = {}
        """A small name for every kernel that differs in anything."""

    def _compute(self, shape: PassShape) -> Computed:
        """Take every kernel through the cache and give it its time there."""
        ready = self._prepare(shape)
        residency = self._residency
        read = residency.read
        hbm = dict(ready.missed)
        missing: dict[int, float] = {}
        timed: list[Timed] = []
        content: list[int] = []
        knee = 0
        for piece in ready.pieces:
            missed_all = piece.missed
            for name, size, policy, kind, shared, instance in piece.reads:
                hit = read(name, size, policy, shared)
                missed = size - int(size * hit)
                missed_all += missed
                if residency.near_knee:
                    knee += size
                if instance is None:
                    hbm[kind] += missed
                else:
                    missing[instance] = 1.0 - hit
            number, time = piece.times.get(missed_all) or self._first_time(piece, missed_all)
            content.append(number)
            timed.append(time)
        return self._made(shape, timed, content, hbm, missing, knee)

    def _made(self, shape: PassShape, timed: list[Timed], content: list[int], hbm: dict[str, int],
              missing: dict[int, float], knee: int) -> Computed:
        """The pass of these kernels; `missing` is the fraction of each layer instance's keys and values that missed."""
        ready = self._prepare(shape)
        unit = self.model.kv_bytes * MISS_UNIT
        row_missed = tuple([round(sum([missing[i] for i in of]) * unit) for of in ready.instances])
        coda_missed = tuple([round(sum([missing[i] for i in of[len(of) - n:]]) * unit)
                             for of, n in zip(ready.instances, ready.codas, strict=True)]) if shape.meets else ()
        key = (tuple(content), row_missed, coda_missed)
        known = self._equal.get(key)
        if known is None:
            known = self._equal[key] = Computed(
                tuple(timed), ready.flop, ready.requested, hbm, knee, joules(timed, self._energy),
                ready.row_flop_per_key, ready.row_bytes_per_key, row_missed,
                tuple([n * self.model.kv_bytes for n in ready.codas]) if shape.meets else (), coda_missed)
        return known

    def _prepare(self, shape: PassShape) -> Prepared:
        known = self._prepared.get(shape)
        if known is None:
            pieces = self._pieces
            kernels = self._lowering.kernels(shape)
            known = self._prepared[shape] = prepared(
                tuple([pieces.get(id(kernel)) or self._piece(kernel) for kernel in kernels]), shape, self.model)
        return known

    def _piece(self, kernel: Kernel) -> Piece:
        cache, policy = self._cache, self._policy
        reads = tuple(
            Read(cache.name((self._owner_of(tensor), *tensor.name)), size, policy.get(role(tensor), "normal"),
                 tensor.kind, kernel.demand.shared, int(tensor.name[1]) if tensor.name[0] == "kv" else None)
            for tensor, size in kernel.demand.reads if tensor.kind != "activations"
        )
        piece = self._pieces[id(kernel)] = Piece(kernel, reads, self._residency.holds)
        return piece

    def _owner_of(self, tensor: Tensor) -> str:
        return TARGET if tensor.kind == "head" and self.model.heads.borrowed else self._owner

    def _first_time(self, piece: Piece, missed: int) -> tuple[int, Timed]:
        """A number for a kernel that misses so many bytes, and its time."""
        work = piece.work._replace(hbm_bytes=missed)
        found = piece.times[missed] = (self._numbers.setdefault(work, len(self._numbers)), self._time(work))
        return found

    def _time(self, work: Work) -> Timed:
        """The kernel alone on the device; kernels that are equal but for their name recur in every layer and pass."""
        known = self._times.get(work[1:])
        if known is None:
            known = self._times[work[1:]] = alone(self._device, work)
        return known if known.work.name == work.name else known._replace(work=work)


@lru_cache(maxsize=4096)
def _belongs(name: tuple[str | int, ...]) -> str:
    """What a tensor is a part of, for pictures: kv, head, group, ...; another model's with its name in front."""
    kept = [str(part) for part in name]
    part = next((part for part in ("kv", "head") if part in kept), kept[-2].rstrip("0123456789"))
    return f"{kept[0]} {part}" if len(kept) == 3 and kept[0] not in ("", TARGET) else part
