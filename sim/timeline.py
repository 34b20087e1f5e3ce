"""What happened when: the one type that a simulated and a measured run both return.

A run repeats few distinct passes many times, so it is stored as patterns and occurrences. A pattern is one distinct
pass: its spans relative to its start, and what it asked for. An occurrence is a pattern at a time. Bytes that depend on
the exact context are counted per occurrence in the counters, never taken from a pattern.

Times are integers of picoseconds from the start of the run; bytes, flop and passes are exact integers.
The time between the first issue and the last commit is divided among BOUNDS without remainder.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .program import Pass

BOUNDS = ("host", "wait", "launch", "latency", "flop", "l2", "hbm")
"""What a moment of the run waited for: the host's decision or dispatch; something else to end; the launch of a kernel;
a kernel's own latency; the tensor cores; L2 bandwidth; HBM bandwidth."""

TRAFFIC = ("weights", "head", "kv", "activations")
"""Whose bytes: the group's (and prelude's, coda's) weights, the exit's head, keys and values, everything else."""

RECORDS = ("summary", "passes", "kernels")
"""How much is kept: counters and commits; also every pass; also every kernel of every distinct pass."""


class Span(NamedTuple):
    """One kernel, copy or host step."""

    track: str
    """host, launch, sm, or link."""
    name: str
    start_ps: int
    duration_ps: int
    bound: str
    flop: int = 0
    bytes_requested: int = 0
    bytes_hbm: int = 0


class Pattern(NamedTuple):
    """One distinct pass, its spans relative to its start."""

    spans: tuple[Span, ...]
    duration_ps: int
    rows: int
    """Rows that ran, padded and idle ones included."""
    heads: int
    """Rows whose head was read."""
    model: str = "target"
    """Which of the run's models it is a pass of."""


class Slot(NamedTuple):
    """A row of an occurrence, for pictures of the pipeline."""

    token: int
    sequence: int
    position: int
    repetition: int
    """The repetition that the row did, 1 .. G."""
    read: bool
    """Whether its head was read."""
    parent: int | None = None
    """Token whose prediction was its input; None for the first row of a sequence."""


class Moment(NamedTuple):
    """A commit: a token of a sequence became text."""

    sequence: int
    position: int
    token: int
    time_ps: int


@dataclass(slots=True)
class KernelTotal:
    """All launches of one kernel of the plan, over all layers and passes."""

    family: str
    launches: int = 0
    flop: int = 0
    bytes_requested: int = 0
    """Attention's with contexts rounded up to its block, as for time; the counters have them exactly."""
    bytes_hbm: int = 0
    bound_ps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BOUNDS, 0))
    """Its own time by what it waited for, the gaps between kernels apart."""

    def document(self) -> dict[str, Any]:
        """The totals as plain JSON data."""
        return {
            "family": self.family, "launches": self.launches, "flop": self.flop,
            "bytes_requested": self.bytes_requested, "bytes_hbm": self.bytes_hbm,
            "time_by_bound_us": {bound: time / 1_000_000 for bound, time in self.bound_ps.items() if time},
        }


@dataclass(slots=True)
class Counters:
    """Exact totals of a run."""

    passes: int = 0
    """Sweeps of the target's group. Rows and heads are the target's as well; kernels, bytes and flop are everyone's."""
    sequence_passes: int = 0
    """Sweeps times the sequences that have rows in them."""
    draft_passes: int = 0
    """Passes of further models."""
    launch_units: int = 0
    kernels: int = 0
    row_passes: int = 0
    """Sweeps times live rows."""
    late_passes: int = 0
    """Sweeps launched behind the end of all running sequences, before the host had seen it (lagged control)."""
    idle_row_passes: int = 0
    """Sweeps times fixed slots that held no row (device control)."""
    padded_row_passes: int = 0
    """Sweeps times rows added to reach a captured width."""
    head_reads: int = 0
    committed_tokens: int = 0
    squashed_tokens: int = 0
    flop: int = 0
    requested_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRAFFIC, 0))
    """Before the L2."""
    hbm_bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TRAFFIC, 0))
    """After it."""
    knee_bytes: int = 0
    """Bytes read where the L2's answer is hard to predict: near the knee of a two-sided cache."""
    rows_per_pass: dict[int, int] = field(default_factory=dict)
    """Sweeps by the number of live rows."""


@dataclass(slots=True)
class Decode:
    """The span in which one sequence was decoded: its first row's issue to its last commit."""

    sequence: int
    start_ps: int
    end_ps: int
    tokens: int
    first_ps: int = 0
    """Its first commit."""
    prefill_ps: int = 0
    """Time of its prompt, apart from the decoding."""
    passes: int = 0
    """Sweeps of the group in which it had a row; 0 where nobody counted."""


