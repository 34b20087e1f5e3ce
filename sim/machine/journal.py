"""Writes what several streams do into the recorder in the order of the program, each entry when its time is known.

The host may be far ahead of the devices: it commits what a pass will have decided. Such an entry waits for its passes,
and later entries wait behind it, so the recorder sees the calls that it would see if passes took no time to simulate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import simpy

from ..timeline import Span, Timeline
from .account import Account
from .launch import Body, Launched
from .recorder import Recorder, Shown
from .stream import Job


class Journal:
    """Entries that wait for their times."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.account = Account(recorder.timeline().bound_ps, recorder.waited)
        self._entries: deque[tuple[Sequence[Job], Callable[[], None]]] = deque()
        self._bodies: dict[tuple[tuple[Span, ...], int], Body] = {}
        self._settled = 0
        """Sequences whose time has been divided among the bounds."""

    def ran(self, job: Job, shown: Shown) -> None:
        """A pass was issued."""
        self._write((job,), partial(self._ran, job, shown))

    def copied(self, job: Job) -> None:
        """A copy was issued."""
        self._write((job,), partial(self._copied, job))

    def commit(self, token: int, now: int, basis: Sequence[Job]) -> None:
        """A token became text: now, or with the end of the passes that it is decided by."""
        self._write(basis, lambda: self._recorder.commit(token, max((j.end or 0 for j in basis), default=now)))

    def squash(self, tokens: tuple[int, ...]) -> None:
        """Tokens were discarded."""
        self._write((), partial(self._recorder.squash, tokens))

    def retire(self, sequence: int) -> None:
        """A sequence ended."""
        self._write((), partial(self._retire, sequence))

    def flush(self, _: simpy.Event | None = None) -> None:
        """Enter what is known by now."""
        while self._entries and all(job.over.triggered for job in self._entries[0][0]):
            self._entries.popleft()[1]()

    def close(self) -> Timeline:
        """The finished run."""
        self.account.close()
        self._recorder.in_order()
        return self._recorder.timeline()

    def _write(self, needs: Sequence[Job], entry: Callable[[], None]) -> None:
        self._entries.append((needs, entry))
        self.flush()

    def _ran(self, job: Job, shown: Shown) -> None:
        if job.start is None or job.end is None or job.computed is None:
            return  # dropped
        key = (tuple(job.spans), job.end - job.start - job.slowed_ps)
        body = self._bodies.setdefault(key, Body(len(self._bodies), *key, (), ()))._replace(kernels=tuple(job.ran))
        launched = Launched(body, job.start - job.host, 0, ())
        self._recorder.ran(shown, job.computed, launched, job.host, lambda: job.resident, job.late)
        self._recorder.slowed(job.end, job.slowed_ps)
        job.spans.clear()
        job.ran.clear()

    def _copied(self, job: Job) -> None:
        assert job.start is not None
        assert job.computed is not None
        self._recorder.copied(job.computed, job.ran)
        for span in job.spans:
            self._recorder.beside(span._replace(start_ps=job.start + span.start_ps))

    def _retire(self, sequence: int) -> None:
        self._recorder.retire(sequence)
        decodes = self._recorder.decodes
        if not self._recorder.decoding:
            self.account.settle([(d.start_ps, d.end_ps) for d in decodes[self._settled:]])
            self._settled = len(decodes)
