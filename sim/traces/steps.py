"""A log of verifications: how many tokens were proposed and how many were right, step after step. Kind `steps`.

    step at position p:  d tokens proposed behind p, a of them right  ->  a + 1 tokens committed, the next step at p+a+1

    {"schema": "speedsim-trace/1", "kind": "steps", "model": "m", "draft_tokens": 4, "meaning": "...", "source": {...}}
    {"sequence": 0, "first": 64, "end": "length", "prompt": "chat", "drafted": [4, 4, 3], "accepted": [1, 4, 0]}
    {"end": true, "lines": 3, "sha256": "..."}

Serving engines log this much and no tokens. It answers for proposals as long as its own. A shorter proposal is cut out
of it: from inside a recorded step the rest of that step's right tokens are right; what a proposal from there would have
found behind the step's end was not recorded and counts as wrong, so a cut is on the low side. Longer proposals are
refused, or imputed: the step's end is continued with the log's own rate of being right at its last place.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_bytes
from ..units import NotCoveredError
from .files import (
    ENDS,
    SCHEMA,
    STEPS,
    WHOLE,
    TraceError,
    fields,
    line_of,
    shown,
    steps_heading,
    unwritable,
    whole,
)
from .jsonl import Lines
from .statistics import draws

MEANINGS = {
    "accepted": "right proposed tokens per verification, the bonus token apart",
    "committed": "tokens committed per verification, the bonus token included",
}
"""What a log's own numbers counted; here `accepted` never holds the bonus."""


@dataclass(frozen=True, slots=True)
class StepSequence:
    """The verifications of one sequence."""

    id: int
    first: int
    """Position of the first step's input."""
    end: str
    prompt: str
    """Kind of prompt, such as a benchmark's category; empty where unknown."""
    drafted: tuple[int, ...]
    accepted: tuple[int, ...]
    """Of each step, bonus token apart; at most what was drafted."""

    def __post_init__(self) -> None:
        if not self.drafted or len(self.drafted) != len(self.accepted):
            raise TraceError(f"sequence {self.id}: {len(self.drafted)} steps drafted, {len(self.accepted)} accepted")
        if any(not 0 <= a <= d < WHOLE for d, a in zip(self.drafted, self.accepted, strict=True)):
            raise TraceError(f"sequence {self.id}: accepted: a step accepted more than it drafted, or less than none")
        if self.end not in ENDS or not 0 <= self.first < WHOLE - self.count:
            raise TraceError(f"sequence {self.id}: first {self.first}, end {self.end!r}")

    @property
    def count(self) -> int:
        """Tokens committed: one more than was accepted, each step."""
        return sum(self.accepted) + len(self.accepted)


@dataclass(frozen=True, slots=True, eq=False)
class StepTrace:
    """Logged verifications of one proposer and one model."""

    name: str
    model: str
    draft_tokens: int
    """Tokens proposed per step at most: the log's own draft length."""
    meaning: str
    """A key of MEANINGS: what the log counted before it was imported."""
    source: dict[str, Any]
    sequences: tuple[StepSequence, ...]
    digest: str = field(default="")
    """sha256 over the draft length and every sequence."""

    def __post_init__(self) -> None:
        if not self.sequences or len({s.id for s in self.sequences}) != len(self.sequences):
            raise TraceError(f"{self.name}: no sequences, or two of one id")
        if self.meaning not in MEANINGS:
            raise TraceError(f"meaning: {shown(self.meaning)} is none of {', '.join(MEANINGS)}")
        longest = max(max(s.drafted) for s in self.sequences)
        if not max(1, longest) <= self.draft_tokens < WHOLE:
            raise TraceError(f"draft_tokens={self.draft_tokens}: a step drafted {longest}")
        told = [self.draft_tokens, *([s.first, s.end, s.drafted, s.accepted] for s in self.sequences)]
        object.__setattr__(self, "digest", hashlib.sha256(json.dumps(told).encode()).hexdigest())

    @property
    def tokens(self) -> int:
        """Tokens committed in all."""
        return sum(s.count for s in self.sequences)

    @property
    def steps(self) -> int:
        """Verifications in all."""
        return sum(len(s.drafted) for s in self.sequences)


class Recorded:
    """Facts about a proposer (acceptance.Facts), read from a log of its steps."""

    def __init__(self, trace: StepTrace, impute: bool = False, seed: int = 0, first: int | None = None) -> None:
        """`first`: where every sequence begins instead, if its text was moved behind another prompt."""
        self._trace, self._impute, self._seed = trace, impute, seed
        self._starts = {s.id: list(accumulate((a + 1 for a in s.accepted[:-1]), initial=s.first if first is None
                                              else first)) for s in trace.sequences}
        self._steps = {s.id: (s.drafted, s.accepted) for s in trace.sequences}
        rates = _rates(trace)
        self._mean, self._onward = rates[0], rates[-1]

    def knows(self, _proposer: str) -> bool:
        """The log's proposer stands for whichever is asked."""
        return True

    def ranks(self, _proposer: str, sequence: int, position: int, levels: int) -> list[int]:
        """A zero (the proposer's first choice) for each proposed token that was right. NotCoveredError beyond the log.
        """
        most = self._trace.draft_tokens
        if levels > most and not self._impute:
            raise NotCoveredError(f"{self._trace.name}: proposals of {levels} tokens; the log has {most} a step: a "
                                  f"shorter proposal is cut out of it, a longer one needs --impute")
        starts, (drafted, accepted) = self._starts[sequence], self._steps[sequence]
        index = bisect_right(starts, position) - 1
        if index < 0:
            return []
        left = max(0, accepted[index] - (position - starts[index]))
        if levels > most and accepted[index] == drafted[index] == most:
            left += self._imputed(sequence, index, levels - most)
        return [0] * min(levels, left)

    def confidence(self, _proposer: str, _sequence: int, _position: int) -> float:
        """Not recorded: always the mean."""
        return self._mean

    def _imputed(self, sequence: int, step: int, most: int) -> int:
        """Right tokens behind a step that was right to its end."""
        drawn = (draws((self._seed, sequence * 1_000_003 + step), most) >> np.uint64(11)) * 2.0**-53
        return next((n for n, draw in enumerate(drawn.tolist()) if draw >= self._onward), most)