@dataclass(slots=True)
class Timeline:
    """A run. `patterns` and the occurrence arrays are empty where only a summary was recorded."""

    source: str
    """predicted, or the name of what measured it."""
    repetitions: int
    record: str = "passes"
    counters: Counters = field(default_factory=Counters)
    bound_ps: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BOUNDS, 0))
    decodes: list[Decode] = field(default_factory=list)
    commit_sequence: array[int] = field(default_factory=lambda: array("q"))
    commit_position: array[int] = field(default_factory=lambda: array("q"))
    commit_token: array[int] = field(default_factory=lambda: array("q"))
    commit_ps: array[int] = field(default_factory=lambda: array("q"))
    patterns: list[Pattern] = field(default_factory=list)
    occurrence_pattern: array[int] = field(default_factory=lambda: array("q"))
    occurrence_ps: array[int] = field(default_factory=lambda: array("q"))
    occurrence_rows: list[tuple[Slot, ...]] = field(default_factory=list)
    occurrence_resident: array[int] = field(default_factory=lambda: array("q"))
    """What the L2 held behind an occurrence, as an index of `resident`; empty where nobody could know."""
    resident: list[dict[str, int]] = field(default_factory=list)
    """Distinct contents of the L2: bytes by what they belong to (group, head, kv, ...)."""
    kernels: dict[str, KernelTotal] = field(default_factory=dict)
    """By name; kept whatever is recorded."""
    between: list[Span] = field(default_factory=list)
    """Spans outside passes (launches, host decisions), absolute; recorded with `kernels`."""
    waits: list[Span] = field(default_factory=list)
    """Time of decoding in which no pass ran: the bound it is given to as track and name; recorded with `kernels`."""
    throttled_ps: int = 0
    """Time that the board's power limit added; what of it lies in decoding is part of `bound_ps`."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the figures should know: approximations that this run touched."""

    @property
    def commits(self) -> Iterator[Moment]:
        """Every commit in order of time."""
        return map(Moment, self.commit_sequence, self.commit_position, self.commit_token, self.commit_ps)

    def occurred(self, pattern: int, start_ps: int, item: Pass) -> None:
        """A pass ran as this pattern."""
        exits, sweeps = item.exits, item.repetitions
        self.occurrence_pattern.append(pattern)
        self.occurrence_ps.append(start_ps)
        self.occurrence_rows.append(tuple([
            Slot(r.token, r.sequence, r.position, r.depth + sweeps, r.token in exits, r.parent) for r in item.rows
        ]))

    def committed(self, sequence: int, position: int, token: int, time_ps: int) -> None:
        """A token became text."""
        self.counters.committed_tokens += 1
        self.commit_sequence.append(sequence)
        self.commit_position.append(position)
        self.commit_token.append(token)
        self.commit_ps.append(time_ps)

    @property
    def decode_ps(self) -> int:
        """Time in which any sequence was being decoded: the union of the decode spans."""
        total = end = 0
        for span in sorted(self.decodes, key=lambda d: d.start_ps):
            total += max(0, span.end_ps - max(span.start_ps, end))
            end = max(end, span.end_ps)
        return total

    def expand(self, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, Span]]:
        """(occurrence, span with absolute start) of occurrences first .. stop-1, for plots."""
        for index in range(first, len(self.occurrence_ps) if stop is None else stop):
            start = self.occurrence_ps[index]
            for span in self.patterns[self.occurrence_pattern[index]].spans:
                yield index, span._replace(start_ps=start + span.start_ps)

    def document(self) -> dict[str, Any]:
        """The timeline as plain JSON data."""
        return {
            "source": self.source, "repetitions": self.repetitions, "record": self.record,
            "bound_ps": dict(self.bound_ps), "throttled_ps": self.throttled_ps,
            "decodes": [
                [d.sequence, d.start_ps, d.end_ps, d.tokens, d.first_ps, d.prefill_ps] for d in self.decodes
            ],
            "commits": [list(moment) for moment in self.commits],
            "patterns": [
                {"duration_ps": p.duration_ps, "rows": p.rows, "heads": p.heads, "model": p.model,
                 "spans": [list(s) for s in p.spans]}
                for p in self.patterns
            ],
            "occurrences": [list(pair) for pair in zip(self.occurrence_pattern, self.occurrence_ps, strict=True)],
            "rows": [[list(slot) for slot in rows] for rows in self.occurrence_rows],
            "resident": self.resident, "occurrence_resident": list(self.occurrence_resident),
            "between": [list(span) for span in self.between],
            "waits": [[span.track, span.start_ps, span.duration_ps] for span in self.waits],
        }
