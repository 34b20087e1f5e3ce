"""A trace as JSON lines: the form for hands and tools.

    {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}}
    {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    {"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}          count of these, positions first .. first+count-1
    {"end": true, "lines": 258, "sha256": "..."}                       over the lines before it; optional by hand

A position may also carry `confidence` and `proposers`; they are checked for their kind and left out. Without the last
line, a file that was cut exactly between two sequences cannot be told from a whole one.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .trace_files import (
    DECODER,
    WHOLE,
    BadJsonError,
    Content,
    Opening,
    Refuse,
    Tokens,
    Told,
    TraceError,
    fields,
    heading,
    one_line,
    opening,
    shown,
    unwritable,
)

_LINE_BYTES = 1_000_000


class _Lines:
    """The lines of a file, one JSON object each; `hash` runs over the lines before the current one."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path, self.number, self.hash = path, 0, hashlib.sha256()
        self._stream, self._raw = stream, b""

    def take(self) -> dict[str, Any] | None:
        """The next line's object; None behind the last line."""
        self.hash.update(self._raw)
        self._raw = self._stream.readline(_LINE_BYTES + 1)
        if not self._raw:
            return None
        self.number += 1
        if len(self._raw) > _LINE_BYTES:
            raise self.refuse("", f"the line is longer than {_LINE_BYTES} bytes")
        text = self._raw.rstrip(b"\r\n")
        if not text.strip():
            raise self.refuse("", "an empty line")
        try:
            entry = DECODER.decode(text.decode("utf-8-sig" if self.number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise self.refuse("", "not UTF-8 text", error.start + 1) from None
        except json.JSONDecodeError as error:
            raise self.refuse("", f"not JSON: {error.msg}", error.pos + 1) from None
        except BadJsonError as error:
            word, what = error.args
            raise self.refuse(word.strip('"'), what, self._raw.rfind(word.encode("utf-8", "replace")) + 1) from None
        except RecursionError:
            raise self.refuse("", "nested too deeply") from None
        except ValueError as error:
            raise self.refuse("", one_line(error)) from None
        if type(entry) is not dict:
            raise self.refuse("", f"{shown(entry)} is no object")
        return entry

    def refuse(self, key: str, what: str, column: int | None = None) -> TraceError:
        """The error that names this line and, where it stands in it, the key."""
        at = column or self._raw.find(f'"{key}"'.encode("utf-8", "replace")) + 1 or 1
        named = f"{shown(key)[1:-1]}: " if key else ""
        return TraceError(f"{self.path}:{max(1, self.number)}:{at}: {named}{what}")


def read_header(path: Path) -> dict[str, Any]:
    """The first line, checked."""
    with path.open("rb") as stream:
        return _first_line(_Lines(path, stream))


def _first_line(lines: _Lines) -> dict[str, Any]:
    entry = lines.take()
    if entry is None:
        raise lines.refuse("", "the file is empty")
    return heading(entry, lines.refuse)


def read(path: Path, _limit_bytes: int) -> Content:
    """The whole file, checked line by line."""
    told: Told = []
    known: set[int] = set()
    sealed = False
    with path.open("rb") as stream:
        lines = _Lines(path, stream)
        head = _first_line(lines)
        while (entry := lines.take()) is not None:
            if sealed:
                raise lines.refuse("", "a line behind the one that ends the file")
            if entry.get("end") is True or entry.keys() & {"lines", "sha256"}:
                _seal(entry, lines)
                sealed = True
            elif "position" in entry and told:
                last = told[-1][0]
                raise lines.refuse("position", f"sequence {last.sequence} has its {last.count} positions already")
            else:
                opened = opening(entry, lines.refuse, known)
                told.append((opened, _positions(lines, opened, head["repetitions"])))
        if not told:
            raise lines.refuse("sequence", "the file ends without one")
    return Content(head, told, sealed)


def _positions(lines: _Lines, opened: Opening, repetitions: int) -> Tokens:
    """The next lines' exit tokens, [count, repetitions]."""
    plain, tokens = {"position", "exit_tokens"}, array("i")
    for position in range(opened.first, opened.first + opened.count):
        entry = lines.take()
        if entry is None or entry.keys() & {"sequence", "lines", "sha256"}:
            cut = ": the file is cut short" if entry is None else ""
            raise lines.refuse("count", f"{position - opened.first} of the {opened.count} positions of sequence "
                               f"{opened.sequence}{cut}", 1)
        if entry.keys() != plain:
            fields(entry, "position", lines.refuse)
            _extras(entry, lines.refuse)
        if type(entry["position"]) is not int or entry["position"] != position:
            raise lines.refuse("position", f"{shown(entry['position'])} where position {position} is next")
        exits = entry["exit_tokens"]
        if type(exits) is not list or len(exits) != repetitions:
            held = f"{len(exits)} predictions" if type(exits) is list else shown(exits)
            raise lines.refuse("exit_tokens", f"{held} where the model has {repetitions} repetitions")
        for token in exits:
            if type(token) is not int or not 0 <= token < WHOLE:
                raise lines.refuse("exit_tokens", f"{shown(token)} is no token: a whole number from 0 to {WHOLE - 1}")
        tokens.fromlist(exits)
    return np.frombuffer(tokens, dtype=np.intc).astype(np.int32).reshape(-1, repetitions)


def _extras(entry: dict[str, Any], refuse: Refuse) -> None:
    if type(entry.get("confidence", [])) is not list:
        raise refuse("confidence", "no list")
    if type(entry.get("proposers", {})) is not dict:
        raise refuse("proposers", "no object")


def _seal(entry: dict[str, Any], lines: _Lines) -> None:
    """Check the last line against the lines before it."""
    fields(entry, "last line", lines.refuse)
    if entry["end"] is not True:
        raise lines.refuse("end", f"{shown(entry['end'])} is not true")
    if entry["lines"] != lines.number - 1:
        raise lines.refuse("lines", f"{shown(entry['lines'])} said, {lines.number - 1} read: the file is damaged")
    if entry["sha256"] != lines.hash.hexdigest():
        raise lines.refuse("sha256", "the lines before say otherwise: the file is damaged or was edited by hand")


def written(head: dict[str, Any], told: Told) -> bytes:
    """A .jsonl file, its checksum line included. TraceError where `head` could not be read back."""
    lines = [_line(heading(head, unwritable))]
    for opened, tokens in told:
        lines.append(_line(opened.line))
        lines += [f'{{"position": {position}, "exit_tokens": {exits}}}\n'
                  for position, exits in enumerate(tokens.tolist(), opened.first)]
    content = "".join(lines).encode()
    return content + _line({"end": True, "lines": len(lines), "sha256": hashlib.sha256(content).hexdigest()}).encode()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"
