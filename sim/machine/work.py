"""What the tiers of the device have in common: the work of one kernel after the cache, and the interface."""

from __future__ import annotations

from typing import NamedTuple, Protocol, cast

from ..kernels.demand import Grid


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
    grid: Grid


class Timed(NamedTuple):
    """A kernel that ended."""

    work: Work
    duration_ps: int
    parts: tuple[tuple[str, int], ...]
    """The duration by what the kernel waited for, without remainder."""
    prologue_ps: int = 0
    """Part of its latency that a persistent kernel does not have: set-up, and the first bytes of weights."""

    @property
    def bound(self) -> str:
        """What it waited for most."""
        return max(self.parts, key=lambda part: part[1], default=("latency", 0))[0]

    def without_prologue(self) -> Timed:
        """The kernel as a part of a persistent one."""
        latency = dict(self.parts).get("latency", 0)
        saved = min(self.prologue_ps, latency)
        parts = tuple((why, time - saved if why == "latency" else time) for why, time in self.parts)
        return Timed(self.work, self.duration_ps - saved, parts, 0)


class Device(Protocol):
    """Runs kernels: roofline and fluid, and the tiers to come, answer these three."""

    def start(self, work: Work, now: int) -> None:
        """Begin a kernel at `now` (picoseconds)."""
        ...

    def next_end(self) -> int | None:
        """When the next running kernel will end if nothing else starts; None when nothing runs."""
        ...

    def advance(self, now: int) -> list[Timed]:
        """Let time pass up to `now`; return the kernels that ended, in order."""
        ...


def alone(device: Device, work: Work) -> Timed:
    """The kernel with the device to itself; a tier may know a shorter way to the same answer."""
    shorter = getattr(device, "alone", None)
    if shorter is not None:
        return cast(Timed, shorter(work))
    device.start(work, 0)
    end = device.next_end()
    assert end is not None
    (timed,) = device.advance(end)
    return timed
