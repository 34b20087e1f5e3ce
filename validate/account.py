"""Keeps a measured run as a Timeline: the same counters and occurrences that a predicted run has.

Times are read on one clock that stands still while a prompt is prefilled. What a measurement cannot tell stays empty:
bytes, flop and the kernels inside a pass. The time of a run is divided in two: `host` (nothing runs on the device) and
`wait` (the host waits for the device).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from speedsim.program import Pass
from speedsim.timeline import Decode, Pattern, Timeline

PS_PER_NS = 1000


class Clock:
    """Picoseconds since the run began, prefills left out."""

    def __init__(self) -> None:
        self._zero = time.perf_counter_ns()
        self._stopped: int | None = None

    def now(self) -> int:
        """Picoseconds."""
        return (time.perf_counter_ns() - self._zero) * PS_PER_NS

    def stop(self) -> None:
        """Stand still from here."""
        self._stopped = time.perf_counter_ns()

    def go_on(self) -> None:
        """Run again."""
        if self._stopped is not None:
            self._zero += time.perf_counter_ns() - self._stopped
            self._stopped = None


class Account:
    """Writes the timeline of a measured run."""

    def __init__(self, source: str, repetitions: int, notes: Sequence[str] = ()) -> None:
        self._line = Timeline(source, repetitions, "passes", notes=list(notes))
        self._pattern: dict[tuple[int, int, int], int] = {}
        self._row: dict[int, tuple[int, int]] = {}
        self._start: dict[int, int] = {}
        self._last: dict[int, tuple[int, int]] = {}
        self._busy_ps = 0

    def entered(self, item: Pass, now_ps: int) -> None:
        """A pass is about to be issued."""
        for row in item.rows:
            if row.depth == 0:
                self._row[row.token] = (row.sequence, row.position)
                self._start.setdefault(row.sequence, now_ps)

    def ran(self, unit: Sequence[Pass], widths: Sequence[int], span_ps: tuple[int, int], idle: int = 0) -> None:
        """A launch unit ran from span_ps[0] to span_ps[1] with so many rows a pass, `idle` of them empty slots.

        Passes of one unit are not timed apart: each gets a share of the span by its sweeps.
        """
        count, (start, end) = self._line.counters, span_ps
        count.launch_units += 1
        self._busy_ps += end - start
        sweeps = sum(item.repetitions for item in unit)
        done = 0
        for item, width in zip(unit, widths, strict=True):
            live, k = len(item.rows), item.repetitions
            count.passes += k
            count.row_passes += k * live
            count.idle_row_passes += k * idle
            count.padded_row_passes += k * (width - live - idle)
            count.head_reads += len(item.exits)
            count.rows_per_pass[live] = count.rows_per_pass.get(live, 0) + k
            begin = start + (end - start) * done // sweeps
            done += k
            self._occurrence(item, width, begin, start + (end - start) * done // sweeps - begin)

    def _occurrence(self, item: Pass, width: int, start_ps: int, duration_ps: int) -> None:
        line = self._line
        key = (width, len(item.exits), duration_ps)
        known = self._pattern.get(key)
        if known is None:
            known = self._pattern[key] = len(line.patterns)
            line.patterns.append(Pattern((), duration_ps, width, len(item.exits)))
        line.occurred(known, start_ps, item)

    def commit(self, token: int, now_ps: int) -> None:
        """A token became text."""
        sequence, position = self._row.pop(token)
        self._line.committed(sequence, position, token, now_ps)
        tokens = self._last[sequence][1] if sequence in self._last else 0
        self._last[sequence] = (now_ps, tokens + 1)

    def squash(self, tokens: Sequence[int]) -> None:
        """Tokens in flight were discarded."""
        self._line.counters.squashed_tokens += len(tokens)
        for token in tokens:
            del self._row[token]

    def retire(self, sequence: int) -> None:
        """A sequence ended."""
        start = self._start.pop(sequence, None)
        if start is not None:
            end, tokens = self._last.pop(sequence, (start, 0))
            self._line.decodes.append(Decode(sequence, start, end, tokens))

    def note(self, text: str) -> None:
        """Something a reader of the figures should know."""
        if text not in self._line.notes:
            self._line.notes.append(text)

    def timeline(self) -> Timeline:
        """The finished run."""
        for sequence in list(self._start):
            self.retire(sequence)
        total = self._line.decode_ps
        self._line.bound_ps["wait"] = min(total, self._busy_ps)
        self._line.bound_ps["host"] = total - self._line.bound_ps["wait"]
        return self._line
