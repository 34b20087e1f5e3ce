"""What a profiler saw: device work, marks set by the program, and the steps that the marks cut.

    device   kernels and copies, on streams that may overlap
    marks    named ranges of the program (record_function, NVTX); a kernel belongs to the innermost that launched it
    steps    the marks of one name, in order: a decode step each

Time in a step is divided without remainder: at every moment something of the first matching part runs, or nothing does
and the device waits for the host.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from speedsim.timeline import Decode, Pattern, Span, Timeline

from ..refusal import RefusedError

HOST = "host"
"""The part of a step in which nothing runs on the device."""
OTHER = "other"
"""Device work that no rule names."""


class Event(NamedTuple):
    """A range on a host thread, in the profiler's unit of time."""

    thread: Any
    start: int
    end: int
    name: str


class Work(NamedTuple):
    """One kernel or copy."""

    name: str
    start_ps: int
    duration_ps: int
    stream: int
    marks: tuple[str, ...]
    """Names of the marks it was launched in, the outermost first."""
    copy: bool = False

    @property
    def end_ps(self) -> int:
        """When it ended."""
        return self.start_ps + self.duration_ps


class Mark(NamedTuple):
    """A named range of the program, on the clock of the device's work."""

    name: str
    start_ps: int
    end_ps: int


class Inside:
    """Which marks lie around a moment of a thread, the outermost first."""

    def __init__(self, marks: Sequence[Event]) -> None:
        self._by_thread: dict[Any, list[Event]] = {}
        for mark in sorted(marks, key=lambda m: (m.start, -m.end)):
            self._by_thread.setdefault(mark.thread, []).append(mark)
        self._starts = {thread: [m.start for m in own] for thread, own in self._by_thread.items()}
        self._above = {thread: _parents(own) for thread, own in self._by_thread.items()}

    def of(self, event: Event) -> tuple[str, ...]:
        """Names of the marks around the event's start."""
        own = self._by_thread.get(event.thread)
        if own is None:
            return ()
        at: int | None = bisect_right(self._starts[event.thread], event.start) - 1
        names: list[str] = []
        while at is not None and at >= 0:
            if own[at].end >= event.start:
                names.append(own[at].name)
            at = self._above[event.thread][at]
        return tuple(reversed(names))


def _parents(marks: Sequence[Event]) -> list[int | None]:
    """The mark that each lies in; None at the top."""
    above: list[int | None] = []
    open_: list[int] = []
    for index, mark in enumerate(marks):
        while open_ and marks[open_[-1]].end <= mark.start:
            open_.pop()
        above.append(open_[-1] if open_ else None)
        open_.append(index)
    return above


class Profile(NamedTuple):
    """A profile, its times counted from its first event."""

    source: str
    work: tuple[Work, ...]
    """In order of start."""
    marks: tuple[Mark, ...]
    launches: int
    """Calls that gave the device work."""


class Rule(NamedTuple):
    """Work whose mark, or else whose name, matches belongs to the part."""

    part: str
    pattern: re.Pattern[str]


RULES = (
    Rule("draft", re.compile(r"draft|propos|eagle|medusa", re.IGNORECASE)),
    Rule("sampling", re.compile(r"sampl|argmax|top_?[kp]\b|reject|softmax_and", re.IGNORECASE)),
    Rule("verify", re.compile(r"verif|target|execute_model|forward|decode", re.IGNORECASE)),
)
"""What marks and kernels are usually called; the first rule that matches a mark counts, the innermost mark first."""


def part_of(work: Work, rules: Sequence[Rule]) -> str:
    """The part that a piece of device work belongs to."""
    for name in (*reversed(work.marks), work.name):
        for rule in rules:
            if rule.pattern.search(name):
                return rule.part
    return OTHER


def steps_of(profile: Profile, name: str | None) -> tuple[Mark, ...]:
    """The profile's steps: the marks of this name, or of the name that cuts it into the most ranges that do not
    overlap and hold device work; refused where there are none."""
    by_name: dict[str, list[Mark]] = {}
    for mark in profile.marks:
        by_name.setdefault(_stem(mark.name), []).append(mark)
    if name is not None:
        if _stem(name) not in by_name:
            known = ", ".join(sorted(by_name)[:12])
            raise RefusedError(f"{profile.source}: no mark is called {name}; there are {known}")
        return tuple(sorted(by_name[_stem(name)], key=lambda m: m.start_ps))
    for guess in ("step", "profilerstep#", "execute_context", "execute_model", "decode"):
        if guess in by_name:
            return tuple(sorted(by_name[guess], key=lambda m: m.start_ps))
    raise RefusedError(f"{profile.source}: which mark is a step? --step NAME, one of "
                       f"{', '.join(sorted(by_name)[:12]) or 'none (the program sets no marks)'}")


