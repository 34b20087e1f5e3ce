"""Writes the timeline while the machine plays: exact counters always, passes and kernels as far as asked."""

from __future__ import annotations

import itertools
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import mul
from typing import NamedTuple

from ..kernels.lower import PassShape, RowShape
from ..model import Model
from ..program import TARGET, Pass
from ..timeline import Decode, Pattern, Span, Timeline
from .computed import MISS_UNIT, Computed
from .launch import Launched
from .totals import enter
from .work import Timed

MOST_PASSES = 10_000
"""Passes that are kept one by one unless kernels are asked for."""

MOST_TALLIES = 8192
"""Distinct passes and launches that wait to be multiplied out."""


class Shown(NamedTuple):
    """A pass beside its cost."""

    item: Pass
    shape: PassShape
    idle: int
    """Fixed slots without a row."""
    padded: int
    """Rows added up to a captured width."""
    keys: list[int]
    """Keys that each row attends to."""


class _Tally:
    """How often a computed pass ran, and over which contexts in all."""

    __slots__ = ("coda_spared", "contexts", "spared", "times")

    def __init__(self, rows: int) -> None:
        self.times = 0
        self.contexts = [0] * rows
        """Sums by row."""
        self.spared = [0] * rows
        self.coda_spared = [0] * rows
        """Keys of them that a row before it had read already, in the prelude and the group, and in the coda."""

    def spare(self, index: int, context: int, keys: RowShape) -> None:
        """A row ran that may have met others."""
        if keys.own is not None:
            self.spared[index] += context - keys.own
        if keys.coda_own is not None:
            self.coda_spared[index] += context - keys.coda_own


