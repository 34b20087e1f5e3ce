"""The lives of tokens: when each entered, which passes carried it, and whether it became text or was discarded.

A timeline keeps the rows of every pass. A token's rows in order of time are its life; it is verified at the end of the
pass in which the token before it, whose prediction it stands on, either went through its last repetition (the guess was
right) or changed its mind (the guess was wrong, and it was discarded).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Step(NamedTuple):
    """One pass of a token's life."""

    occurrence: int
    """The pass."""
    repetition: int
    """The repetition that it did, 1 .. G."""
    read: bool


@dataclass(slots=True)
class Life:
    """One token."""

    token: int
    sequence: int
    position: int
    parent: int | None
    steps: list[Step] = field(default_factory=list)
    committed_ps: int | None = None
    """None: it was discarded."""
    lane: int = 0
    """Its place among the tokens in flight, from birth to death."""

    @property
    def first(self) -> int:
        """The first pass that carried it."""
        return self.steps[0].occurrence

    @property
    def last(self) -> int:
        """The last one."""
        return self.steps[-1].occurrence


class Verification(NamedTuple):
    """Where a guess was settled."""

    token: int
    """The token before it, which said so."""
    occurrence: int
    """The pass."""
    right: bool


def lives(timeline: Mapping[str, Any]) -> dict[int, Life]:
    """Every token of a recorded timeline, in the order in which they entered."""
    found: dict[int, Life] = {}
    for index, rows in enumerate(timeline["rows"]):
        for token, sequence, position, repetition, read, parent in rows:
            life = found.get(token)
            if life is None:
                life = found[token] = Life(token, sequence, position, parent)
            life.steps.append(Step(index, repetition, read))
    for _, _, token, time_ps in timeline["commits"]:
        if token in found:
            found[token].committed_ps = time_ps
    _seat(found, timeline)
    return found


def _seat(found: Mapping[int, Life], timeline: Mapping[str, Any]) -> None:
    """Give every token the lowest place that is free for all of its life."""
    free: list[int] = []
    for life in found.values():
        start, end = span_ps(timeline, life.first)[0], max(span_ps(timeline, step.occurrence)[1] for step in life.steps)
        lane = next((i for i, since in enumerate(free) if since <= start), len(free))
        if lane == len(free):
            free.append(0)
        free[lane] = end
        life.lane = lane


def span_ps(timeline: Mapping[str, Any], index: int) -> tuple[int, int]:
    """Start and end of an occurrence."""
    pattern, start = timeline["occurrences"][index]
    return start, start + timeline["patterns"][pattern]["duration_ps"]


def verification(life: Life, found: Mapping[int, Life]) -> Verification | None:
    """Where the guess that this token stands on was settled; None where it stood on text, or died with its parent."""
    parent = None if life.parent is None else found.get(life.parent)
    if parent is None or parent.last < life.first or parent.committed_ps is None:
        return None
    if life.committed_ps is not None or parent.last <= life.last:
        return Verification(parent.token, parent.last, life.committed_ps is not None)
    index = max((step.occurrence for step in parent.steps if step.occurrence <= life.last), default=parent.last)
    return Verification(parent.token, index, False)


def cause(life: Life, found: Mapping[int, Life]) -> str:
    """Why a token was discarded, in words; empty for one that became text."""
    if life.committed_ps is not None:
        return ""
    parent = None if life.parent is None else found.get(life.parent)
    while parent is not None and parent.committed_ps is None:
        older = None if parent.parent is None else found.get(parent.parent)
        if older is None:
            break
        parent = older
    if parent is None:
        return "behind the end of the text"
    at = [step for step in parent.steps if step.occurrence <= life.last]
    if not at:
        return "behind the end of the text"
    return f"position {parent.position} predicted otherwise at repetition {at[-1].repetition}"


def by_occurrence(found: Mapping[int, Life], count: int) -> Sequence[list[tuple[Life, Step]]]:
    """The steps of every pass."""
    passes: list[list[tuple[Life, Step]]] = [[] for _ in range(count)]
    for life in found.values():
        for step in life.steps:
            passes[step.occurrence].append((life, step))
    return passes
