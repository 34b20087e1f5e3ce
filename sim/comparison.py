"""Ways of decoding side by side, on every GPU, batch and context asked for: a ranked table with the reason.

At each point (GPU, batch, context) every schedule is played beside plain decoding of the same model under the same
stack; they are ranked by speed-up. A point that does not fit into the memory is named and not ranked, and so is a
schedule that the model, the text or the stack does not allow.

    acceptance length   tokens committed per G sweeps of the target
    bound               the same if every proposal were right (the schedule's closed form), over plain decoding's 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from .intervals import intervals
from .memory import memory, refusal
from .metrics import acceptance_length, gain
from .registry import names
from .result import Answer
from .scenario import Resolved, Scenario, plainly, play, resolve
from .shelf import Shelf
from .timeline import Timeline
from .units import InputError, NotCoveredError

SCHEMA = "speedsim-comparison/1"
LEAST_TOKENS = 1000
SEQUENCE_TOKENS = 256
"""Tokens for each sequence of a batch, unless told how many."""


class Place(NamedTuple):
    """Where schedules are compared."""

    gpu: str
    batch: int
    context: int | None
    """Position of the first token; None: the text's."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One schedule at one place: its figures, or why there are none."""

    place: Place
    schedule: str
    figures: dict[str, Any] | None
    why_not: str | None = None
    """What it lacks, or that it does not fit; one line."""

    @property
    def document(self) -> dict[str, Any]:
        """As plain JSON data."""
        return {**self.place._asdict(), "schedule": self.schedule, "why_not": self.why_not, **(self.figures or {})}


def split(text: str) -> list[str]:
    """`speed:exits=1+3,recheck=final,plt` as schedules: a comma before KEY=VALUE goes on with the same schedule."""
    found: list[str] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        if found and "=" in part.partition(":")[0]:
            found[-1] += f"{',' if ':' in found[-1] else ':'}{part}"
        else:
            found += names("schedules") if part == "all" else [part]
    return list(dict.fromkeys(found))


def compare(base: Scenario, schedules: Sequence[str], places: Iterable[Place]) -> list[Entry]:
    """Every schedule at every place, ranked within its place, what is not ranked last.

    Raises InputError where the question itself is wrong: a GPU, model or text that no schedule could use.
    """
    shelf, found = Shelf(), []
    for place in places:
        tokens = base.tokens or max(LEAST_TOKENS, SEQUENCE_TOKENS * place.batch)
        scenario = replace(base, gpu=place.gpu, batch=place.batch, tokens=tokens, record="summary",
                           prompt=base.prompt if place.context is None else place.context)
        found += sorted(_at(scenario, schedules, place, shelf), key=_rank)
    return found


def _rank(entry: Entry) -> tuple[bool, float]:
    speedup = (entry.figures or {}).get("speedup")
    return entry.why_not is not None, -(speedup or 0.0)


def _at(scenario: Scenario, schedules: Sequence[str], place: Place, shelf: Shelf) -> Iterator[Entry]:
    plain: dict[str, tuple[Resolved, Timeline]] = {}
    for schedule in schedules:
        try:
            mine = resolve(replace(scenario, schedule=schedule), shelf)
            if not plain:
                side = plainly(mine)
                plain[f"autoregressive@{mine.model.value.name}"] = (side, play(side))
            yield _entry(place, Answer(mine, {mine.schedule_name: (mine, play(mine))} | plain))
        except (InputError, NotCoveredError) as error:
            if len(schedules) == 1 or not _is_own(scenario, schedule, shelf):
                raise
            yield Entry(place, schedule, None, str(error))


def _is_own(scenario: Scenario, schedule: str, shelf: Shelf) -> bool:
    """Whether a refusal is this schedule's: plain decoding of the same question goes."""
    return schedule != "autoregressive" and resolve(replace(scenario, schedule="autoregressive"), shelf) is not None


def _entry(place: Place, result: Answer) -> Entry:
    """The figures of one schedule beside plain decoding."""
    mine, line, rival = result.resolved, result.timeline(result.key), result.timeline(result.plain_key)
    held, count = memory(mine, line), line.counters
    repetitions, tokens = line.repetitions, count.committed_tokens
    lengths = [d.tokens for d in line.decodes]
    least = sum(mine.schedule.least_passes(n, repetitions) for n in lengths)
    ratios = gain(line, rival)
    figures = {
        "speedup": ratios["speedup"],
        "interval": intervals(result).get("gain.speedup"),
        "time_per_token_us": sum(d.end_ps - d.start_ps for d in line.decodes) / tokens / 1e6 if tokens else None,
        "acceptance_length": acceptance_length(line),
        "bound": sum(lengths) * repetitions / least if least else None,
        **{name: ratios[name] for name in ("requested_bytes_ratio", "hbm_bytes_ratio", "kernels_ratio")},
        "rows_per_pass": count.row_passes / count.passes if count.passes else None,
        "most_rows": max(count.rows_per_pass, default=0),
        "memory": held,
        "bound_by": max(line.bound_ps, key=lambda bound: line.bound_ps[bound]),
        "notes": list(mine.notes),
    }
    return Entry(place, result.key, figures, refusal(mine, held))


def turns(entries: Sequence[Entry]) -> Iterator[str]:
    """Between which batches of those compared a schedule stops paying, one line a schedule, GPU and context."""
    lines: dict[tuple[str, str, int | None], list[tuple[int, float]]] = {}
    for entry in entries:
        speedup = (entry.figures or {}).get("speedup")
        if entry.why_not is None and speedup and entry.schedule != "autoregressive":
            key = (entry.schedule, entry.place.gpu, entry.place.context)
            lines.setdefault(key, []).append((entry.place.batch, speedup))
    for (schedule, gpu, context), points in lines.items():
        points.sort()
        for (below, gain_below), (above, gain_above) in pairwise(points):
            if gain_below > 1 >= gain_above:
                where = "" if context is None else f" at context {context:,}"
                yield f"{schedule} stops paying on {gpu}{where} between batch {below} and {above}"


def notes(entries: Sequence[Entry]) -> list[str]:
    """What must be known, once each; what holds for every schedule without its name."""
    told: dict[str, dict[str, None]] = {}
    for entry in entries:
        for note in (entry.figures or {}).get("notes", ()):
            told.setdefault(note, {})[entry.schedule] = None
    everyone = {entry.schedule for entry in entries if entry.figures is not None}
    return [note if whose.keys() == everyone else f"{', '.join(whose)}: {note}" for note, whose in told.items()]


def document(entries: Sequence[Entry], base: Scenario) -> dict[str, Any]:
    """The comparison as "speedsim-comparison/1"."""
    return {"schema": SCHEMA, "model": base.model, "stack": base.stack, "trace": base.trace, "synth": base.synth,
            "acceptance": base.acceptance, "sampling": base.sampling, "seed": base.seed, "tier": base.tier,
            "turns": list(turns(entries)), "notes": notes(entries),
            "entries": [entry.document for entry in entries]}
