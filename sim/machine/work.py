"""What the tiers of the device have in common: the work of one kernel after the cache, and the interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Work(NamedTuple):
    """A kernel as the device sees it: how much of each resource, whatever it is for."""

    name: str
    family: str
    dtype: str
    flop: int
    issued_bytes: int
    """Asked of the L2."""
    hbm_bytes: int
    """Asked of the HBM."""


class Device(Protocol):
    """Runs kernels: roofline, and the tiers to come, answer these three."""

    bound: str

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel at `now` (picoseconds)."""
        ...

    def next_end(self) -> int | None:
        """When the next running kernel will end if nothing else starts; None when nothing runs."""
        ...

    def advance(self, now: int) -> None:
        """Let time pass up to `now`."""
        ...
