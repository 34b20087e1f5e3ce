"""A JSON file as a tree of nodes that know their place; the standard parser tells none.

    text -> nodes of reading/document.py, for messages of the form file:line:col: key: what is wrong

Strict: no comments, no NaN, no key twice, nothing behind the end; large and deep files are refused. Standard library.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from pathlib import Path
from typing import NoReturn

from .document import MAX_BYTES, MAX_DEPTH, ConfigError, Node, Place, Problem, Scalar, shortened


def read_json(path: str | Path) -> Node:
    """The block of keys that a file is. Raises ConfigError."""
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(Place(name), "", f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        raise ConfigError([Problem(Place(name, 1, 1), "", f"the file is larger than {MAX_BYTES:,} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, before = data.count(b"\n", 0, error.start) + 1, data.rfind(b"\n", 0, error.start)
        raise ConfigError([Problem(Place(name, line, error.start - before), "", "not UTF-8 text")]) from None
    return _Json(text, name).read()


class _Json:
    """The text, and where its lines begin."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self.decoder = json.JSONDecoder(parse_constant=_no_constant)

    def read(self) -> Node:
        """The whole text."""
        start = self._skip(0)
        if start == len(self.text):
            self._fail(0, "the file is empty")
        node, end = self._value(start, 0, "")
        if node.entries is None:
            self._fail(start, f"keys with values are expected, got {node}")
        if self._skip(end) < len(self.text):
            self._fail(self._skip(end), "not valid JSON: text behind the end")
        return node

    def _place(self, position: int) -> Place:
        line = bisect_right(self.lines, position)
        return Place(self.file, line, position - self.lines[line - 1] + 1)

    def _fail(self, position: int, text: str, key: str = "") -> NoReturn:
        raise ConfigError([Problem(self._place(position), key, text)])

    def _skip(self, position: int) -> int:
        while position < len(self.text) and self.text[position] in " \t\r\n":
            position += 1
        return position

    def _value(self, position: int, depth: int, path: str) -> tuple[Node, int]:
        if depth > MAX_DEPTH:
            self._fail(position, f"nested deeper than {MAX_DEPTH} levels")
        if self.text.startswith("{", position):
            return self._block(position, depth, path)
        if self.text.startswith("[", position):
            return self._list(position, depth, path)
        value, end = self._scalar(position, path)
        text = value if isinstance(value, str) else self.text[position:end]
        return Node(self._place(position), value=value, text=text), end

    def _scalar(self, position: int, path: str) -> tuple[Scalar, int]:
        try:
            value, end = self.decoder.raw_decode(self.text, position)
        except json.JSONDecodeError as error:
            self._fail(min(error.pos, len(self.text)), f"not valid JSON: {error.msg[:1].lower()}{error.msg[1:]}", path)
        except _EndlessError as error:
            self._fail(position, f"{error} is not a finite number", path)
        except ValueError:
            self._fail(position, "a number of too many digits", path)
        if isinstance(value, float) and not math.isfinite(value):
            self._fail(position, f"{shortened(self.text[position:end])} is not a finite number", path)
        return value, end

    def _block(self, position: int, depth: int, path: str) -> tuple[Node, int]:
        node = Node(self._place(position), entries={})
        assert node.entries is not None
        position = self._skip(position + 1)
        while not self.text.startswith("}", position):
            if node.entries:
                position = self._expect(position, ",", path)
            if not self.text.startswith('"', position):
                self._fail(position, "not valid JSON: a key in double quotes expected", path)
            name, end = self._scalar(position, path)
            key = f"{path}.{name}".lstrip(".")
            if str(name) in node.entries:
                self._fail(position, f"given twice (first in line {node.entries[str(name)].place.line})", key)
            entry, end = self._value(self._expect(self._skip(end), ":", key), depth + 1, key)
            entry.place = self._place(position)
            node.entries[str(name)] = entry
            position = self._skip(end)
        return node, position + 1

    def _list(self, position: int, depth: int, path: str) -> tuple[Node, int]:
        node = Node(self._place(position), items=[])
        assert node.items is not None
        position = self._skip(position + 1)
        while not self.text.startswith("]", position):
            if node.items:
                position = self._expect(position, ",", path)
            item, end = self._value(position, depth + 1, f"{path}[{len(node.items)}]")
            node.items.append(item)
            position = self._skip(end)
        return node, position + 1

    def _expect(self, position: int, mark: str, path: str) -> int:
        if not self.text.startswith(mark, position):
            self._fail(position, f"not valid JSON: {mark!r} expected", path)
        return self._skip(position + 1)


class _EndlessError(ValueError):
    """NaN or Infinity, which the standard parser takes."""


def _no_constant(name: str) -> NoReturn:
    raise _EndlessError(name)
