"""From a GPU's description to the parts that the cycle tier simulates, every time in femtoseconds.

A latency that is configured is kept exactly: a hit alone takes `l2.near_latency`, a line of the other side
`l2.crossing` longer, a miss `hbm.miss` longer. What the parts themselves take (slice, port, link, activate to data)
comes out of it, the rest is wire. An SM's port takes its share of the plateau of L2 bandwidth that was measured with
all SMs; channel rates are the card's; the timing set's nanoseconds stay.
"""

from __future__ import annotations

from typing import NamedTuple

from ..dram import Dram
from ..hardware import Gpu
from ..units import InputError, NotCoveredError
from .cycle_l2 import REPLACEMENTS, Cache, cache
from .cycle_parts import LINE, SECTOR, Paths
from .cycle_queue import ALL_BANKS, NO_REFRESH, PER_BANK, Timing, timing

REFRESHES = {"none": NO_REFRESH, "all": ALL_BANKS, "bank": PER_BANK}
NEEDED = {
    "l2": ("slices", "ways", "slice_bytes_per_clock", "slice_misses", "near_latency_ps"),
    "hbm": ("channels", "miss_ps", "timing"),
}
TWO_SIDED = ("crossing_ps", "link_bytes_per_s")
QUEUE_SHARE = 4
"""The path from a slice to its channel is a quarter of what a miss takes beyond the DRAM itself."""


class Organisation(NamedTuple):
    """The parts."""

    paths: Paths
    timing: Timing
    cache: Cache


def organisation(gpu: Gpu, dram: Dram) -> Organisation:
    """The parts of a GPU whose channels keep this timing set.

    Raises NotCoveredError where its organisation is not known, InputError where its parts do not divide.
    """
    _check(gpu)
    l2, hbm, sm = gpu.l2, gpu.hbm, gpu.sm
    assert l2.slices is not None
    assert l2.ways is not None
    assert l2.slice_bytes_per_clock is not None
    assert l2.slice_misses is not None
    assert l2.near_latency_ps is not None
    assert hbm.channels is not None
    assert hbm.miss_ps is not None
    clock = round(1e15 / sm.clock_hz)
    tick_fs = dram.clock_fs(hbm.bandwidth_bytes_per_s / hbm.channels)
    t = timing(dram, tick_fs, refresh=REFRESHES[hbm.refresh])
    tick = tick_fs // t.edge
    port = round(SECTOR * 1e15 * sm.count / l2.bandwidth_bytes_per_s)
    out = SECTOR * clock // l2.slice_bytes_per_clock
    near = l2.near_latency_ps * 1000
    wire = near // 2
    back = near - wire - 4 * (port + out)
    crossing, link = _link(gpu)
    cross_out = crossing // 2
    look = out
    whole = tick * t.edge
    alone = -(-t.rcd_read // t.edge) * whole + (3 * t.ccd_l + t.read_data) * tick
    rest = hbm.miss_ps * 1000 - look - alone
    to_dram = max(0, rest) // QUEUE_SHARE // whole * whole
    # A request waits for a clock's edge; the way back takes so much less, for one that comes at time 0.
    waits = -(wire + look + to_dram) % whole
    paths = Paths(
        sm.count, clock, port, out, look, wire, back, cross_out, crossing - cross_out - look - 4 * (out + link), link,
        to_dram, rest - to_dram - waits, tick, l2.slice_misses, hbm.channels, dram.row_bytes // LINE,
    )
    for name in ("back", "cross_back", "from_dram", "to_dram"):
        if getattr(paths, name) < 0:
            raise InputError(f"{gpu.name}: the parts take longer than the configured latency ({name} "
                             f"{getattr(paths, name) / 1e6:.1f} ns)")
    sets = l2.capacity_bytes // (l2.slices * l2.ways * LINE)
    kept = int((l2.keep_fraction or 0.0) * l2.ways)
    held = cache(l2.sides, l2.slices // l2.sides, sets, l2.ways, l2.replacement, kept)
    return Organisation(paths, t, held)


def _link(gpu: Gpu) -> tuple[int, int]:
    """(latency of the other side beyond the own, a sector's time on the link)."""
    l2 = gpu.l2
    if l2.sides == 1:
        return 1 << 40, 0
    assert l2.crossing_ps is not None
    assert l2.link_bytes_per_s is not None
    return l2.crossing_ps * 1000, round(SECTOR * 1e15 / l2.link_bytes_per_s)


def _check(gpu: Gpu) -> None:
    """Refuse what is not known and what does not divide, with the rule."""
    l2, hbm = gpu.l2, gpu.hbm
    needed = [(part, name) for part, names in NEEDED.items() for name in names]
    needed += [("l2", name) for name in TWO_SIDED] if l2.sides > 1 else []
    for part, name in needed:
        value = getattr(getattr(gpu, part), name)
        key = f"{part}.{name.removesuffix('_ps').removesuffix('_bytes_per_s')}"
        if value is None:
            raise NotCoveredError(f"{gpu.name}: tier cycle needs {key}, which its file does not say")
        if isinstance(value, int | float) and value <= 0:
            raise InputError(f"{gpu.name}: {key}={value}: must be above 0")
    assert l2.slices is not None
    assert l2.ways is not None
    assert hbm.channels is not None
    if l2.replacement not in REPLACEMENTS:
        raise InputError(f"{gpu.name}: l2.replacement={l2.replacement}: must be one of {', '.join(REPLACEMENTS)}")
    if hbm.refresh not in REFRESHES:
        raise InputError(f"{gpu.name}: hbm.refresh={hbm.refresh}: must be one of {', '.join(REFRESHES)}")
    if l2.line_bytes != LINE:
        raise NotCoveredError(f"{gpu.name}: tier cycle simulates lines of {LINE} bytes, not of {l2.line_bytes}")
    if l2.slices % l2.sides:
        raise InputError(f"{gpu.name}: l2.slices={l2.slices} do not divide over {l2.sides} sides")
    if l2.capacity_bytes % (l2.slices * l2.ways * LINE):
        raise InputError(f"{gpu.name}: l2.ways={l2.ways} of {l2.slices} slices do not divide its "
                         f"{l2.capacity_bytes // LINE} lines")
    if hbm.channels % l2.slices and l2.slices % hbm.channels:
        raise InputError(f"{gpu.name}: hbm.channels={hbm.channels} and l2.slices={l2.slices} do not divide")