def _rates(trace: StepTrace) -> list[float]:
    """P(the token at this place is right | all before it are), place by place of a proposal."""
    drafted = np.concatenate([np.asarray(s.drafted) for s in trace.sequences])
    accepted = np.concatenate([np.asarray(s.accepted) for s in trace.sequences])
    rates = []
    for place in range(trace.draft_tokens):
        asked = int(((accepted >= place) & (drafted > place)).sum())
        rates.append(float((accepted > place).sum()) / asked if asked else 0.0)
    return rates


def statistics(trace: StepTrace) -> dict[str, Any]:
    """What the log says, under each of the names in use.

    acceptance_length: tokens committed per verification, bonus included. accepted_per_step: without it.
    draft_acceptance_rate: accepted / proposed. per_position: share of steps right up to and with each place.
    per_position_conditional: share of those that were right so far. gain_bound: verifications saved, were they free.
    """
    drafted = sum(sum(s.drafted) for s in trace.sequences)
    accepted = sum(sum(s.accepted) for s in trace.sequences)
    histogram = np.bincount(np.concatenate([np.asarray(s.accepted) for s in trace.sequences]),
                            minlength=trace.draft_tokens + 1)
    reached = histogram[::-1].cumsum()[::-1] / trace.steps
    prompts = sorted({s.prompt for s in trace.sequences})
    return {
        "kind": STEPS, "tokens": trace.tokens, "sequences": len(trace.sequences), "steps": trace.steps,
        "draft_tokens": trace.draft_tokens, "meaning": MEANINGS[trace.meaning],
        "acceptance_length": trace.tokens / trace.steps, "accepted_per_step": accepted / trace.steps,
        "draft_acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_histogram": {str(n): int(count) for n, count in enumerate(histogram)},
        "per_position": reached[1:].tolist(), "per_position_conditional": _rates(trace),
        "acceptance_length_by_prompt": {p or "unknown": _length([s for s in trace.sequences if s.prompt == p])
                                        for p in prompts},
        "gain_bound": trace.tokens / trace.steps,
    }


def _length(sequences: list[StepSequence]) -> float:
    return sum(s.count for s in sequences) / sum(len(s.accepted) for s in sequences)


def read(path: Path) -> tuple[StepTrace, bool]:
    """(trace, whether its checksum held) of a .jsonl file of this kind. TraceError where anything is wrong."""
    with path.open("rb") as stream:
        lines = Lines(path, stream)
        head = steps_heading(lines.first(), lines.refuse)
        sequences, sealed = [], False
        while (entry := lines.take()) is not None:
            if sealed:
                raise lines.refuse("", "a line behind the one that ends the file")
            if entry.get("end") is True or entry.keys() & {"lines", "sha256"}:
                lines.seal(entry)
                sealed = True
            else:
                sequences.append(_sequence(entry, lines))
        if not sealed:
            raise lines.refuse("end", "the file ends without its last line (end, lines, sha256): it is cut short")
    return StepTrace(path.stem, head["model"], head["draft_tokens"], head["meaning"], head["source"],
                     tuple(sequences)), sealed


def _sequence(entry: dict[str, Any], lines: Lines) -> StepSequence:
    fields(entry, "steps sequence", lines.refuse)
    for key in ("sequence", "first"):
        whole(entry, key, 0, lines.refuse)
    for key in ("drafted", "accepted"):
        if type(entry[key]) is not list or not all(type(n) is int for n in entry[key]):
            raise lines.refuse(key, "no list of whole numbers")
    try:
        return StepSequence(entry["sequence"], entry["first"], str(entry["end"]), str(entry.get("prompt", "")),
                            tuple(entry["drafted"]), tuple(entry["accepted"]))
    except TraceError as error:
        raise lines.refuse("", str(error)) from None


def write(trace: StepTrace, path: str | Path) -> None:
    """Write JSON lines with their checksum; the file appears whole or not at all."""
    if Path(path).suffix != ".jsonl":
        raise unwritable("suffix", f"{Path(path).suffix!r}: steps are JSON lines, a .jsonl file")
    head = {"schema": SCHEMA, "kind": STEPS, "model": trace.model, "draft_tokens": trace.draft_tokens,
            "meaning": trace.meaning, "source": trace.source}
    entries = [{"sequence": s.id, "first": s.first, "end": s.end, "prompt": s.prompt, "drafted": list(s.drafted),
                "accepted": list(s.accepted)} for s in trace.sequences]
    content = "".join(map(line_of, (head, *entries))).encode()
    last = {"end": True, "lines": len(entries) + 1, "sha256": hashlib.sha256(content).hexdigest()}
    write_bytes(path, content + line_of(last).encode())