def _stem(name: str) -> str:
    """A mark's name without its number: ProfilerStep#12 and step 7 recur."""
    return re.sub(r"[\s_]*\d+$", "", name).lower()


class Shares(NamedTuple):
    """Where the time of steps went."""

    steps: int
    total_ps: int
    """From the first step's start to the last one's end."""
    parts_ps: dict[str, int]
    """By part, HOST among them; they add up to total_ps exactly."""
    kernels: dict[str, dict[str, tuple[int, int]]]
    """Of each part: how often a kernel ran and its own time, by name."""


def shares(profile: Profile, steps: Sequence[Mark], rules: Sequence[Rule] = RULES) -> Shares:
    """Divide the time between the first step's start and the last one's end among parts.

    Where work of two parts overlaps, the time goes to the part whose rule is later (verification hides a draft).
    """
    begin, end = steps[0].start_ps, max(*(s.end_ps for s in steps), _last_end(profile, steps[-1]))
    order = [HOST, OTHER, *dict.fromkeys(rule.part for rule in rules)]
    kernels: dict[str, dict[str, tuple[int, int]]] = {}
    edges: list[tuple[int, int, int]] = []
    for work in profile.work:
        if work.end_ps <= begin or work.start_ps >= end:
            continue
        part = part_of(work, rules)
        count, time = kernels.setdefault(part, {}).get(work.name, (0, 0))
        kernels[part][work.name] = count + 1, time + work.duration_ps
        edges += [(max(work.start_ps, begin), 1, order.index(part)), (min(work.end_ps, end), -1, order.index(part))]
    running = [0] * len(order)
    running[0] = 1
    parts = dict.fromkeys(order, 0)
    now = begin
    for time, change, part in sorted(edges):
        parts[order[max(i for i, n in enumerate(running) if n)]] += time - now
        now = time
        running[part] += change
    parts[HOST] += end - now
    return Shares(len(steps), end - begin, {p: t for p, t in parts.items() if t}, kernels)


def _last_end(profile: Profile, step: Mark) -> int:
    """When the work that started within a step ended: a launch returns before its kernel does."""
    return max((w.end_ps for w in profile.work if step.start_ps <= w.start_ps < step.end_ps), default=step.end_ps)


def timeline(profile: Profile, steps: Sequence[Mark] = ()) -> Timeline:
    """The profile as the type that predictions have: a pattern and an occurrence for each step, marks beside them.

    Rows, commits, bytes and flop are not in a profile and stay empty, with a note.
    """
    line = Timeline(profile.source, 1, "kernels", notes=[
        "imported: a profile has kernels and times, neither rows nor commits, neither bytes nor flop"])
    if not profile.work:
        raise RefusedError(f"{profile.source}: no device work in it")
    whole = Mark("profile", min(r.start_ps for r in (*profile.work, *profile.marks)),
                 max(w.end_ps for w in profile.work))
    windows = list(steps) or [whole]
    bounds = [*(w.start_ps for w in windows[1:]), max(whole.end_ps, windows[-1].end_ps)]
    for window, until in zip(windows, bounds, strict=True):
        inside = [w for w in profile.work if window.start_ps <= w.start_ps < until]
        spans = tuple(Span("link" if w.copy else "sm", w.name, w.start_ps - window.start_ps, w.duration_ps, "wait")
                      for w in inside)
        length = max([window.end_ps, *(w.end_ps for w in inside)]) - window.start_ps
        line.occurrence_pattern.append(len(line.patterns))
        line.patterns.append(Pattern(spans, length, 0, 0))
        line.occurrence_ps.append(window.start_ps)
        line.occurrence_rows.append(())
        line.counters.kernels += len(inside)
    line.counters.passes, line.counters.launch_units = len(windows), profile.launches
    line.between = [Span("host", m.name, m.start_ps, m.end_ps - m.start_ps, "host") for m in profile.marks]
    start, end = windows[0].start_ps, bounds[-1]
    line.decodes.append(Decode(0, start, end, 0))
    busy = union_ps((max(w.start_ps, start), min(w.end_ps, end)) for w in profile.work if w.end_ps > start)
    line.bound_ps["wait"], line.bound_ps["host"] = busy, end - start - busy
    return line


def union_ps(ranges: Iterable[tuple[int, int]]) -> int:
    """Time that any of the ranges covers."""
    total, reached = 0, -1
    for start, end in sorted(ranges):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total
