"""Why time passed, when several kernels run at once: every moment of decoding is given to exactly one bound.

    kernels run     to the one that has run longest (of equals, the one whose start was seen first), by its own parts
    none runs       to what the kernel that starts next, on any stream of any device, was waiting for just then:
                    host    the host had not turned to its pass yet, or had not dispatched it
                    wait    a pass of another stream, a transfer, or its turn on the device
                    launch  the gap between kernels, the launch of a graph or a stream
    nothing follows to the host

A kernel that others cover for a time hands on only the rest of its time, its parts in proportion, in whole picoseconds.
So the parts add up to the time of decoding exactly, they do not depend on the numbers of streams, and for one stream
they are what the kernels and gaps add up to. Ignored: that a covered kernel may be the one that decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .work import Timed

Waits = tuple[tuple[str, int], ...]
"""(what a kernel waits for, until when), in order of time; before the first of them for that, too."""


class Held:
    """A kernel that runs, and how much of the time of decoding is given to it."""

    __slots__ = ("time_ps", "timed")

    def __init__(self) -> None:
        self.timed: Timed | None = None
        self.time_ps = 0

    def parts(self) -> Iterable[tuple[str, int]]:
        """The time given to it by bound, without remainder."""
        timed = self.timed
        assert timed is not None
        behind = given = 0
        for why, part in timed.parts:
            behind += part
            share = behind * self.time_ps // timed.duration_ps - given
            given += share
            yield why, share


class Account:
    """Divides the time of decoding among the bounds."""

    def __init__(self, bound_ps: dict[str, int], waited: Callable[[str, int, int], None]) -> None:
        self._bound_ps, self._waited = bound_ps, waited
        self._running: list[Held] = []
        self._since = 0
        """From when on time is not given to anything yet."""
        self._given: list[tuple[int, int, str | Held]] = []
        """(from, to, to what), in order of time, since the last settlement."""
        self._spans: list[tuple[int, int]] = []
        """Spans of decoding that reach beyond what has been given."""

    def begins(self, now: int, waits: Waits) -> Held:
        """A kernel starts that waited for these things."""
        held = Held()
        if not self._running:
            for why, until in (*waits, ("wait", now)):
                self._give(min(until, now), why)
        self._running.append(held)
        return held

    def ends(self, now: int, held: Held, timed: Timed) -> None:
        """The kernel ends."""
        held.timed = timed
        if self._running[0] is held:
            self._give(now, held)
        self._running.remove(held)

    def _give(self, until: int, what: str | Held) -> None:
        if until > self._since:
            self._given.append((self._since, until, what))
            self._since = until

    def settle(self, spans: Iterable[tuple[int, int]]) -> None:
        """Nothing is being decoded: enter what was, in these spans of time."""
        self._spans = _union([*self._spans, *spans])
        touched: dict[int, Held] = {}
        place = 0
        for begin, end, what in self._given:
            while place < len(self._spans) and self._spans[place][1] <= begin:
                place += 1
            inside, at = 0, place
            while at < len(self._spans) and self._spans[at][0] < end:
                first, last = max(begin, self._spans[at][0]), min(end, self._spans[at][1])
                inside += last - first
                if isinstance(what, str):
                    self._waited(what, first, last)
                at += 1
            if isinstance(what, Held):
                what.time_ps += inside
                touched[id(what)] = what
            else:
                self._bound_ps[what] += inside
        for held in touched.values():
            for why, part in held.parts():
                self._bound_ps[why] += part
        self._given.clear()
        self._spans = [(max(a, self._since), b) for a, b in self._spans if b > self._since]

    def close(self) -> None:
        """The run is over: what was decoded behind the last kernel was the host's."""
        self._give(max((end for _, end in self._spans), default=0), "host")
        self.settle(())


def _union(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same moments in spans that do not touch, in order."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
