"""Between the host's call and the kernels: how a pass's kernels follow each other in each launch mode.

    graph    kernels follow at the node gap; the host is free after one call
    stream   kernels are enqueued one by one, each at the host's price; back to back they follow at the stream gap
    eager    the same at the framework's price per operation
    graph+pdl   as graph, the gap shortened by programmatic dependent launch
    persistent  one kernel does the whole unit: a barrier instead of a gap, no set-up, the next weights already coming

Idle time before a kernel is the launch's (gap, start-up, graph call) or the host's (it had not dispatched yet).
Ignored: a launch queue that fills up; prices that depend on a kernel's arguments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..hardware import Launch
from ..stack import HostWork
from ..timeline import Span
from ..units import NotCoveredError
from .computed import MOST_KEPT, Computed
from .work import Timed

Lead = tuple[tuple[str, int], ...]
"""Idle time by what it waited for."""

ONE_BY_ONE = ("eager", "stream")
"""Modes in which the host launches every kernel by itself."""


class Pace(NamedTuple):
    """How kernels of one pass follow each other."""

    gap_ps: int
    """Between the end of a kernel and the start of the next."""
    price_ps: int | None
    """The host's time for each kernel; None where one call launched them all."""
    start_ps: int
    """From the host's call to the earliest start."""

    def follow(self, end: int, host: int, index: int) -> tuple[tuple[str, int], ...]:
        """(what kernel `index` waits for, until when), in order of time: the kernel before ended at `end`, the host
        turned to the pass at `host`. It starts at the last of the times."""
        launched = end + self.gap_ps
        if self.price_ps is None:
            return (("launch", launched),)
        arrived = host + (index + 1) * self.price_ps + self.start_ps
        return (("launch", launched), ("host", arrived)) if arrived > launched else (("launch", launched),)


class Body(NamedTuple):
    """A pass from its first kernel's start to its last kernel's end; spans are relative to the start."""

    number: int
    """Equal bodies have equal numbers."""
    spans: tuple[Span, ...]
    """Its kernels, where they are wanted."""
    duration_ps: int
    bound_ps: tuple[tuple[str, int], ...]
    """The duration by what the device waited for."""
    kernels: tuple[Timed, ...] = ()
    """As they ran."""


@dataclass(frozen=True, slots=True, eq=False)
class Launched:
    """A pass in time, relative to the moment at which the host turned to it."""

    body: Body
    start_ps: int
    """Its first kernel's start."""
    host_ps: int
    """How long the host was busy launching it."""
    lead_ps: Lead
    """Time from the device's becoming free to the start, by what it waited for."""

    @property
    def end_ps(self) -> int:
        """Its last kernel's end."""
        return self.start_ps + self.body.duration_ps

    def unbooked(self) -> Launched:
        """The same, its time given to no bound."""
        return Launched(self.body._replace(bound_ps=()), self.start_ps, self.host_ps, ())


