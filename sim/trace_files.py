"""The two files that a trace is kept in: what may stand in them, how they are read, how they are written.

JSON lines, for hands and tools:
    {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}}
    {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    {"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}          count of these, positions first .. first+count-1
    {"end": true, "lines": 258, "sha256": "..."}                       over the lines before it; optional by hand
Parquet carries the same: columns sequence, position (int32) and exit_tokens (fixed_size_list<int32>[G]), checksums on
its pages, the header, the sequences and a sha256 in its metadata. Neither form can run code when it is read.

Whatever is wrong with a file is a TraceError that names the place. Checked are every key and number, that positions
follow one another, the checksums, and the size before anything is unpacked. A JSON lines file without its optional last
line that was cut exactly between two sequences cannot be told from a whole one.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .units import InputError

SCHEMA = "speedsim-trace/1"
ENDS = ("length", "eos")
"""Why a sequence ended: it reached its length limit, or its last token ends the text."""
LIMIT_BYTES = 2 << 30
"""Files that are larger, or larger once uncompressed, are refused."""
WHOLE = 2**31
"""Tokens, positions and ids are whole numbers from 0 to one less than this."""

_LINE_BYTES = 1_000_000
_MOST_REPETITIONS = 4096
_DEEPEST_SOURCE = 32
_ROW_GROUP = 64 * 1024
_COLUMNS = ("sequence", "position", "exit_tokens")
_KEYS = {
    "header": (("schema", "model", "repetitions"), ("source",)),
    "sequence": (("sequence", "first", "count", "end"), ("source_tokens",)),
    "position": (("position", "exit_tokens"), ("confidence", "proposers")),
    "last line": (("end", "lines", "sha256"), ()),
}
"""(needed, allowed) keys of each kind of line."""

Tokens = NDArray[np.int32]
Refuse = Callable[[str, str], "TraceError"]
"""(key, what is wrong) -> the error that also names the place."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a file says of a sequence before its rows."""

    id: int
    first: int
    count: int
    end: str
    source_tokens: int


Told = list[tuple[Opening, Tokens]]
"""The sequences, each with its exit tokens [count, G]."""


class TraceError(InputError):
    """A trace is refused; the message is one line, `file:line:col: key: what is wrong`."""


class Content(NamedTuple):
    """A file that has been read."""

    head: dict[str, Any]
    """schema, model, repetitions, source."""
    told: Told
    sealed: bool
    """Whether it carries a checksum, which held."""


def digest(repetitions: int, told: Told) -> str:
    """sha256 over repetitions, every sequence's (first, count, end, source_tokens) and all exit tokens."""
    content = hashlib.sha256(f"{repetitions}\n".encode())
    for o, tokens in told:
        content.update(f"{o.first},{o.count},{o.end},{o.source_tokens}\n".encode())
        content.update(tokens.astype("<i4", copy=False).tobytes())
    return content.hexdigest()


def one_line(value: object, most: int = 120) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[:most] + "..."


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return one_line(json.dumps(value), 60)


