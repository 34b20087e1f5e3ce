"""A device's tier as events: streams hand kernels to it and are told of their ends.

The tier says when its next kernel ends if nothing else starts; one wake-up is set for that moment and set anew whenever
a kernel starts. Kernels that the tier can run at once share it; a tier that runs one at a time takes them in the order
in which they come. How long a kernel takes alone is known (computed.py), so one that starts on an idle device is handed
to the tier only when another comes while it runs: a tier's answer does not depend on when it is asked.
The board's power is averaged over passes (power.py), at the end of each in order of time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from typing import Any, NamedTuple

import simpy

from ..hardware import Energy
from .account import Account, Waits
from .computed import Computed, Computer
from .power import Governor, clocked
from .work import Device, Timed, Work


class Part(NamedTuple):
    """One device."""

    device: Device
    alone: bool
    """Whether it runs one kernel at a time."""
    energy: Energy
    computers: Mapping[str, Computer]
    """By model; they share the device's cache."""


class Lane:
    """One device."""

    def __init__(self, env: simpy.Environment, part: Part, account: Account) -> None:
        self._env, self._device, self._account = env, part.device, account
        self._governor = Governor(part.energy)
        self._turns = simpy.Resource(env, 1) if part.alone else None
        self._lone: tuple[Timed, int, simpy.Event] | None = None
        """A kernel that has the device to itself, its start, and what to tell of its end; not handed to the tier."""
        self._open: dict[tuple[Work, int], deque[simpy.Event]] = {}
        """What to tell of the end of a kernel that was, by the kernel and its start."""
        self._next: int | None = None
        """When the tier's next kernel ends."""
        self._set = 0
        """Counts the wake-ups; only the last one that was set counts."""

    def run(self, kernel: Timed, waits: Waits, late: bool) -> Generator[simpy.Event, Any, Timed]:
        """Run a kernel, given as it would be alone, to its end; it waited for these things. `late`: nobody needs it
        (player.py), what is decoded meanwhile waits for it."""
        turn = None if self._turns is None else self._turns.request()
        if turn is not None:
            yield turn
        held = self._account.begins(self._now, (("wait", self._now),) if late else waits)
        timed: Timed = yield self._start(kernel)
        self._account.ends(self._now, held, timed._replace(parts=(("wait", timed.duration_ps),)) if late else timed)
        if turn is not None and self._turns is not None:
            self._turns.release(turn)
        return timed

    def slow_down(self, computed: Computed, late: bool) -> Generator[simpy.Event, Any, int]:
        """Let the pass that would end now last as long as the board's power asks; return by how much longer."""
        added = self._governor.added_ps(self._now, computed.energy_j)
        if added:
            parts = clocked((part for kernel in computed.kernels for part in kernel.parts), added)
            held = self._account.begins(self._now, ())
            yield self._env.timeout(added)
            work = computed.kernels[-1].work
            self._account.ends(self._now, held, Timed(work, added, (("wait", added),) if late else parts))
        return added

    @property
    def _now(self) -> int:
        now: int = self._env.now  # type: ignore[assignment]
        return now

    def _start(self, kernel: Timed) -> simpy.Event:
        """Begin a kernel beside those that run; what ends just now makes room first."""
        ended = self._env.event()
        self._collect()
        if self._lone is None and not self._open:
            self._lone = (kernel, self._now, ended)
            self._wake_in(kernel.duration_ps)
            return ended
        if self._lone is not None:
            first, begin, told = self._lone
            self._lone = None
            self._hand_over(first.work, begin, told)
            self._collect()
        self._hand_over(kernel.work, self._now, ended)
        assert self._next is not None
        self._wake_in(self._next - self._now)
        return ended

    def _hand_over(self, work: Work, begin: int, ended: simpy.Event) -> None:
        self._device.start(work, begin)
        self._open.setdefault((work, begin), deque()).append(ended)
        self._next = self._device.next_end()

    def _collect(self) -> None:
        """Tell of the tier's kernels that have ended by now."""
        while self._next is not None and self._next <= self._now:
            for timed in self._device.advance(self._next):
                key = (timed.work, self._next - timed.duration_ps)
                waiting = self._open[key]
                waiting.popleft().succeed(timed)
                if not waiting:
                    del self._open[key]
            self._next = self._device.next_end()

    def _wake_in(self, time: int) -> None:
        self._set += 1
        wake = self._env.timeout(max(0, time), self._set)
        assert wake.callbacks is not None
        wake.callbacks.append(self._wake)

    def _wake(self, wake: simpy.Event) -> None:
        if wake.value != self._set:
            return
        if self._lone is not None:
            kernel, _, ended = self._lone
            self._lone = None
            ended.succeed(kernel)
            return
        self._collect()
        if self._next is not None:
            self._wake_in(self._next - self._now)