class Launcher:
    """Puts computed passes into time."""

    def __init__(self, hardware: Launch, host: HostWork, spans: bool = False) -> None:
        self._hardware, self._host = hardware, host
        self.keeps_spans = spans
        """Whether the kernels of a pass are wanted one by one."""
        self._known: dict[tuple[Computed, str, int, bool], Launched] = {}
        self._bodies: dict[tuple[Computed, str], Body] = {}
        """Of passes whose kernels follow each other in the same way whenever they start."""
        self._count = 0

    def launch(self, mode: str, computed: Computed, ready: int, follows: bool) -> Launched:
        """One pass. `ready`: when the device becomes free, 0 or later, relative to the host's turning to the pass.
        `follows`: it is not the first of its graph, whose call has been made."""
        key = (computed, mode, ready, follows)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
                self._bodies.clear()
            made = self._one_by_one if mode in ONE_BY_ONE else self._captured
            known = self._known[key] = made(mode, computed, ready, follows)
        return known

    def begin(self, mode: str, ready: int, follows: bool) -> tuple[int, Lead]:
        """(start of a pass's first kernel, the time from `ready` up to it by what it waited for), as in `launch`."""
        hardware = self._hardware
        if mode not in ONE_BY_ONE:
            gap = gap_ps(mode, self._hardware)
            if follows:
                return ready + gap, (("launch", gap),)
            start = max(call_ps(mode, self._host) + hardware.start_ps, ready + hardware.stream_gap_ps)
            return start, (("launch", start - ready),)
        start = max(call_ps(mode, self._host) + hardware.start_ps, ready + hardware.stream_gap_ps if ready else 0)
        idle = start - ready
        launch = min(idle, hardware.stream_gap_ps if ready else hardware.start_ps)
        return start, (("launch", launch), ("host", idle - launch))

    def busy_ps(self, mode: str, kernels: int, follows: bool) -> int:
        """How long the host is busy launching a pass of so many kernels."""
        if mode in ONE_BY_ONE:
            return call_ps(mode, self._host) * kernels
        return 0 if follows else call_ps(mode, self._host)

    def pace(self, mode: str) -> Pace:
        """The rule by which a pass's kernels follow its first."""
        if mode in ONE_BY_ONE:
            return Pace(self._hardware.stream_gap_ps, call_ps(mode, self._host), self._hardware.start_ps)
        return Pace(gap_ps(mode, self._hardware), None, 0)

    def _captured(self, mode: str, computed: Computed, ready: int, follows: bool) -> Launched:
        """Kernels of one launch: a graph, or the parts of a persistent kernel."""
        start, lead = self.begin(mode, ready, follows)
        body = self._bodies.get((computed, mode))
        if body is None:
            body = self._bodies[computed, mode] = self._body(computed, 0, self.pace(mode), mode == "persistent")
        return Launched(body, start, self.busy_ps(mode, len(computed.kernels), follows), lead)

    def _one_by_one(self, mode: str, computed: Computed, ready: int, follows: bool) -> Launched:
        """The host's price paces the kernels where it exceeds their time."""
        start, lead = self.begin(mode, ready, follows)
        body = self._body(computed, -start, self.pace(mode), False)
        return Launched(body, start, self.busy_ps(mode, len(computed.kernels), follows), lead)

    def _body(self, computed: Computed, host: int, pace: Pace, persistent: bool) -> Body:
        """The kernels in time: each a gap behind the one before, and not before it arrived; `host`: when the host
        turned to the pass.

        The parts of a persistent kernel need no set-up, and their first weights were fetched during the part before.
        """
        self._count += 1
        bound: dict[str, int] = {"launch": 0, "host": 0}
        spans: list[Span] = []
        kernels = tuple([kernel.without_prologue() for kernel in computed.kernels]) if persistent else computed.kernels
        now = 0
        for index, kernel in enumerate(kernels):
            if index:
                for why, until in pace.follow(now, host, index):
                    bound[why] += until - now
                    now = until
            if self.keeps_spans:
                spans.append(span_of(kernel, now))
            for why, part in kernel.parts:
                bound[why] = bound.get(why, 0) + part
            now += kernel.duration_ps
        return Body(self._count, tuple(spans), now, tuple((b, t) for b, t in bound.items() if t), kernels)


def call_ps(mode: str, host: HostWork) -> int:
    """The host's price of one call: an operation, a kernel, or a whole graph."""
    return {"eager": host.dispatch_ps, "stream": host.enqueue_ps, "persistent": host.enqueue_ps}.get(
        mode, host.graph_call_ps)


def gap_ps(mode: str, hardware: Launch) -> int:
    """Between dependent kernels of one launch. Raises NotCoveredError where the GPU's file has no figure for it."""
    gap = {"graph": hardware.node_gap_ps, "graph+pdl": hardware.pdl_gap_ps, "persistent": hardware.barrier_ps}[mode]
    if gap is None:
        raise NotCoveredError(f"launch {mode}: this GPU's file has no figure for it")
    return gap


def span_of(kernel: Timed, start_ps: int, track: str = "sm") -> Span:
    """The kernel in a picture."""
    work = kernel.work
    return Span(track, work.name, start_ps, kernel.duration_ps, kernel.bound, work.flop, work.issued_bytes,
                work.hbm_bytes)
