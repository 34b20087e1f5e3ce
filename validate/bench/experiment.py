"""Experiments and how they are run: one table each, point by point, within a budget of minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..records import Table, reopen
from ..refusal import NotMeasuredError, RefusedError
from .sampling import REPEATS, enough, measure, timer
from .sampling import VALUES as TIME
from .watch import Watch


@dataclass
class Bench:
    """Where and how experiments run."""

    device: str
    quick: bool = False
    """A few small points and fewer repeats: the path from end to end, not a measurement."""
    seed: int = 0
    trace: Path | None = None
    """A recorded trace whose acceptance decodes follow; None: the shipped one that fits, or a synthetic one."""
    weights: Path | None = None
    """A checkpoint for live decodes; None: random weights."""
    watch: Watch = field(init=False)
    kept: dict[Any, Any] = field(default_factory=dict)
    """What points of one experiment share (a decoder, a player); emptied between experiments."""

    def __post_init__(self) -> None:
        self.watch = Watch(self.device)

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.startswith("cuda")

    @property
    def repeats(self) -> int:
        """Repeats of a round."""
        return 3 if self.quick else REPEATS

    @property
    def rounds(self) -> int:
        """Most rounds of a point."""
        return 2 if self.quick else 4

    def draw(self) -> torch.Generator:
        """Seeded random numbers on the device."""
        return torch.Generator(self.device).manual_seed(self.seed)

    def random(self, *size: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Random data: a card multiplies zeros faster than data."""
        return torch.empty(size, device=self.device, dtype=dtype).normal_(generator=self.draw())

    def time(self, work: Callable[[], object], inner: int | None = None) -> dict[str, Any]:
        """The TIME columns of a thing; it is done `inner` times a sample, or as often as 0.2 ms take."""
        least = 20.0 if self.quick else 200.0
        inner = enough(work, self.device, least) if inner is None else inner
        return self.point(timer(self.device, work, inner))

    def point(self, sample: Callable[[], float]) -> dict[str, Any]:
        """The TIME columns of what a sample measures."""
        begin = time.monotonic()
        found = measure(sample, self.repeats, self.rounds)
        return found._asdict() | self.watch.between(begin, time.monotonic())


class Experiment(NamedTuple):
    """A table to be measured."""

    name: str
    what: str
    """In one sentence."""
    keys: tuple[str, ...]
    """Columns that name a point."""
    values: tuple[str, ...]
    """Columns it adds to the time's."""
    points: Callable[[Bench], Iterable[Mapping[str, Any]]]
    measure: Callable[[Bench, Mapping[str, Any]], Mapping[str, Any]]
    """The values of a point; raises NotMeasuredError with the reason where this machine cannot."""
    seconds: int
    """Expected duration on a data-centre GPU."""
    devices: tuple[str, ...] = ("cuda", "cpu")

    @property
    def columns(self) -> tuple[str, ...]:
        """All value columns."""
        return (*self.values, *TIME)


FAILED = "failed:"
"""How the remark of a point begins whose measurement raised an error."""


def _still_alive(remark: str) -> None:
    """A card that has seen an illegal access answers nothing more to this process."""
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        raise RefusedError(f"the card answers this process no more ({remark}): give the same command again") from None


class Outcome(NamedTuple):
    """What became of an experiment."""

    name: str
    rows: int
    whole: bool
    not_measured: int
    seconds: float


def run(experiments: Sequence[Experiment], folder: Path, bench: Bench, environment: Mapping[str, Any],
        minutes: float, again: bool = False) -> list[Outcome]:
    """Run experiments in order until they are whole or the time is up; what is on the disk is not measured again,
    with `again` but for the points that failed."""
    deadline = time.monotonic() + 60 * minutes
    outcomes = []
    for experiment in experiments:
        if (("cuda" if bench.cuda else "cpu") not in experiment.devices) or time.monotonic() > deadline:
            continue
        if again:
            reopen(folder / f"{experiment.name}.csv", FAILED)
        outcomes.append(_run(experiment, folder, bench, environment, deadline))
        bench.kept.clear()
        if bench.cuda:
            torch.cuda.empty_cache()
    return outcomes


def _run(experiment: Experiment, folder: Path, bench: Bench, environment: Mapping[str, Any],
         deadline: float) -> Outcome:
    begin, skipped, late = time.monotonic(), 0, False
    table = Table(folder, experiment.name, experiment.what, experiment.keys, experiment.columns, environment)
    for point in () if table.whole else experiment.points(bench):
        if table.has(point):
            continue
        if time.monotonic() > deadline:
            late = True
            break
        try:
            found = experiment.measure(bench, point)
        except NotMeasuredError as reason:
            found = {"remark": f"not measured: {reason}"}
            skipped += 1
        except Exception as error:  # one broken point must not cost the card's time; --again tries it anew
            found = {"remark": f"{FAILED} {type(error).__name__}: {' '.join(str(error).split())[:200]}"}
            skipped += 1
            bench.kept.clear()
        table.add({**point, **found})
        if bench.cuda and found.get("remark", "").startswith(FAILED):
            _still_alive(found["remark"])
    if not late:
        table.finish()
    return Outcome(experiment.name, table.rows, table.whole, skipped, time.monotonic() - begin)
