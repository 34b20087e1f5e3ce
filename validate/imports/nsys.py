"""Nsight Systems, as `nsys export --type sqlite` writes it: times in nanoseconds, names in a table of strings.

Tables are made only where something was recorded, and the schema drifts between versions, so tables and columns are
asked for before they are read. Written after the documented schema (docs.nvidia.com/nsight-systems, "SQLite Export
Schema Reference") and tested on a file built from it; no recorded file was at hand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ..refusal import RefusedError
from .profile import Event, Inside, Mark, Profile, Work

PS_PER_NS = 1000
KERNELS, COPIES, CALLS, MARKS = (
    "CUPTI_ACTIVITY_KIND_KERNEL", "CUPTI_ACTIVITY_KIND_MEMCPY", "CUPTI_ACTIVITY_KIND_RUNTIME", "NVTX_EVENTS")


def read(path: Path) -> Profile:
    """The profile in a file; refused, in one line, where it is none."""
    if not path.is_file():
        raise RefusedError(f"{path}: no such file")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
            return _read(path, base)
    except sqlite3.DatabaseError as error:
        raise RefusedError(f"{path}: no export of Nsight Systems: {error}") from None


def _read(path: Path, base: sqlite3.Connection) -> Profile:
    tables = {name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if KERNELS not in tables:
        raise RefusedError(f"{path}: no table {KERNELS}: nothing of CUDA was recorded")
    names: dict[int, str] = dict(base.execute("SELECT id, value FROM StringIds")) if "StringIds" in tables else {}
    calls = {row["correlationId"]: row for row in _rows(base, tables, CALLS)}
    marks = [_mark(row, names) for row in _rows(base, tables, MARKS) if row.get("end") is not None]
    inside = Inside(marks)
    work = []
    for table, copy in ((KERNELS, False), (COPIES, True)):
        for row in _rows(base, tables, table):
            call = calls.get(row.get("correlationId"))
            around = () if call is None else inside.of(Event(call.get("globalTid"), call["start"], call["end"], ""))
            name = "memcpy" if copy else _name(row, names)
            work.append(Work(name, row["start"], row["end"] - row["start"], row.get("streamId", 0), around, copy))
    first = min([w.start_ps for w in work] + [m.start for m in marks])
    return Profile(
        path.name,
        tuple(sorted((w._replace(start_ps=(w.start_ps - first) * PS_PER_NS, duration_ps=w.duration_ps * PS_PER_NS)
                      for w in work), key=lambda w: w.start_ps)),
        tuple(sorted((Mark(m.name, (m.start - first) * PS_PER_NS, (m.end - first) * PS_PER_NS) for m in marks),
                     key=lambda m: (m.start_ps, -m.end_ps))),
        sum("Launch" in names.get(row.get("nameId", -1), "") for row in calls.values()) or len(work),
    )


def _rows(base: sqlite3.Connection, tables: set[str], table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, by column; none where there is no such table."""
    if table not in tables:
        return
    found = base.execute(f'SELECT * FROM "{table}"')
    columns = [column[0] for column in found.description]
    for row in found:
        yield dict(zip(columns, row, strict=True))


def _name(row: dict[str, Any], names: dict[int, str]) -> str:
    """A kernel's name, the readable one first."""
    for column in ("demangledName", "shortName", "mangledName"):
        value = row.get(column)
        if isinstance(value, int) and value in names:
            return names[value]
        if isinstance(value, str):
            return value
    return "kernel"


def _mark(row: dict[str, Any], names: dict[int, str]) -> Event:
    text = row.get("text")
    return Event(row.get("globalTid"), row["start"], row["end"],
                  text if isinstance(text, str) else names.get(row.get("textId", -1), "mark"))
