"""What is soldered: a GPU described by numbers that each carry a source.

Field names end in their unit; the keys of hw_configs/gpus/*.yaml are the same names without it (`hbm.bandwidth:
4917 GB/s` fills `bandwidth_bytes_per_s`). Times are integers of picoseconds, rates are floats per second.
An optional field that is None is unknown; whatever needs it says so instead of guessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

DTYPE_BITS = {"fp64": 64, "fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4}
"""Bits of each data type that a peak, weights or activations may have."""


class Format(NamedTuple):
    """How weights are stored, and what multiplies them."""

    bits: float
    """Bits a weight, its share of the scales included."""
    operand: str | None = None
    """Type to which the input is quantised, in a kernel of its own, before it is multiplied; None: the input stays as
    it is, and weights are widened on the way (weight-only)."""


FORMATS = {name: Format(bits) for name, bits in DTYPE_BITS.items()} | {
    "fp8_tensor": Format(8, "fp8"),
    "fp8_block": Format(8 + 32 / 128**2, "fp8"),
    "nvfp4": Format(4 + 8 / 16, "fp4"),
    "int8_wo": Format(8),
    "int4_wo": Format(4 + 16 / 128),
}
"""Formats of weights: plain types, and those with scales (one a tensor, 32 bits a block of 128 x 128, 8 bits for 16
weights, 16 bits for 128)."""


MOST_REUSE = 16.0
"""No cache keeps anything over so many of its capacities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sm:
    """The streaming multiprocessors."""

    count: int
    clock_hz: float
    """The clock they run at under load, at which cycles are counted."""
    peak_clock_hz: float | None = None
    """The clock at which the peaks are quoted."""
    peak_flop_per_s: dict[str, float]
    """Dense peak of the whole GPU by data type of the operands: bf16, fp8, fp32, ..."""
    max_threads: int | None = None
    """Resident threads per SM."""
    max_ctas: int | None = None
    """Resident CTAs per SM."""
    shared_memory_bytes: int | None = None
    """Shared memory per SM."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count} is below 1")
        unknown = sorted(self.peak_flop_per_s.keys() - DTYPE_BITS.keys())
        if unknown or not self.peak_flop_per_s:
            raise ValueError(f"peak names {unknown[0] if unknown else 'no type'}; types are {', '.join(DTYPE_BITS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class L2:
    """The last-level cache."""

    capacity_bytes: int
    sides: int = 1
    """Parts that keep copies of each other's lines."""
    shared_plateau: float | None = None
    """Where the plateau ends for what CTAs on all SMs read, in capacities; None: as `hit_curve`, whose reads are each
    of one SM."""
    knee: tuple[float, float] | None = None
    """Reuse distances in capacities between which a read hits or misses by who reads; None: nowhere."""
    bandwidth_bytes_per_s: float
    """Read bandwidth on the plateau of footprints that fit."""
    hit_curve: tuple[tuple[float, float], ...]
    """(unique bytes since the last use / capacity, fraction that hits), piecewise linear, falling from 1 to 0."""
    usable_fraction: float = 1.0
    """Part of the capacity that the hit curve counts as the whole: 1 for the accesses with which it was measured."""
    keep_fraction: float | None = None
    """Most of the capacity that can be set aside for tensors to keep; None: the chip cannot."""
    near_latency_ps: int | None = None
    far_latency_ps: int | None = None
    line_bytes: int = 128
    slices: int | None = None
    """Of all sides; with what follows, the organisation that the cycle tier simulates."""
    ways: int | None = None
    slice_bytes_per_clock: int | None = None
    """What a slice gives in a clock."""
    slice_misses: int | None = None
    """Lines that a slice can wait for."""
    replacement: str = "lru2"
    """lru, lru2 (the not-quite LRU that fits measured curves), lru4, random or fifo."""
    crossing_ps: int | None = None
    """What a line on the other side takes longer, with nothing else running."""
    link_bytes_per_s: float | None = None
    """Between the sides, both directions together."""

    def __post_init__(self) -> None:
        if self.keep_fraction is not None and not 0 <= self.keep_fraction <= 1:
            raise ValueError(f"keep_fraction={self.keep_fraction} is not between 0 and 1")
        if not 0 < self.usable_fraction <= 2:
            raise ValueError(f"usable_fraction={self.usable_fraction} is not above 0 and at most 2")
        if self.knee is not None and not 0 < self.knee[0] < self.knee[1]:
            raise ValueError(f"knee=[{self.knee[0]:g}, {self.knee[1]:g}] must rise, from above 0")
        if self.shared_plateau is not None and not 0 < self.shared_plateau <= 1:
            raise ValueError(f"shared_plateau={self.shared_plateau:g} is not above 0 and at most 1")
        if self.sides not in (1, 2):
            raise ValueError(f"sides={self.sides} is neither 1 nor 2")
        at = [x for x, _ in self.hit_curve]
        hits = [h for _, h in self.hit_curve]
        if not at or at != sorted(at) or hits != sorted(hits, reverse=True) or not 0 <= hits[-1] <= hits[0] <= 1:
            raise ValueError("hit_curve must be points (x, h) with x rising and h falling between 1 and 0")
        if at[-1] > MOST_REUSE:
            raise ValueError(f"hit_curve ends at {at[-1]:g}, beyond {MOST_REUSE:g} capacities")


    @property
    def plateau(self) -> float:
        """The longest reuse distance, in capacities, at which everything hits."""
        return max((x for x, h in self.hit_curve if h == 1), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hbm:
    """The memory, of whatever kind."""

    technology: str
    bandwidth_bytes_per_s: float
    """Physical rate: memory clock times bus width."""
    label_bandwidth_bytes_per_s: float | None = None
    """The rate on the data sheet."""
    read_fraction: float = 1.0
    """Best rate measured by reading alone, over the physical rate: refresh, turn-arounds and banks take the rest."""
    capacity_bytes: int
    channels: int | None = None
    """Independent channels, pseudo-channels where the kind has them."""
    latency_ps: int | None = None
    """From a load to its data with nothing else running, past the L2."""
    miss_ps: int | None = None
    """What a miss takes longer than a hit on the same side, with nothing else running."""
    timing: str | None = None
    """Name of the DRAM timing set in hw_configs/dram."""
    refresh: str = "bank"
    """How the cycle tier's channels refresh: bank (one after the other), all (banks at once) or none."""

    def __post_init__(self) -> None:
        if not 0 < self.read_fraction <= 1:
            raise ValueError(f"read_fraction={self.read_fraction} is not above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The front end: what stands between two dependent kernels, whatever the software."""

    node_gap_ps: int
    """From the end of one kernel to the start of a dependent one inside a CUDA graph, both small."""
    stream_gap_ps: int
    """The same for kernels launched one by one into a stream that is kept full."""
    pdl_gap_ps: int | None = None
    """The gap inside a graph with programmatic dependent launch; None: the chip has none."""
    start_ps: int
    """From the launch call's return on an idle GPU to the first kernel's start."""
    barrier_ps: int | None = None
    """A grid-wide barrier inside a persistent kernel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Roads to the host and to other GPUs, per direction."""

    host_bytes_per_s: float | None = None
    peer_bytes_per_s: float | None = None
    latency_ps: int | None = None
    """Of a transfer to another GPU, beside its bytes over the rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Power of the whole board."""

    limit_w: float | None = None
    window_ps: int | None = None
    """Over what time the board averages its power before it lowers the clock; None: the limit is not simulated."""
    idle_w: float | None = None
    static_w: float | None = None
    per_hbm_byte_j: float | None = None
    per_flop_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU; `name` is its file's."""

    name: str
    title: str
    """As people call it."""
    generation: str
    """Architecture, by which a stack's kernel numbers are looked up: ampere, ada, hopper, blackwell, ..."""
    sm: Sm
    l2: L2
    hbm: Hbm
    launch: Launch
    link: Link
    energy: Energy
    price_per_hour_usd: float | None = None
