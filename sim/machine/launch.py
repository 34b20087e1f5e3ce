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

from typing import NamedTuple

from ..hardware import Launch
from ..stack import HostWork
from ..timeline import Span
from ..units import NotCoveredError
from .computed import MOST_KEPT, Computed


class Body(NamedTuple):
    """A pass from its first kernel's start to its last kernel's end; spans are relative to the start."""

    number: int
    """Equal bodies have equal numbers."""
    spans: tuple[Span, ...]
    duration_ps: int
    bound_ps: tuple[tuple[str, int], ...]
    """The duration by what the device waited for."""


class Launched(NamedTuple):
    """A pass in time, relative to the moment at which the host turned to it."""

    body: Body
    start_ps: int
    """Its first kernel's start."""
    host_ps: int
    """How long the host was busy launching it."""
    lead_ps: tuple[tuple[str, int], ...]
    """Time from the device's becoming free to the start, by what it waited for."""

    @property
    def end_ps(self) -> int:
        """Its last kernel's end."""
        return self.start_ps + self.body.duration_ps


class Launcher:
    """Puts computed passes into time."""

    def __init__(self, hardware: Launch, host: HostWork) -> None:
        self._hardware, self._host = hardware, host
        self._known: dict[tuple[int, str, int, bool], Launched] = {}
        self._bodies = 0

    def launch(self, mode: str, computed: Computed, ready: int, follows: bool) -> Launched:
        """One pass. `ready`: when the device becomes free, 0 or later, relative to the host's turning to the pass.
        `follows`: it is not the first of its graph, whose call has been made."""
        key = (computed.number, mode, ready, follows)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            one_by_one = mode in ("eager", "stream")
            made = self._one_by_one if one_by_one else self._captured
            known = self._known[key] = made(mode, computed, ready, follows)
        return known

    def _captured(self, mode: str, computed: Computed, ready: int, follows: bool) -> Launched:
        """Kernels of one launch: a graph, or the parts of a persistent kernel."""
        gap = self._gap(mode)
        first = self._known.get((computed.number, mode, 0, True))
        body = self._body(computed, None, gap, mode == "persistent") if first is None else first.body
        if follows:
            return Launched(body, ready + gap, 0, (("launch", gap),))
        call = self._host.enqueue_ps if mode == "persistent" else self._host.graph_call_ps
        start = max(call + self._hardware.start_ps, ready + self._hardware.stream_gap_ps)
        return Launched(body, start, call, (("launch", start - ready),))

    def _gap(self, mode: str) -> int:
        """Between dependent kernels of one launch."""
        hardware = self._hardware
        gap = {"graph": hardware.node_gap_ps, "graph+pdl": hardware.pdl_gap_ps, "persistent": hardware.barrier_ps}[mode]
        if gap is None:
            raise NotCoveredError(f"launch {mode}: this GPU's file has no figure for it")
        return gap

    def _one_by_one(self, mode: str, computed: Computed, ready: int, _follows: bool) -> Launched:
        """The host's price paces the kernels where it exceeds their time."""
        hardware = self._hardware
        price = self._host.dispatch_ps if mode == "eager" else self._host.enqueue_ps
        begin = ready + hardware.stream_gap_ps if ready else 0
        start = max(price + hardware.start_ps, begin)
        arrivals = [i * price + price + hardware.start_ps - start for i in range(len(computed.kernels))]
        body = self._body(computed, arrivals, hardware.stream_gap_ps, False)
        idle = start - ready
        launch = min(idle, hardware.stream_gap_ps if ready else hardware.start_ps)
        return Launched(body, start, price * len(computed.kernels), (("launch", launch), ("host", idle - launch)))

    def _body(self, computed: Computed, arrivals: list[int] | None, gap: int, persistent: bool) -> Body:
        """The kernels in time: each a gap behind the one before, and not before it arrived.

        The parts of a persistent kernel need no set-up, and their first weights were fetched during the part before.
        """
        self._bodies += 1
        bound: dict[str, int] = {"launch": 0, "host": 0}
        spans: list[Span] = []
        now = 0
        for index, whole in enumerate(computed.kernels):
            kernel = whole.without_prologue() if persistent else whole
            work, duration = kernel.work, kernel.duration_ps
            if index:
                bound["launch"] += gap
                now += gap
                if arrivals is not None and arrivals[index] > now:
                    bound["host"] += arrivals[index] - now
                    now = arrivals[index]
            spans.append(Span("sm", work.name, now, duration, kernel.bound, work.flop, work.issued_bytes,
                              work.hbm_bytes))
            for why, part in kernel.parts:
                bound[why] = bound.get(why, 0) + part
            now += duration
        return Body(self._bodies, tuple(spans), now, tuple((b, t) for b, t in bound.items() if t))
