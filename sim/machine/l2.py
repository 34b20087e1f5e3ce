"""What stays in the last-level cache between uses: a recency list and the card's measured hit curve.

A tensor that is read again finds a fraction h(D / capacity) of its bytes in the cache, where D is the number of unique
bytes touched since its last use, its own included. Re-reading one footprint gives D = footprint; six buffers in
rotation give D = 6 W. h falls from 1 to 0 along `l2.hit_curve`: a straight step for a textbook LRU, a slope that starts
near 0.7 of the capacity on two-sided parts that keep copies (gpu-benches, gpu-l2-cache). `l2.usable_fraction` of the
capacity counts.

A tensor to *keep* is set aside: it stays, as far as the part of the cache that may be set aside holds all of them, and
the others have what is left. A tensor to *stream* passes by: it is never found and displaces nothing.

Who reads matters where the cache has two sides. The curve is of private reads: every byte is read by one SM. What CTAs
on all SMs read (weights under more rows than a CTA takes) ends up on both sides, its plateau ends at
`l2.shared_plateau`: a shared read looks along the same curve at D x plateau / shared plateau. Between the ends of
`l2.knee` even a private read may hit or miss by where the next reader sits; such reads are counted.

D is rounded to 1/256 of the capacity, so that equal situations are equal states. Ignored: sets, sectors, which side.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import pairwise

from ..hardware import L2

State = tuple[tuple[Hashable, ...], tuple[int, ...], tuple[tuple[Hashable, int], ...]]

def hit_fraction(curve: tuple[tuple[float, float], ...], x: float) -> float:
    """h at x = D / capacity: straight between the curve's points, flat outside; the left value on a step."""
    if x <= curve[0][0]:
        return curve[0][1]
    for (x0, h0), (x1, h1) in pairwise(curve):
        if x <= x1:
            return h0 + (h1 - h0) * (x - x0) / (x1 - x0) if x1 > x0 else h1
    return curve[-1][1]


@dataclass(slots=True)
class Residency:
    """The recency list, least recently used first."""

    cache: L2
    grain: int = 256
    """D is known to capacity / grain."""
    near_knee: bool = False
    """Whether the last read lay in the cache's knee."""
    distance: int = 0
    """Unique bytes from the last read's use before to itself; 0: there was none."""
    _names: list[Hashable] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _kept: dict[Hashable, int] = field(default_factory=dict)
    _table: list[float] = field(default_factory=list)
    _last: float = 0.0
    _knee: tuple[float, float] | None = None
    _stretch: float = 1.0
    """How much further apart reads seem that all SMs do: each side then has its own copy."""

    def __post_init__(self) -> None:
        cache, usable = self.cache, self.cache.usable_fraction
        self._knee = cache.knee
        if cache.shared_plateau is not None:
            self._stretch = cache.plateau / cache.shared_plateau
        self._last = max(x for x, _ in cache.hit_curve) * usable
        # The middle of each grain stands for it: rounding to an edge would bias every read the same way.
        steps = range(int(self._last * self.grain) + 2)
        self._table = [hit_fraction(self.cache.hit_curve, (k - 0.5) / self.grain / usable) for k in steps]

    def read(self, name: Hashable, size: int, policy: str = "normal", shared: bool = False) -> float:
        """Touch a tensor; return the fraction of it that was still there. `shared`: CTAs on all SMs read all of it."""
        self.near_knee, self.distance = False, 0
        if not self.cache.capacity_bytes or policy == "stream":
            return 0.0
        return self._read_kept(name, size) if policy == "keep" else self._read_normal(name, size, shared)

    def _read_kept(self, name: Hashable, size: int) -> float:
        known = name in self._kept
        self._kept[name] = size
        if not known:
            return 0.0
        return min(1.0, self._aside() / sum(self._kept.values()))

    def _aside(self) -> int:
        """Most bytes that may be set aside."""
        return int(self.cache.capacity_bytes * (self.cache.keep_fraction or 0.0))

    def _read_normal(self, name: Hashable, size: int, shared: bool) -> float:
        names, sizes = self._names, self._sizes
        try:
            place = names.index(name)
        except ValueError:
            names.append(name)
            sizes.append(size)
            return 0.0
        del names[place], sizes[place]
        self.distance = distance = size + sum(sizes[place:])
        names.append(name)
        sizes.append(size)
        room = self._room()
        if not room:
            return 0.0
        if shared:
            distance = int(distance * self._stretch)
        elif self._knee is not None:
            self.near_knee = self._knee[0] <= distance / room <= self._knee[1]
        return self.hit(distance, room)

    def hit(self, distance: int, room: int) -> float:
        """h of a reuse distance in bytes, where so many bytes of the cache are for it."""
        step = -(-distance * self.grain // room)
        return self._table[step] if step < len(self._table) else self.cache.hit_curve[-1][1]

    def _room(self) -> int:
        """What tensors of normal policy share."""
        if not self._kept:
            return self.cache.capacity_bytes
        return self.cache.capacity_bytes - min(self._aside(), sum(self._kept.values()))

    def holds(self, size: int) -> bool:
        """Whether something of this size that is used at once stays in the cache."""
        return 0 < size <= self.cache.capacity_bytes

    def resident(self) -> dict[Hashable, int]:
        """Bytes of every tensor that a read would find just now: its size times h of all that was touched since."""
        found = {name: int(size * min(1.0, self._aside() / sum(self._kept.values())))
                 for name, size in self._kept.items()}
        room, distance = self._room(), 0
        for name, size in zip(reversed(self._names), reversed(self._sizes), strict=True):
            distance += size
            step = -(-distance * self.grain // room) if room else len(self._table)
            held = self._table[step] if step < len(self._table) else self.cache.hit_curve[-1][1]
            if held:
                found[name] = int(size * held)
        return found

    def state(self) -> State:
        """What the list holds, without what is too old ever to hit."""
        reach = int(self._last * self.cache.capacity_bytes) + 1
        total, keep = 0, len(self._sizes)
        while keep and total <= reach:
            keep -= 1
            total += self._sizes[keep]
        del self._names[:keep], self._sizes[:keep]
        return tuple(self._names), tuple(self._sizes), tuple(self._kept.items())

    def restore(self, state: State) -> None:
        """Put the list back as it was."""
        self._names, self._sizes, self._kept = list(state[0]), list(state[1]), dict(state[2])
