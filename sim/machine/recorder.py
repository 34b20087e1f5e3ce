"""Writes the timeline while the machine plays: exact counters always, passes and kernels as far as asked."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from ..kernels.lower import PassShape
from ..model import Model
from ..program import Pass
from ..timeline import Decode, Pattern, Slot, Span, Timeline
from .computed import Computed
from .launch import Launched

MOST_PASSES = 10_000
"""Passes that are kept one by one unless kernels are asked for."""


class Shown(NamedTuple):
    """A pass beside its cost."""

    item: Pass
    shape: PassShape
    idle: int
    """Fixed slots without a row."""
    padded: int
    """Rows added up to a captured width."""


class Recorder:
    """Collects a run."""

    def __init__(self, model: Model, record: str) -> None:
        self._timeline = Timeline("predicted", model.repetitions, record)
        self._asked = record
        self._known: dict[tuple[int, int, int], int] = {}
        self._row: dict[int, tuple[int, int]] = {}
        self._start: dict[int, int] = {}
        self._last: dict[int, tuple[int, int, int]] = {}
        """(first commit, last commit, commits) of every live sequence."""

    def timeline(self) -> Timeline:
        """The finished run."""
        return self._timeline

    @property
    def decoding(self) -> bool:
        """Whether a sequence has started and not ended."""
        return bool(self._start)

    @property
    def keeps_kernels(self) -> bool:
        """Whether the spans of kernels are wanted."""
        return self._asked == "kernels"

    def spend(self, bound: str, time_ps: int) -> None:
        """Time in which the device did nothing, and why."""
        if self._start:
            self._timeline.bound_ps[bound] += time_ps

    def unit(self) -> None:
        """A launch unit was given to the device."""
        self._timeline.counters.launch_units += 1

    def ran(self, shown: Shown, computed: Computed, launched: Launched, host_ps: int) -> None:
        """A pass ran; `launched` is relative to `host_ps`."""
        item, count, sweeps = shown.item, self._timeline.counters, shown.item.repetitions
        live = len(item.rows)
        count.passes += sweeps
        count.row_passes += sweeps * live
        count.idle_row_passes += sweeps * shown.idle
        count.padded_row_passes += sweeps * shown.padded
        count.head_reads += len(item.exits)
        count.kernels += len(computed.kernels)
        count.rows_per_pass[live] = count.rows_per_pass.get(live, 0) + sweeps
        bound_ps = self._timeline.bound_ps
        for bound, time_ps in launched.lead_ps + launched.body.bound_ps:
            bound_ps[bound] += time_ps
        self._traffic(item, computed)
        for row in item.rows:
            if row.depth == 0:
                self._row[row.token] = (row.sequence, row.position)
                self._start.setdefault(row.sequence, host_ps)
        if self._timeline.record != "summary":
            self._occurrence(shown, computed, launched, host_ps)

    def _traffic(self, item: Pass, computed: Computed) -> None:
        """Add the pass's bytes and flop, with the exact context of every row."""
        count = self._timeline.counters
        for kind, size in computed.requested.items():
            count.requested_bytes[kind] += size
        for kind, size in computed.hbm.items():
            count.hbm_bytes[kind] += size
        count.knee_bytes += computed.knee_bytes
        requested = missed = 0
        flop = computed.flop
        for row, per_flop, per_byte, per_missed in zip(
            item.rows, computed.row_flop_per_key, computed.row_bytes_per_key, computed.row_missed_per_key, strict=True
        ):
            context = row.position + 1
            flop += context * per_flop
            requested += context * per_byte
            missed += int(context * per_missed)
        count.flop += flop
        count.requested_bytes["kv"] += requested
        count.hbm_bytes["kv"] += missed

    def _occurrence(self, shown: Shown, computed: Computed, launched: Launched, host_ps: int) -> None:
        line = self._timeline
        if self._asked == "passes" and len(line.occurrence_ps) >= MOST_PASSES:
            line.record = "summary"
            line.patterns.clear()
            line.occurrence_rows.clear()
            del line.occurrence_ps[:], line.occurrence_pattern[:]
            return
        body = launched.body
        key = (body.number, shown.shape.width, shown.shape.heads)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = len(line.patterns)
            kept = body.spans if self._asked == "kernels" else ()
            line.patterns.append(Pattern(kept, body.duration_ps, shown.shape.width, shown.shape.heads))
        line.occurrence_pattern.append(known)
        line.occurrence_ps.append(host_ps + launched.start_ps)
        exits = shown.item.exits
        line.occurrence_rows.append(tuple(
            Slot(r.token, r.sequence, r.position, r.depth + shown.item.repetitions, r.token in exits)
            for r in shown.item.rows
        ))

    def copied(self, computed: Computed) -> None:
        """Keys and values were copied."""
        count = self._timeline.counters
        count.kernels += len(computed.kernels)
        for kind, size in computed.requested.items():
            count.requested_bytes[kind] += size
        for kind, size in computed.hbm.items():
            count.hbm_bytes[kind] += size

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
        line.occurrence_ps = array("q", sorted(line.occurrence_ps))

    def commit(self, token: int, time_ps: int) -> None:
        """A token became text."""
        line = self._timeline
        sequence, position = self._row.pop(token)
        line.counters.committed_tokens += 1
        line.commit_sequence.append(sequence)
        line.commit_position.append(position)
        line.commit_token.append(token)
        line.commit_ps.append(time_ps)
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
        self._timeline.decodes.append(Decode(sequence, self._start.pop(sequence), end, tokens, first))
