"""Software: how kernels are chosen and launched, and where the schedule decides.

The same chip answers differently under different software, so a stack is a description of its own. Keys of
hw_configs/stacks/*.yaml are the field names without their unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

LAUNCHES = ("eager", "stream", "graph", "graph+pdl", "persistent")
POLICIES = ("normal", "keep", "stream")
BACKENDS = ("flash3", "flash2", "trtllm_gen", "triton", "fill")
"""Attention libraries whose rules are known (kernels/splits.py); fill is no library's."""
TENSORS = ("group", "head", "kv")
"""Tensors that an L2 policy can name: the group's weights, the head, keys and values."""


class Control(NamedTuple):
    """Where the schedule decides: on the host, on the host `lag` passes late, or on the device."""

    where: str
    lag: int = 0

    def __str__(self) -> str:
        return f"lagged:{self.lag}" if self.where == "lagged" else self.where

    @staticmethod
    def parse(text: str) -> Control:
        """`host`, `lagged:N` with N >= 1, or `device`; ValueError otherwise."""
        if text in ("host", "device"):
            return Control(text)
        lag = re.fullmatch(r"lagged:([1-9]\d{0,5})", text)
        if lag is None:
            raise ValueError(f"control {text!r} is none of host, lagged:N (N >= 1), device")
        return Control("lagged", int(lag[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """What the processor spends."""

    turnaround_ps: int
    """After a pass with exits, up to the next launch call: copy of 4 bytes a row, synchronise, the decision."""
    dispatch_ps: int
    """One operation of the eager framework, from Python to the launch."""
    enqueue_ps: int
    """One kernel launched into a stream without a framework around it."""
    graph_call_ps: int
    """One call that launches a captured graph."""
    work_ps: dict[str, int] = field(default_factory=dict)
    """One item of other work on the processor, by its kind (program.Host)."""


T = TypeVar("T")


def of_generation(numbers: dict[str, T], generation: str) -> T:
    """The number of a GPU generation, or the one for all others."""
    return numbers[generation] if generation in numbers else numbers["default"]


def _check_numbers(kernels: object, counts: tuple[str, ...], by_generation: Iterable[str]) -> None:
    """Refuse counts below 1, and numbers by generation that are none for the other generations."""
    for name in counts:
        if getattr(kernels, name) < 1:
            raise ValueError(f"{name}={getattr(kernels, name)} is below 1")
    for name in by_generation:
        if "default" not in getattr(kernels, name):
            raise ValueError(f"{name} has no default for the GPUs that it does not name")


def _check_shares(kernels: object, shares: tuple[str, ...]) -> None:
    """Refuse shares of a rate that are none."""
    for name in shares:
        for generation, share in getattr(kernels, name).items():
            if not 0 < share <= 1:
                raise ValueError(f"{name}={share:g} of {generation} is not above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmKernels:
    """The library's linear layers for few rows. Dictionaries are by GPU generation, `default` for the others."""

    tiles: tuple[int, ...]
    """Output columns a CTA may take."""
    tile_rows: int
    """Rows a CTA takes."""
    large_tile: tuple[int, int]
    """Rows and columns of a CTA where that fills every SM, as in a prompt: k is not split then; 0, 0: there is none."""
    k_step: int
    """Elements of k that a CTA takes at a time."""
    stages: int
    """Steps whose weights a CTA has in flight."""
    wide_penalty: float
    """How much longer a step of the widest tile counts in the library's choice."""
    split_cost: dict[str, int]
    """What splitting k counts in the library's choice, in elements of k."""
    split_least: dict[str, int]
    """Fewest elements of k in a split; 0: k is never split."""
    small_product: dict[str, int]
    """Layers with fewer rows x columns x k than this go to a kernel that never splits k; 0: none does."""
    small_most_k: dict[str, int]
    """The most k that this kernel takes."""
    step_cycles: dict[str, float]
    """SM cycles of one step of a CTA's loop, whatever its rows and columns."""
    fixed_ps: dict[str, int]
    """Prologue and epilogue of a kernel, beyond the gap between two small kernels."""
    join_fixed_ps: dict[str, int]
    """The same of the kernel that adds the parts of a split."""
    vector_step_cycles: dict[str, float]
    """A step's cycles in the kernel for one row (GEMV), which never splits k; 0: one row has no kernel of its own."""
    vector_elements: dict[str, int]
    """The largest matrix, in elements, that this kernel takes."""
    vector_fixed_ps: dict[str, int]
    """Prologue and epilogue of that kernel."""
    quantise_fixed_ps: dict[str, int]
    """Prologue and epilogue of the kernel that quantises an input before it is multiplied."""
    hbm_share: dict[str, float]
    """Share of a pure read's rate (hbm.read_fraction) that these kernels reach."""
    l2_share: dict[str, float]
    """Share of l2.bandwidth at which what the cache holds comes; what it misses is bound by the memory."""
    input_share: dict[str, float]
    """Share of what the CTAs behind the first read of the input that reaches the L2."""

    def __post_init__(self) -> None:
        numbers = [name for name in self.__slots__ if isinstance(getattr(self, name), dict)]
        _check_numbers(self, ("tile_rows", "k_step", "stages"), numbers)
        _check_shares(self, ("hbm_share", "l2_share"))
        if not self.tiles or min(self.tiles) < 1:
            raise ValueError(f"tiles={list(self.tiles)} must be numbers of columns, 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionKernels:
    """The attention backend. Dictionaries are by GPU generation, `default` for the others."""

    backend: dict[str, str]
    """Whose rule cuts attention into CTAs (kernels/splits.py)."""
    block: int
    """Contexts of a pass are rounded up to so many keys for time, never for bytes, so that equal passes recur."""
    stages: int
    """Steps whose keys and values a CTA has in flight."""
    most_splits: dict[str, int]
    """Parts that a context may be split into over CTAs."""
    step_cycles: dict[str, float]
    """SM cycles of one step of a CTA's loop through 128 keys of 128 elements; other steps in proportion."""
    wave_cycles: dict[str, float]
    """SM cycles beside its steps of a CTA that follows another on its SM: its query, its first keys, its result."""
    fixed_ps: dict[str, int]
    """Prologue and epilogue of a kernel, beyond the gap between two small kernels."""
    cold_ps: dict[str, int]
    """Added once where keys and values come from the memory, in proportion where a part of them does."""
    join_fixed_ps: dict[str, int]
    """Prologue and epilogue of the kernel that combines splits."""
    join_cycles: dict[str, float]
    """SM cycles to combine one split."""
    transpose_fixed_ps: dict[str, int]
    """Prologue and epilogue of a copy that a wrapper makes to swap heads and rows."""
    hbm_share: dict[str, float]
    """Share of a pure read's rate (hbm.read_fraction) that these kernels reach."""
    l2_share: dict[str, float]
    """Share of l2.bandwidth at which what the cache holds comes; what it misses is bound by the memory."""

    def __post_init__(self) -> None:
        numbers = [name for name in self.__slots__ if isinstance(getattr(self, name), dict)]
        _check_numbers(self, ("block", "stages"), numbers)
        _check_shares(self, ("hbm_share", "l2_share"))
        for generation, name in self.backend.items():
            if name not in BACKENDS:
                raise ValueError(f"backend={name} of {generation} is none of {', '.join(BACKENDS)}")
        for generation, most in self.most_splits.items():
            if most < 1:
                raise ValueError(f"most_splits={most} of {generation} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Software numbers of each kernel family."""

    inflight_bytes: int
    """Bytes that a CTA keeps in flight to memory where its family says nothing of its own."""
    gemm: GemmKernels
    attention: AttentionKernels

    def __post_init__(self) -> None:
        _check_numbers(self, ("inflight_bytes",), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """Factors by which a part of a time may really differ: (low, high), meant to hold 90 % of the cases."""

    host: tuple[float, float]
    launch: tuple[float, float]
    device: dict[str, tuple[float, float]]
    """Time inside kernels, by tier."""

    def __post_init__(self) -> None:
        for name, (low, high) in {"host": self.host, "launch": self.launch, **self.device}.items():
            if not 0 < low <= 1 <= high:
                part = name if name in ("host", "launch") else f"device.{name}"
                raise ValueError(f"{part}=[{low:g}, {high:g}] is no range of factors around 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the software takes of the GPU's memory beside weights, keys and values."""

    page: int = 1
    """Positions that keys and values are allocated for at a time."""
    graph_bytes: int = 0
    """A captured graph of one width."""
    runtime_bytes: int = 0
    """The CUDA context, the libraries and the framework."""

    def __post_init__(self) -> None:
        if self.page < 1:
            raise ValueError(f"page={self.page} is below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A software stack; `name` is its file's."""

    name: str
    title: str
    framework: str
    version: str
    launch: str
    """One of LAUNCHES."""
    control: str
    """host, lagged:N or device."""
    plan: str
    """Execution plan: which kernels a pass is made of (workloads/plans)."""
    widths: tuple[int, ...] | None = None
    """Row counts for which a graph is captured, rising; None: every row count. Beyond the last a pass runs eager."""
    host: HostWork
    kernels: Kernels
    memory: Memory = Memory()
    l2_policy: dict[str, str] = field(default_factory=dict)
    """Policy by tensor (TENSORS, POLICIES): keep sets it aside in the L2, stream lets it pass by."""
    uncertainty: Uncertainty

    def __post_init__(self) -> None:
        for tensor, policy in self.l2_policy.items():
            if tensor not in TENSORS or policy not in POLICIES:
                raise ValueError(f"l2_policy {tensor}: {policy} is not one of {', '.join(TENSORS)} with one of "
                                 f"{', '.join(POLICIES)}")
        if self.launch not in LAUNCHES:
            raise ValueError(f"launch {self.launch!r} is none of {', '.join(LAUNCHES)}")
        Control.parse(self.control)
        if self.widths is not None and (not self.widths or list(self.widths) != sorted({w for w in self.widths if w})):
            raise ValueError(f"widths={list(self.widths)} must rise, from 1 or more")