class Recorder:
    """Collects a run."""

    def __init__(self, model: Model, record: str) -> None:
        self._timeline = Timeline("predicted", model.repetitions, record)
        self._asked = record
        self._known: dict[tuple[int, int, int, str], int] = {}
        self._row: dict[int, tuple[int, int]] = {}
        self._start: dict[int, int] = {}
        self._sweeps: dict[int, int] = {}
        self._last: dict[int, tuple[int, int, int]] = {}
        """(first commit, last commit, commits) of every live sequence."""
        self._contents: dict[tuple[tuple[str, int], ...], int] = {}
        self._computed: dict[Computed, _Tally] = {}
        self._launched: dict[Launched, int] = {}
        """What ran and is not in the counters yet: multiplied out together, it costs little a pass."""
        self._missed = 0
        """The part of a byte of keys and values that missed, in 1 / MISS_UNIT."""

    def timeline(self) -> Timeline:
        """The run so far."""
        self._multiply_out()
        return self._timeline

    @property
    def decodes(self) -> list[Decode]:
        """Sequences that have ended."""
        return self._timeline.decodes

    @property
    def decoding(self) -> bool:
        """Whether a sequence has started and not ended."""
        return bool(self._start)

    @property
    def keeps_kernels(self) -> bool:
        """Whether the spans of kernels are wanted."""
        return self._asked == "kernels"

    def spend(self, bound: str, start_ps: int, end_ps: int) -> None:
        """Time in which the device did nothing, and why."""
        if self._start:
            self._timeline.bound_ps[bound] += end_ps - start_ps
            self.waited(bound, start_ps, end_ps)

    def waited(self, bound: str, start_ps: int, end_ps: int) -> None:
        """Keep time of decoding in which the device did nothing, as a picture shows it."""
        waits = self._timeline.waits
        if not self.keeps_kernels or end_ps <= start_ps:
            return
        if waits and waits[-1].track == bound and waits[-1].start_ps + waits[-1].duration_ps == start_ps:
            start_ps = waits.pop().start_ps
        waits.append(Span(bound, bound, start_ps, end_ps - start_ps, bound))

    def unit(self) -> None:
        """A launch unit was given to the device."""
        self._timeline.counters.launch_units += 1

    def ran(self, shown: Shown, computed: Computed, launched: Launched, host_ps: int,
            resident: Callable[[], Mapping[str, int]] = dict, late: bool = False) -> None:
        """A pass ran; `launched` is relative to `host_ps`; `resident` says what the L2 is left with; `late`: it is
        behind the end of all sequences."""
        item, shape, idle, padded, attended = shown
        count, sweeps, rows = self._timeline.counters, item.repetitions, item.rows
        live = len(rows)
        if item.model == TARGET:
            count.passes += sweeps
            of = {row.sequence for row in rows}
            count.sequence_passes += sweeps * len(of)
            for sequence in of:
                self._sweeps[sequence] = self._sweeps.get(sequence, 0) + sweeps
            count.row_passes += sweeps * live
            count.idle_row_passes += sweeps * idle
            count.padded_row_passes += sweeps * padded
            count.head_reads += len(item.exits)
            if late:
                count.late_passes += sweeps
            else:
                count.rows_per_pass[live] = count.rows_per_pass.get(live, 0) + sweeps
        else:
            count.draft_passes += sweeps
        self._launched[launched] = self._launched.get(launched, 0) + 1
        tally = self._tally(computed)
        contexts = tally.contexts
        for index, row in enumerate(rows):
            contexts[index] += attended[index]
            if row.depth == 0:
                self._start.setdefault(row.sequence, host_ps)
                if item.model == TARGET:
                    self._row[row.token] = (row.sequence, row.position)
        if shape.meets:
            for index, keys in enumerate(shape.rows):
                tally.spare(index, attended[index], keys)
        if self._timeline.record != "summary":
            self._occurrence(item, shape, launched, host_ps)
            self._left(resident())
        end = host_ps + launched.start_ps
        for bound, time_ps in launched.lead_ps if self.keeps_kernels else ():  # from the start backwards
            self.waited(bound, end - time_ps, end)
            end -= time_ps

    def slowed(self, end_ps: int, added_ps: int, parts: Iterable[tuple[str, int]] = ()) -> None:
        """The board's power limit added time to a pass, up to its end; by bound, where nobody else divides it."""
        if added_ps:
            self._timeline.throttled_ps += added_ps
            for bound, time_ps in parts if self._start else ():
                self._timeline.bound_ps[bound] += time_ps
            self.beside(Span("sm", "power limit", end_ps - added_ps, added_ps, "flop"))

    def copied(self, computed: Computed, kernels: Iterable[Timed]) -> None:
        """Keys and values were copied, by these kernels as they ran."""
        self._tally(computed)
        enter(self._timeline.kernels, kernels, 1)

    def _tally(self, computed: Computed) -> _Tally:
        """Count one more run of it."""
        tally = self._computed.get(computed)
        if tally is None:
            if len(self._computed) + len(self._launched) >= MOST_TALLIES:
                self._multiply_out()
            tally = self._computed[computed] = _Tally(len(computed.row_flop_per_key))
        tally.times += 1
        return tally

    def _multiply_out(self) -> None:
        """Bring the counters up to date, with the exact context of every row."""
        count, bound_ps = self._timeline.counters, self._timeline.bound_ps
        for launched, times in self._launched.items():
            for bound, time_ps in launched.lead_ps + launched.body.bound_ps:
                bound_ps[bound] += times * time_ps
            enter(self._timeline.kernels, launched.body.kernels, times)
        for computed, tally in self._computed.items():
            times, contexts = tally.times, tally.contexts
            count.kernels += times * len(computed.kernels)
            count.knee_bytes += times * computed.knee_bytes
            count.flop += times * computed.flop + sum(map(mul, contexts, computed.row_flop_per_key))
            for kind, size in computed.requested.items():
                count.requested_bytes[kind] += times * size
            for kind, size in computed.hbm.items():
                count.hbm_bytes[kind] += times * size
            count.requested_bytes["kv"] += sum(map(mul, contexts, computed.row_bytes_per_key))
            self._missed += sum(map(mul, contexts, computed.row_missed_per_key))
            if computed.row_coda_bytes_per_key:
                requested, missed = _spared(computed, tally)
                count.requested_bytes["kv"] -= requested
                self._missed -= missed
        count.hbm_bytes["kv"] += self._missed // MISS_UNIT
        self._missed %= MISS_UNIT
        self._launched.clear()
        self._computed.clear()

    def _occurrence(self, item: Pass, shape: PassShape, launched: Launched, host_ps: int) -> None:
        line = self._timeline
        if self._asked == "passes" and len(line.occurrence_ps) >= MOST_PASSES:
            line.record = "summary"
            line.patterns.clear()
            line.occurrence_rows.clear()
            line.resident.clear()
            del line.occurrence_ps[:], line.occurrence_pattern[:], line.occurrence_resident[:]
            return
        body = launched.body
        key = (body.number, shape.width, shape.heads, item.model)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = len(line.patterns)
            kept = body.spans if self._asked == "kernels" else ()
            line.patterns.append(Pattern(kept, body.duration_ps, shape.width, shape.heads, item.model))
        line.occurred(known, host_ps + launched.start_ps, item)

    def _left(self, resident: Mapping[str, int]) -> None:
        line = self._timeline
        if line.record == "summary":
            return
        content = tuple(resident.items())
        known = self._contents.get(content)
        if known is None:
            known = self._contents[content] = len(line.resident)
            line.resident.append(dict(resident))
        line.occurrence_resident.append(known)

    def beside(self, span: Span) -> None:
        """Something happened outside passes."""
        if self.keeps_kernels:
            self._timeline.between.append(span)

    def in_order(self) -> None:
        """Put passes that several streams ran, and what happened beside them, in order of their starts."""
        line = self._timeline
        line.between.sort(key=lambda span: (span.start_ps, span.track, span.name))
        order = sorted(range(len(line.occurrence_ps)), key=line.occurrence_ps.__getitem__)
        line.occurrence_pattern = array("q", [line.occurrence_pattern[i] for i in order])
        line.occurrence_rows = [line.occurrence_rows[i] for i in order]
        line.occurrence_resident = array("q", [line.occurrence_resident[i] for i in order])
        line.occurrence_ps = array("q", sorted(line.occurrence_ps))
        line.waits[:] = _between_passes(line)

    def commit(self, token: int, time_ps: int) -> None:
        """A token became text."""
        sequence, position = self._row.pop(token)
        self._timeline.committed(sequence, position, token, time_ps)
        first, _, tokens = self._last.get(sequence, (time_ps, 0, 0))
        self._last[sequence] = (first, time_ps, tokens + 1)

    def squash(self, tokens: tuple[int, ...]) -> None:
        """Tokens in flight were discarded."""
        self._timeline.counters.squashed_tokens += len(tokens)
        for token in tokens:
            self._row.pop(token, None)

    def retire(self, sequence: int) -> None:
        """A sequence ended: its span of decoding is known."""
        first, end, tokens = self._last.pop(sequence)
        self._timeline.decodes.append(Decode(sequence, self._start.pop(sequence), end, tokens, first,
                                             passes=self._sweeps.pop(sequence, 0)))


def _spared(computed: Computed, tally: _Tally) -> tuple[int, int]:
    """Bytes of keys and values, and those that miss in 1 / MISS_UNIT, that no row read a second time."""
    amounts = []
    for each, coda in ((computed.row_bytes_per_key, computed.row_coda_bytes_per_key),
                       (computed.row_missed_per_key, computed.row_coda_missed_per_key)):
        amounts.append(sum(spared * (whole - behind) + coda_spared * behind for spared, coda_spared, whole, behind
                           in zip(tally.spared, tally.coda_spared, each, coda, strict=True)))
    return amounts[0], amounts[1]


def _between_passes(line: Timeline) -> Iterator[Span]:
    """The waits of a run that lie outside its passes: within one, kernels follow each other at visible gaps."""
    ends = itertools.accumulate(
        (start + line.patterns[pattern].duration_ps
         for start, pattern in zip(line.occurrence_ps, line.occurrence_pattern, strict=True)), max, initial=0)
    reached = list(ends)
    for span in line.waits:
        before = bisect_right(line.occurrence_ps, span.start_ps)
        if reached[before] <= span.start_ps:
            yield span
