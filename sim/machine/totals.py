"""What each kernel of the plan cost over a whole run, layers and passes together."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from ..timeline import KernelTotal
from .work import Timed


def enter(totals: dict[str, KernelTotal], kernels: Iterable[Timed], times: int) -> None:
    """These kernels ran, all of them so many times."""
    for work, _, parts, _ in kernels:
        name = _without_layer(work.name)
        total = totals.get(name)
        if total is None:
            total = totals[name] = KernelTotal(work.family)
        total.launches += times
        total.flop += times * work.flop
        total.bytes_requested += times * work.issued_bytes
        total.bytes_hbm += times * work.hbm_bytes
        for why, time in parts:
            total.bound_ps[why] += times * time


@lru_cache(maxsize=4096)
def _without_layer(name: str) -> str:
    """`group1.linear:qkv` as `group.linear:qkv`."""
    where, _, what = name.partition(".")
    return f"{where.rstrip('0123456789')}.{what}"
