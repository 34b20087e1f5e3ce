"""A sweep: one run for every combination of values, as a table; it can be killed at any moment and goes on.

    axes -> points -> blocks -> engine -> journal -> table.parquet

DIR holds table.parquet (one row a point, in order), inputs.json (every description with its sources, the axes, the
versions) and .journal. The table depends on those inputs alone. A journal of other inputs or of other code is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..config import Loaded, resolved
from ..files import to_json, whole_file, write_text
from ..scenario import Scenario
from ..shelf import Shelf
from ..units import InputError
from .axes import Axis, axes, linked
from .engines import Engine, serial
from .grid import Grid, grid
from .journal import Journal
from .points import Points
from .table import unit_axes, write

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "speedsim-sweep/1"
TABLE, INPUTS = "table.parquet", "inputs.json"
Over = Mapping[str, Iterable[Any] | str] | Iterable[str]
Progress = Callable[[int, int], None]
"""Told how many points of how many are there."""


def sweep(over: Over, scenario: Scenario | None = None, *, link: Iterable[str] = (), out: str | Path | None = None,
          engine: Engine = serial, progress: Progress | None = None) -> pd.DataFrame:
    """Run every combination and return the table, one row a point.

    over: `{"gpu": ["l4", "l40s"], "hbm.bandwidth": "2TB/s:8TB/s:1TB/s"}`, or the texts of --over. link: axes that go
    together, `["a,b"]`. out: a folder to keep it in, which an interrupted sweep goes on from; None: nothing is kept.
    Raises InputError for an axis or a value that makes no run, NotCoveredError where dask is missing.
    """
    import pandas as pd

    plan = planned(over, scenario or Scenario(), link)
    if out is not None:
        return pd.read_parquet(run_in(Path(out), plan, engine, progress))
    content = dict(engine(plan, list(enumerate(plan.grid.blocks()))))
    stream = io.BytesIO()
    write(stream, plan.grid, content.__getitem__)
    return pd.read_parquet(stream)


def planned(over: Over, scenario: Scenario, link: Iterable[str] = ()) -> Points:
    """The points, every axis and value checked. Raises InputError."""
    if isinstance(over, Mapping):
        over = [f"{key}={values if isinstance(values, str) else ';'.join(map(str, values))}"
                for key, values in over.items()]
    found = axes(over)
    shelf = Shelf()
    return Points(_grid(scenario, found, link, shelf), shelf)


def _grid(scenario: Scenario, found: tuple[Axis, ...], link: Iterable[str], shelf: Shelf) -> Grid:
    bare = Scenario(**{**_fields(scenario), "record": "summary", "sets": scenario.sets})
    return grid(bare, found, linked(found, link), shelf)


def run_in(folder: Path, points: Points, engine: Engine = serial, progress: Progress | None = None) -> Path:
    """Compute what the folder's journal lacks, write the table, return its path."""
    told = inputs(points)
    journal = Journal(folder, identity(told))
    try:
        for left in folder.glob(".*.partial"):  # by a sweep that was killed while it wrote
            left.unlink()
        write_text(folder / INPUTS, to_json(told) + "\n")
        blocks = points.grid.blocks()
        known = journal.done
        done = sum(known.values())
        if progress is not None:
            progress(done, points.grid.size)
        missing = [(number, block) for number, block in enumerate(blocks) if number not in known]
        for number, content in engine(points, missing):
            count = blocks[number].stop - blocks[number].first
            journal.add(number, count, content)
            done += count
            if progress is not None:
                progress(done, points.grid.size)
        if done < points.grid.size:
            raise InputError(f"{folder}: {points.grid.size - done:,} points were never answered; start again")
        with whole_file(folder / TABLE) as stream:
            write(stream, points.grid, journal.content)
    finally:
        journal.close()
    return folder / TABLE


def inputs(points: Points) -> dict[str, Any]:
    """Everything that the table depends on, in plain JSON data: what was asked, what it was resolved to, by what."""
    grid = points.grid
    return {
        "schema": SCHEMA,
        "scenario": {**_fields(grid.scenario), "sets": [list(pair) for pair in grid.scenario.sets]},
        "axes": [{"key": one.key, "values": list(one.texts), **unit_axes(one)} for one in grid.axes],
        "dimensions": [[grid.axes[place].key for place in members] for members in grid.dimensions],
        "points": grid.size,
        "descriptions": {" ".join(key): _told(entry) for key, entry in sorted(points.shelf.kept.items())},
        "code": {"speedsim": __version__, "sha256": code_hash(), "python": sys.version.split()[0],
                 **{name: version(name) for name in ("numpy", "simpy", "pyarrow")}},
    }


def identity(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal is told apart by; long descriptions by their hashes."""
    hashes = {name: entry["hash"] for name, entry in told["descriptions"].items()}
    return {**{part: said for part, said in told.items() if part != "descriptions"}, "descriptions": hashes}


def _told(entry: Any) -> dict[str, Any]:
    if isinstance(entry, Loaded):
        return {"hash": entry.digest, "parents": list(entry.parents), "inputs": resolved(entry)}
    return {"hash": entry.digest, "model": entry.model, "tokens": entry.tokens, "source": entry.source}


def _fields(scenario: Scenario) -> dict[str, Any]:
    return {name: value for name, value in asdict(scenario).items() if name != "sets"}


@lru_cache(maxsize=1)
def code_hash() -> str:
    """sha256 over the source files of this package, by name and content."""
    home, hashed = Path(__file__).parent, hashlib.sha256()
    for path in sorted(home.rglob("*.py")):
        hashed.update(json.dumps([path.relative_to(home).as_posix(), path.read_text()]).encode())
    return hashed.hexdigest()
