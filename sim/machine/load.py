"""What a kernel asks of one GPU under one library: per CTA, as rates and limits that flows can be made of.

    progress    counted in bytes asked of the L2, or in flop where a kernel moves no bytes
    in flight   a CTA that keeps q bytes in flight gets at most q / (mean latency of its bytes) a second (Little)
    loop        a CTA's steps cannot follow each other faster than its own loop
    one SM      arithmetic of a CTA runs on one SM's tensor cores
    share       a library that reaches a share f of a pipe's rate holds the pipe 1/f times as long

The gap between small kernels was measured between kernels that read the L2 once (gpu-benches, gpu-small-kernels), so a
kernel without numbers of its own does not pay that latency again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..hardware import Gpu
from ..stack import Kernels, of_generation
from .work import Work

PS = 1e12
PIPES = ("hbm", "l2", "flop")
UNBOUND = 1e30
"""A rate that nothing reaches."""


class Load(NamedTuple):
    """A kernel's demands on the device; rates are of one CTA, per second."""

    amount: float
    """What a CTA has to take."""
    uses: tuple[float, ...]
    """Of each pipe, per unit of the amount."""
    pipe: str
    """The one that it fills most."""
    in_flight: float
    """Most that the bytes it keeps in flight allow."""
    one_sm: float
    """Most that one SM's tensor cores allow."""
    loop: float
    """Most that its own loop allows."""
    loop_after: float
    """The same in later waves, whose CTAs begin while others run: the kernel's set-up does not stand for theirs."""
    fixed_ps: int
    """Set-up."""
    latency_ps: int
    """From the first request to the first bytes."""


class Loads:
    """Kernels' demands on one GPU under one library; without one, no kernel has numbers of its own."""

    def __init__(self, gpu: Gpu, kernels: Kernels | None) -> None:
        self.widths = (gpu.hbm.bandwidth_bytes_per_s * gpu.hbm.read_fraction, gpu.l2.bandwidth_bytes_per_s, 1.0)
        """What goes through each pipe at most: bytes per second, bytes per second, all tensor cores."""
        self._sms, self._peaks = gpu.sm.count, gpu.sm.peak_flop_per_s
        self._near, self._far = gpu.l2.near_latency_ps or 0, gpu.hbm.latency_ps or 0
        self._software = {} if kernels is None else _software(kernels, gpu)

    def numbers(self, family: str) -> Numbers:
        """The library's numbers of a family of kernels."""
        return self._software.get(family, _NONE)

    def of(self, work: Work) -> Load:
        """The demands of a kernel."""
        _, family, dtype, flop, issued, missed, grid = work
        near, far, peak = self._near, self._far, self._peaks[dtype]
        hbm, l2, _ = self.widths
        own = self._software.get(family, _NONE)
        whole = max(issued, missed) or flop or 1
        amount = whole / grid.ctas
        through_l2 = missed + max(0, issued - missed) / own.l2_share
        filled = (missed / hbm / own.hbm_share, through_l2 / l2, flop / peak)
        mean = near + (far - near) * missed / whole
        first = far if missed else near
        uses = (missed / own.hbm_share / whole, through_l2 / whole, filled[2] / whole)
        loop = grid.steps * own.step_ps
        after = loop + own.wave_ps
        return Load(
            amount, uses, PIPES[filled.index(max(filled))],
            in_flight=grid.inflight_bytes * PS / mean if mean else UNBOUND,
            one_sm=peak / self._sms * whole / flop if flop else UNBOUND,
            loop=amount / loop * PS if loop else math.inf,
            loop_after=amount / after * PS if after else math.inf,
            fixed_ps=own.fixed_ps + int(grid.joined * own.join_ps),
            latency_ps=first + int(own.cold_ps * missed / whole) if own.known else max(0, first - near),
        )


class Numbers(NamedTuple):
    """A library's numbers of one family."""

    fixed_ps: int = 0
    step_ps: float = 0.0
    hbm_share: float = 1.0
    l2_share: float = 1.0
    wave_ps: float = 0.0
    """A CTA of a later wave, beside its steps."""
    cold_ps: float = 0.0
    """Once, where everything comes from the memory."""
    join_ps: float = 0.0
    """One part that the last CTA joins."""
    known: bool = True
    """Whether the library has any."""


_NONE = Numbers(known=False)


def _software(kernels: Kernels, gpu: Gpu) -> dict[str, Numbers]:
    """The numbers by family, for this GPU's generation and SM clock."""
    cycle, name = PS / gpu.sm.clock_hz, gpu.generation
    gemm, attention = kernels.gemm, kernels.attention
    hbm, l2 = of_generation(gemm.hbm_share, name), of_generation(gemm.l2_share, name)
    step = of_generation(gemm.step_cycles, name) * cycle
    part = of_generation(attention.join_cycles, name) * cycle
    return {
        "gemm": Numbers(of_generation(gemm.fixed_ps, name), step, hbm, l2),
        "gemv": Numbers(of_generation(gemm.vector_fixed_ps, name),
                         of_generation(gemm.vector_step_cycles, name) * cycle, hbm, l2),
        "quantise": Numbers(of_generation(gemm.quantise_fixed_ps, name), 0.0, hbm, l2),
        "join": Numbers(of_generation(gemm.join_fixed_ps, name), step, hbm, l2),
        "attention": Numbers(
            of_generation(attention.fixed_ps, name), of_generation(attention.step_cycles, name) * cycle,
            of_generation(attention.hbm_share, name), of_generation(attention.l2_share, name),
            of_generation(attention.wave_cycles, name) * cycle, of_generation(attention.cold_ps, name), part),
        "combine": Numbers(of_generation(attention.join_fixed_ps, name), part),
        "transpose": Numbers(of_generation(attention.transpose_fixed_ps, name)),
    }
