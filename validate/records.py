"""Measurement files: CSV that says where it was measured and when it is whole.

    # {"schema": "speedsim-measured/1", "name": ..., "what": ..., "keys": [...], "environment": {...}}
    key,...,value,...,card                       one line a point, on the disk before the next is measured
    ...
    # {"end": true, "rows": 12, "sha256": "..."}         over every byte before it

While it grows the file is called NAME.csv.partial; a run that is cut short goes on where it stopped. A file that is
truncated, damaged, mixed from two cards or without its environment is refused in one line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from .refusal import RefusedError

SCHEMA = "speedsim-measured/1"
REQUIRED = ("card", "name", "device", "driver", "clocks", "processor", "virtualisation", "versions", "commit", "began")
"""What an environment must say."""


class Measured(NamedTuple):
    """A whole measurement file."""

    name: str
    what: str
    keys: tuple[str, ...]
    environment: dict[str, Any]
    table: pd.DataFrame
    """One row a point, the card's column left out."""


def _text(value: object) -> str:
    """A cell: floats by repr, None and NaN empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([_text(c) for c in cells])
    return out.getvalue()


class Table:
    """A measurement file that grows."""

    def __init__(self, folder: Path, name: str, what: str, keys: Sequence[str], values: Sequence[str],
                 environment: Mapping[str, Any]) -> None:
        self.path = folder / f"{name}.csv"
        self._partial = folder / f"{name}.csv.partial"
        self._keys, self._columns = tuple(keys), (*keys, *values, "card")
        self._card = environment["card"]
        self.rows = 0
        self.done: set[tuple[str, ...]] = set()
        """Keys of the points that are on the disk."""
        folder.mkdir(parents=True, exist_ok=True)
        head = {"schema": SCHEMA, "name": name, "what": what, "keys": list(keys), "environment": dict(environment)}
        self.whole = self.path.exists()
        """Nothing is left to measure."""
        if self.whole:
            self._learn(read(self.path).environment, self.path.read_bytes())
        elif self._partial.exists():
            self._go_on()
        else:
            with self._partial.open("wb") as stream:
                stream.write(f"# {json.dumps(head)}\n{_line(self._columns)}".encode())
                stream.flush()
                os.fsync(stream.fileno())

    def _go_on(self) -> None:
        """Take up a file that was cut short; a line that was not written to its end is measured again."""
        content = self._partial.read_bytes()
        kept = content[: content.rfind(b"\n") + 1]
        header, _ = _parse(self._partial, kept)
        self._learn(header["environment"], kept)
        if len(kept) != len(content):
            with self._partial.open("r+b") as stream:
                stream.truncate(len(kept))

    def _learn(self, environment: Mapping[str, Any], content: bytes) -> None:
        if environment["card"] != self._card:
            raise RefusedError(f"{self.path}: begun on card {environment['card']} ({environment['name']}), "
                               f"this is card {self._card}: measure into another folder")
        rows = list(csv.reader(io.StringIO(content.decode())))
        if tuple(rows[1]) != self._columns:
            raise RefusedError(f"{self.path}: has columns {', '.join(rows[1])}; "
                               f"this version writes {', '.join(self._columns)}")
        self.done = {tuple(row[: len(self._keys)]) for row in rows[2:] if row and not row[0].startswith("#")}
        self.rows = len(self.done)

    def has(self, point: Mapping[str, Any]) -> bool:
        """Whether the point is on the disk."""
        return tuple(_text(point[k]) for k in self._keys) in self.done

    def add(self, point: Mapping[str, Any]) -> None:
        """Put a point on the disk."""
        with self._partial.open("ab") as stream:
            stream.write(_line([*(point.get(c) for c in self._columns[:-1]), self._card]).encode())
            stream.flush()
            os.fsync(stream.fileno())
        self.done.add(tuple(_text(point[k]) for k in self._keys))
        self.rows += 1

    def finish(self) -> Path:
        """Seal the file and give it its name."""
        if not self.whole:
            seal = hashlib.sha256(self._partial.read_bytes()).hexdigest()
            with self._partial.open("ab") as stream:
                stream.write(f"# {json.dumps({'end': True, 'rows': self.rows, 'sha256': seal})}\n".encode())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(self._partial, self.path)
            self.whole = True
        return self.path


def reopen(path: Path, remark: str) -> None:
    """Take the rows whose remark begins so out of a file, to be measured again."""
    partial = path.with_name(f"{path.name}.partial")
    if path.exists():
        read(path)
        os.replace(path, partial)
    if not partial.exists():
        return
    lines = partial.read_text().splitlines(keepends=True)
    if len(lines) < 2:
        return
    place = next(csv.reader([lines[1]])).index("remark")
    kept = [line for line in lines[2:]
            if not line.startswith("# ") and not "".join(next(csv.reader([line]))[place:place + 1]).startswith(remark)]
    partial.write_text("".join(lines[:2] + kept))


def _parse(path: Path, content: bytes) -> tuple[dict[str, Any], list[str]]:
    """(header, the other lines) of a file or of the beginning of one."""
    try:
        lines = content.decode().splitlines()
        header = json.loads(lines[0].removeprefix("# "))
        if header["schema"] != SCHEMA:
            raise KeyError("schema")
    except (ValueError, IndexError, KeyError, TypeError):
        raise RefusedError(f"{path}: its first line is no {SCHEMA} header") from None
    environment = header.get("environment")
    missing = [key for key in REQUIRED if not isinstance(environment, dict) or key not in environment]
    if missing:
        raise RefusedError(f"{path}: its environment does not say {', '.join(missing)}")
    return header, lines[1:]


def read(path: Path) -> Measured:
    """A whole measurement file; refused where anything is wrong with it."""
    if not path.is_file():
        raise RefusedError(f"{path}: no such file")
    content = path.read_bytes()
    header, lines = _parse(path, content)
    try:
        end = json.loads(lines[-1].removeprefix("# "))
        rows, seal = end["rows"], end["sha256"]
    except (ValueError, IndexError, KeyError, TypeError):
        raise RefusedError(f"{path}: truncated: its last line is no seal") from None
    body = content[: content.rstrip(b"\n").rfind(b"\n") + 1]
    if hashlib.sha256(body).hexdigest() != seal:
        raise RefusedError(f"{path}: damaged: its bytes are not those that were sealed")
    table = pd.read_csv(io.StringIO("\n".join(lines[:-1]) + "\n"), dtype={"card": str})
    if len(table) != rows:
        raise RefusedError(f"{path}: {len(table)} rows, sealed with {rows}")
    cards = set(table["card"]) | {header["environment"]["card"]}
    if len(cards) > 1:
        raise RefusedError(f"{path}: mixed from {len(cards)} cards: {', '.join(sorted(cards))}")
    return Measured(header["name"], header["what"], tuple(header["keys"]), header["environment"],
                    table.drop(columns="card"))


def read_folder(folder: Path) -> dict[str, Measured]:
    """The whole measurement files of a folder, all of one card."""
    found = {path.stem: read(path) for path in sorted(folder.glob("*.csv"))}
    if not found:
        raise RefusedError(f"{folder}: no measurement file")
    cards = {m.environment["card"]: name for name, m in found.items()}
    if len(cards) > 1:
        raise RefusedError(f"{folder}: mixed from {len(cards)} cards: "
                           + ", ".join(f"{name} from {card}" for card, name in sorted(cards.items())))
    return found
