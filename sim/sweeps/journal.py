"""What a sweep has computed so far, so that killing it loses no more than the blocks in flight.

One SQLite file with a write-ahead log: a block is in it whole or not at all, whenever the process dies. The journal
belongs to one sweep by one version of the code: `identity` says which, and nothing else may go on with it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..units import InputError

FOLDER, NAME = ".journal", "journal.sqlite"


class Journal:
    """The journal in DIR/.journal; made if there is none. Raises InputError where it is another sweep's, or in use."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self._folder = folder
        try:
            (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
        with self._told():
            self._base = sqlite3.connect(folder / FOLDER / NAME, timeout=0, isolation_level=None)
            self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("CREATE TABLE IF NOT EXISTS sweep (part TEXT PRIMARY KEY, said TEXT)")
            self._base.execute("CREATE TABLE IF NOT EXISTS block (number INTEGER PRIMARY KEY, points INTEGER, "
                               "content BLOB)")
        self._belongs(identity)

    def _belongs(self, identity: Mapping[str, Any]) -> None:
        """Check that this is the sweep that the journal was begun for."""
        mine = {part: json.dumps(said, sort_keys=True) for part, said in identity.items()}
        with self._told():
            known = dict(self._base.execute("SELECT part, said FROM sweep").fetchall())
            if not known:
                self._base.execute("BEGIN")
                self._base.executemany("INSERT INTO sweep VALUES (?, ?)", mine.items())
                self._base.execute("COMMIT")
                return
        other = [part for part in {**mine, **known} if mine.get(part) != known.get(part)]
        if other:
            self.close()
            raise InputError(f"{self._folder}: holds another sweep: {', '.join(other)} differ; "
                             "give another --out, or delete this one")

    @property
    def done(self) -> dict[int, int]:
        """Points of every block that is there, by its number."""
        with self._told():
            return dict(self._base.execute("SELECT number, points FROM block ORDER BY number").fetchall())

    def add(self, number: int, points: int, content: bytes) -> None:
        """Keep a block. Raises InputError where the disk refuses; what was there before stays."""
        with self._told():
            self._base.execute("INSERT OR REPLACE INTO block VALUES (?, ?, ?)", (number, points, content))

    def content(self, number: int) -> bytes:
        """A block that is there."""
        with self._told():
            found: tuple[bytes] = self._base.execute("SELECT content FROM block WHERE number = ?", (number,)).fetchone()
        return found[0]

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's refusals in the reader's terms."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            said = str(error)
            if "locked" in said:
                raise InputError(f"{self._folder}: another sweep is writing there") from None
            if "full" in said or "disk I/O" in said:
                raise InputError(f"{self._folder}: the disk is full ({said}); what was computed is kept: make room and "
                                 "start again") from None
            raise InputError(f"{self._folder / FOLDER / NAME}: is no journal of a sweep, or damaged ({said}); "
                             "delete the folder to begin anew") from None