def near(given: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: ` (did you mean ...?)`, or nothing."""
    found = difflib.get_close_matches(given[:60], list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""


class _BadJsonError(ValueError):
    """(what stands in the line, what is wrong with it)."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _BadJsonError(f'"{twice}"', "the key stands twice")
    return entry


def _constant(name: str) -> NoReturn:
    raise _BadJsonError(name, "is no number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _fields(entry: dict[str, Any], kind: str, refuse: Refuse) -> None:
    """Refuse unknown and missing keys of a line of this kind."""
    needed, allowed = _KEYS[kind]
    for key in entry:
        if key not in needed and key not in allowed:
            missing = [k for k in needed + allowed if k not in entry]
            raise refuse(key, f"unknown key of a {kind}{near(key, missing)}")
    for key in needed:
        if key not in entry:
            raise refuse(key, f"missing from the {kind}")


def _whole(entry: dict[str, Any], key: str, low: int, refuse: Refuse, below: int = WHOLE) -> int:
    value = entry[key]
    if type(value) is not int or not low <= value < below:
        raise refuse(key, f"{_shown(value)} is no whole number from {low} to {below - 1}")
    return value


def heading(entry: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The header line's checked values."""
    if "schema" not in entry and not entry.keys() & {"model", "repetitions"}:
        raise refuse("schema", 'missing: the first line of a trace is {"schema": "' + SCHEMA + '", "model": ...}')
    _fields(entry, "header", refuse)
    if entry["schema"] != SCHEMA:
        raise refuse("schema", f"{_shown(entry['schema'])} is not known (did you mean {SCHEMA}?)")
    if type(entry["model"]) is not str or not entry["model"].strip():
        raise refuse("model", f"{_shown(entry['model'])} is no name")
    _whole(entry, "repetitions", 1, refuse, _MOST_REPETITIONS + 1)
    source = entry.get("source", {})
    if type(source) is not dict or not _plain(source, _DEEPEST_SOURCE):
        raise refuse("source", f"no object of finite values, {_DEEPEST_SOURCE} levels deep at most")
    return entry | {"source": source}


def _plain(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_plain(v, levels - 1) for v in inner)
    return not isinstance(value, float) or math.isfinite(value)


def opening(entry: dict[str, Any], refuse: Refuse, known: set[int]) -> Opening:
    """The checked (id, first, count, end, source_tokens) of a sequence line."""
    _fields(entry, "sequence", refuse)
    number = _whole(entry, "sequence", 0, refuse)
    if number in known:
        raise refuse("sequence", f"{number} was there before")
    known.add(number)
    first, count = _whole(entry, "first", 0, refuse), _whole(entry, "count", 1, refuse)
    if first + count > WHOLE:
        raise refuse("count", f"positions {first} .. {first + count - 1} do not fit 32 bits")
    if entry["end"] not in ENDS:
        closest = near(entry["end"], ENDS) if type(entry["end"]) is str else ""
        raise refuse("end", f"{_shown(entry['end'])} is neither length nor eos{closest}")
    source_tokens = _whole(entry, "source_tokens", 0, refuse) if "source_tokens" in entry else 0
    return Opening(number, first, count, entry["end"], source_tokens)


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
        try:
            entry = DECODER.decode(self._raw.rstrip(b"\r\n").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self.refuse("", "not UTF-8 text", error.start + 1) from None
        except json.JSONDecodeError as error:
            raise self.refuse("", f"not JSON: {error.msg}", error.pos + 1) from None
        except _BadJsonError as error:
            word, what = error.args
            raise self.refuse(word.strip('"'), what, self._raw.rfind(word.encode("utf-8", "replace")) + 1) from None
        except RecursionError:
            raise self.refuse("", "nested too deeply") from None
        except ValueError as error:
            raise self.refuse("", one_line(error)) from None
        if type(entry) is not dict:
            raise self.refuse("", f"{_shown(entry)} is no object")
        return entry

    def refuse(self, key: str, what: str, column: int | None = None) -> TraceError:
        """The error that names this line and, where it stands in it, the key."""
        at = column or self._raw.find(f'"{key}"'.encode("utf-8", "replace")) + 1 or 1
        named = f"{_shown(key)[1:-1]}: " if key else ""
        return TraceError(f"{self.path}:{max(1, self.number)}:{at}: {named}{what}")


def read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return _first_line(_Lines(path, stream))


def _first_line(lines: _Lines) -> dict[str, Any]:
    entry = lines.take()
    if entry is None:
        raise lines.refuse("", "the file is empty")
    return heading(entry, lines.refuse)


def read(path: Path, _limit_bytes: int) -> Content:
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
                raise lines.refuse("position", f"sequence {last.id} has its count of {last.count} positions already")
            else:
                opening = opening(entry, lines.refuse, known)
                told.append((opening, _positions(lines, opening, head["repetitions"])))
        if not told:
            raise lines.refuse("sequence", "the file ends without one")
    return Content(head, told, sealed)


def _positions(lines: _Lines, opening: Opening, repetitions: int) -> Tokens:
    """The next lines' exit tokens, [count, repetitions]."""
    number, first, count = opening.id, opening.first, opening.count
    plain, tokens = {"position", "exit_tokens"}, array("i")
    for position in range(first, first + count):
        entry = lines.take()
        if entry is None or entry.keys() & {"sequence", "lines", "sha256"}:
            raise lines.refuse("sequence", f"only {position - first} of the {count} positions of sequence {number}"
                               + (": the file is cut short" if entry is None else ""))
        if entry.keys() != plain:
            _fields(entry, "position", lines.refuse)
            _extras(entry, lines.refuse)
        if type(entry["position"]) is not int or entry["position"] != position:
            raise lines.refuse("position", f"{_shown(entry['position'])} where position {position} is next")
        exits = entry["exit_tokens"]
        if type(exits) is not list or len(exits) != repetitions:
            held = f"{len(exits)} predictions" if type(exits) is list else _shown(exits)
            raise lines.refuse("exit_tokens", f"{held} where the model has {repetitions} repetitions")
        for token in exits:
            if type(token) is not int or not 0 <= token < WHOLE:
                raise lines.refuse("exit_tokens", f"{_shown(token)} is no token: a whole number from 0 to {WHOLE - 1}")
        tokens.fromlist(exits)
    return np.frombuffer(tokens, dtype=np.intc).astype(np.int32).reshape(count, repetitions)


def _extras(entry: dict[str, Any], refuse: Refuse) -> None:
    if type(entry.get("confidence", [])) is not list:
        raise refuse("confidence", "no list")
    if type(entry.get("proposers", {})) is not dict:
        raise refuse("proposers", "no object")


def _seal(entry: dict[str, Any], lines: _Lines) -> None:
    """Check the last line against the lines before it."""
    _fields(entry, "last line", lines.refuse)
    if entry["end"] is not True:
        raise lines.refuse("end", f"{_shown(entry['end'])} is not true")
    if entry["lines"] != lines.number - 1:
        raise lines.refuse("lines", f"{_shown(entry['lines'])} said, {lines.number - 1} read: the file is damaged")
    if entry["sha256"] != lines.hash.hexdigest():
        raise lines.refuse("sha256", "the lines before say otherwise: the file is damaged or was edited by hand")


def written(head: dict[str, Any], told: Told) -> bytes:
    """A .jsonl file, its checksum line included. TraceError where `head` could not be read back."""
    lines = [_line(heading(head, unwritable))]
    for opening, tokens in told:
        lines.append(_line(plainly(opening)))
        lines += [f'{{"position": {position}, "exit_tokens": {exits}}}\n'
                  for position, exits in enumerate(tokens.tolist(), opening.first)]
    content = "".join(lines).encode()
    return content + _line({"end": True, "lines": len(lines), "sha256": hashlib.sha256(content).hexdigest()}).encode()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def unwritable(key: str, what: str) -> TraceError:
    return TraceError(f"{key}: {what}: the trace cannot be written")


def plainly(o: Opening) -> dict[str, Any]:
    return {"sequence": o.id, "first": o.first, "count": o.count, "end": o.end, "source_tokens": o.source_tokens}
