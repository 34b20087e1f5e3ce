"""A trace as JSON lines: the form for hands and tools.

    {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}, "sequences": 1}
    {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    {"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}          count of these, positions first .. first+count-1
    {"end": true, "lines": 258, "sha256": "..."}                       over the lines before it; optional by hand

A position may also carry `confidence` and `proposers`; they are checked for their kind and left out. Wherever a file
is cut, that shows: within a sequence by its count, between two by the header's `sequences`. That key and the last line
are optional by hand and always written here; `trace check` calls a file without the last line unsealed.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .files import (
    DECODER,
    STEPS,
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
    line_of,
    one_line,
    opening,
    shown,
    steps_heading,
    unwritable,
)

_LINE_BYTES = 1_000_000
_AT_ONCE = 32_768
"""Predictions whose lines are read together where they stand as they are written here; others are read with care."""
_DIGITS = bytes(c if chr(c).isdigit() and c < 128 else 32 for c in range(256))


class Lines:
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

    def rows(self, first: int, count: int, repetitions: int) -> Tokens | None:
        """The exit tokens of the next lines if they are those of `count` positions, byte for byte as they are written
        here; else None, and nothing is taken."""
        start, most = self._stream.tell(), 40 + 12 * repetitions  # bytes of a line
        raws = [self._stream.readline(most) for _ in range(count)]
        text = b"".join(raws)
        numbers = np.fromstring(text.translate(_DIGITS), dtype=np.int64, sep=" ")
        if numbers.size == count * (repetitions + 1) and numbers.min() >= 0 and numbers.max() < WHOLE:
            tokens = numbers.reshape(count, -1)[:, 1:].astype(np.int32)
            if "".join(_lines(first, tokens)).encode() == text:
                self.hash.update(self._raw)
                self.hash.update(b"".join(raws[:-1]))
                self._raw, self.number = raws[-1], self.number + count
                return tokens
        self._stream.seek(start)
        return None

    def first(self) -> dict[str, Any]:
        """The first line's object."""
        entry = self.take()
        if entry is None:
            raise self.refuse("", "the file is empty")
        return entry

    def refuse(self, key: str, what: str, column: int | None = None) -> TraceError:
        """The error that names this line and, where it stands in it, the key."""
        at = column or self._raw.find(f'"{key}"'.encode("utf-8", "replace")) + 1 or 1
        named = f"{shown(key)[1:-1]}: " if key else ""
        return TraceError(f"{self.path}:{max(1, self.number)}:{at}: {named}{what}")

    def seal(self, entry: dict[str, Any]) -> None:
        """Check the last line, which is the current one, against the lines before it."""
        fields(entry, "last line", self.refuse)
        if entry["end"] is not True:
            raise self.refuse("end", f"{shown(entry['end'])} is not true")
        if entry["lines"] != self.number - 1:
            raise self.refuse("lines", f"{shown(entry['lines'])} said, {self.number - 1} read: the file is damaged")
        if entry["sha256"] != self.hash.hexdigest():
            raise self.refuse("sha256", "the lines before say otherwise: the file is damaged or was edited by hand")


def read_header(path: Path) -> dict[str, Any]:
    """The first line, checked."""
    with path.open("rb") as stream:
        lines = Lines(path, stream)
        entry = lines.first()
        check = steps_heading if entry.get("kind") == STEPS else heading
        return check(entry, lines.refuse)


def read(path: Path, _limit_bytes: int) -> Content:
    """The whole file, checked line by line."""
    told: Told = []
    known: set[int] = set()
    sealed = False
    with path.open("rb") as stream:
        lines = Lines(path, stream)
        head = heading(lines.first(), lines.refuse)
        while (entry := lines.take()) is not None:
            if sealed:
                raise lines.refuse("", "a line behind the one that ends the file")
            if entry.get("end") is True or entry.keys() & {"lines", "sha256"}:
                lines.seal(entry)
                sealed = True
            elif "position" in entry and told:
                last = told[-1][0]
                raise lines.refuse("position", f"sequence {last.sequence} has its {last.count} positions already")
            else:
                opened = opening(entry, lines.refuse, known)
                told.append((opened, _positions(lines, opened, head["repetitions"])))
        if not told:
            raise lines.refuse("sequence", "the file ends without one")
        if len(told) != head.get("sequences", len(told)):
            raise lines.refuse("sequence", f"{len(told)} read where the header says {head['sequences']}: "
                               "the file is cut short")
    return Content(head, told, sealed)


def _positions(lines: Lines, opened: Opening, repetitions: int) -> Tokens:
    """The next lines' exit tokens, [count, repetitions]."""
    parts = []
    step = -(-_AT_ONCE // repetitions)
    for at in range(0, opened.count, step):
        part = replace(opened, first=opened.first + at, count=min(step, opened.count - at))
        rows = lines.rows(part.first, part.count, repetitions)
        parts.append(_carefully(lines, opened, part, repetitions) if rows is None else rows)
    return np.concatenate(parts)


def _carefully(lines: Lines, opened: Opening, part: Opening, repetitions: int) -> Tokens:
    """The exit tokens of a part of a sequence, line by line."""
    plain, tokens = {"position", "exit_tokens"}, array("i")
    for position in range(part.first, part.first + part.count):
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


def _lines(first: int, tokens: Tokens) -> list[str]:
    """The lines of positions from `first` on."""
    return [f'{{"position": {position}, "exit_tokens": {exits}}}\n'
            for position, exits in enumerate(tokens.tolist(), first)]


def written(head: dict[str, Any], told: Told) -> bytes:
    """A .jsonl file, its checksum line included. TraceError where `head` could not be read back."""
    lines = [line_of(heading(head, unwritable) | {"sequences": len(told)})]
    for opened, tokens in told:
        lines.append(line_of(opened.line))
        lines += _lines(opened.first, tokens)
    content = "".join(lines).encode()
    last = {"end": True, "lines": len(lines), "sha256": hashlib.sha256(content).hexdigest()}
    return content + line_of(last).encode()
