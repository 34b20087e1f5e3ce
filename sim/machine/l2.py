"""What stays in the last-level cache between uses: a recency list and the card's measured hit curve.

A tensor that is read again finds a fraction h(D / capacity) of its bytes in the cache, where D is the number of unique
bytes touched since its last use, its own included. Re-reading one footprint gives D = footprint; six buffers in
rotation give D = 6 W. h falls from 1 to 0 along `l2.hit_curve`: a straight step for a textbook LRU, a slope that starts
near 0.7 of the capacity on two-sided parts that keep copies (gpu-benches, gpu-l2-cache).

D is rounded to 1/256 of the capacity, so that equal situations are equal states. Ignored: sets, sectors, who reads.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import pairwise

State = tuple[tuple[Hashable, ...], tuple[int, ...]]


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

    capacity: int
    curve: tuple[tuple[float, float], ...]
    grain: int = 256
    """D is known to capacity / grain."""
    _names: list[Hashable] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)
    _table: list[float] = field(default_factory=list)
    _reach: int = 0

    def __post_init__(self) -> None:
        end = next((x for x, h in reversed(self.curve) if h > 0), 0.0)
        last = max(end, *(x for x, _ in self.curve))
        # The middle of each grain stands for it: rounding to an edge would bias every read the same way.
        self._table = [hit_fraction(self.curve, (k - 0.5) / self.grain) for k in range(int(last * self.grain) + 2)]
        self._reach = int(last * self.capacity) + 1

    def read(self, name: Hashable, size: int) -> float:
        """Touch a tensor; return the fraction of it that was still there."""
        if not self.capacity:
            return 0.0
        names, sizes = self._names, self._sizes
        try:
            place = names.index(name)
        except ValueError:
            distance = None
        else:
            del names[place], sizes[place]
            distance = size + sum(sizes[place:])
        names.append(name)
        sizes.append(size)
        if distance is None:
            return 0.0
        step = -(-distance * self.grain // self.capacity)
        return self._table[step] if step < len(self._table) else self.curve[-1][1]

    def holds(self, size: int) -> bool:
        """Whether something of this size that is used at once stays in the cache."""
        return 0 < size <= self.capacity

    def state(self) -> State:
        """What the list holds, without what is too old ever to hit."""
        total, keep = 0, len(self._sizes)
        while keep and total <= self._reach:
            keep -= 1
            total += self._sizes[keep]
        del self._names[:keep], self._sizes[:keep]
        return tuple(self._names), tuple(self._sizes)

    def restore(self, state: State) -> None:
        """Put the list back as it was."""
        self._names, self._sizes = list(state[0]), list(state[1])
