"""A YAML file as a tree of nodes that know their place: text that is safe to walk, or a ConfigError that says where.

YAML 1.2: `no` is text, `1e3` a number, `017` seventeen. Only what a description needs is accepted: mappings with
scalar keys, sequences, scalars. Anchors, aliases, tags and a second document are refused, and so is everything large
or deep, before the parser sees it: 50,000 brackets cost it minutes. It works on events, so nothing here recurses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..units import InputError

MAX_BYTES = 1_000_000
MAX_DEPTH = 64
_MAX_DIGITS = 40

Scalar = str | int | float | bool | None


class Place(NamedTuple):
    """Where something stands. `line` and `column` count from 1; 0: the file as a whole, or a command line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(NamedTuple):
    """One thing that is wrong; `key` is dotted, empty for the file as a whole."""

    place: Place
    key: str
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.place}: {self.key}: {self.text}" if self.key else f"{self.place}: {self.text}")


class ConfigError(InputError):
    """A file or an override is wrong. `str` is one line, the first problem; `lines` has them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        more = f" (and {len(self.problems) - 1} more)" if len(self.problems) > 1 else ""
        super().__init__(f"{self.problems[0]}{more}")

    def __reduce__(self) -> tuple[Any, ...]:
        return ConfigError, (self.problems,)

    @property
    def lines(self) -> list[str]:
        """Every problem as `file:line:col: key: what is wrong`."""
        return [str(problem) for problem in self.problems]


@dataclass(slots=True)
class Node:
    """A mapping (`entries`), a sequence (`items`), or a scalar (`value`, as written in `text`)."""

    place: Place
    """Of the key, for an entry of a mapping."""
    entries: dict[str, Node] | None = None
    items: list[Node] | None = None
    value: Scalar = None
    text: str = ""

    def __str__(self) -> str:
        """What a message calls it."""
        if self.entries is not None:
            return "a block of keys"
        return "a list" if self.items is not None else shortened(self.text)

    def plain(self) -> Any:
        """What it holds, as dicts, lists and scalars."""
        if self.entries is not None:
            return {key: node.plain() for key, node in self.entries.items()}
        return self.value if self.items is None else [node.plain() for node in self.items]


def one_line(text: str) -> str:
    """The text with everything that does not print on one line escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str) -> str:
    """At most 60 characters of it, in quotes where it is no plain number or word."""
    text = text if len(text) <= 60 else text[:57] + "..."
    return text if re.fullmatch(r"[\w.+-]+", text) else repr(text)


def read(path: str | Path) -> Node:
    """The mapping at the root of a file; messages call the file by `path` as given. Raises ConfigError."""
    name = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError([Problem(Place(name), "", f"cannot be read: {reason}")]) from None
    if len(data) > MAX_BYTES:
        _refuse(name, 1, 1, f"the file is larger than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - before.rfind(b"\n")
        _refuse(name, before.count(b"\n") + 1, column, "not UTF-8 text; is this a YAML file?")
    root = parse(text, name)
    if root is None or (root.entries is None and root.items is None and not root.text):
        _refuse(name, 1, 1, "the file is empty")
    if root.entries is None:
        raise ConfigError([Problem(root.place, "", f"keys with values are expected, got {root}")])
    return root


def parse(text: str, file: str) -> Node | None:
    """The tree of a text, None for an empty one. Raises ConfigError; duplicate keys are collected."""
    _check_depth(text, file)
    problems: list[Problem] = []
    root = _tree(_events(text, file), file, problems)
    if problems:
        raise ConfigError(problems)
    return root


def _events(text: str, file: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except YAMLError as error:
        _refuse(file, *_syntax(error, text))
    except Exception as error:  # whatever a third-party parser stumbles over, the text is at fault
        _refuse(file, 1, 1, f"not valid YAML: {error}")


def _refuse(file: str, line: int, column: int, text: str) -> NoReturn:
    raise ConfigError([Problem(Place(file, line, column), "", text)])


def _syntax(error: Any, text: str) -> tuple[int, int, str]:
    """(line, column, what is wrong) of the parser's error."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        what = getattr(error, "problem", None) or getattr(error, "context", None) or "cannot be parsed"
        lines = text.splitlines()
        tab = mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]
        hint = " (a tab; indent with spaces)" if tab else ""
        return mark.line + 1, mark.column + 1, f"not valid YAML: {what}{hint}"
    position = getattr(error, "position", None)
    if isinstance(position, int):
        before = text[:position]
        return before.count("\n") + 1, position - before.rfind("\n"), "a control character; is this a YAML file?"
    return 1, 1, f"not valid YAML: {error}"


def _check_depth(text: str, file: str) -> None:
    """Refuse deep nesting by looking at the text alone: brackets open at once, and `- - -` on one line.

    Brackets inside text count too, which is harmless: 65 of them would have to stay open.
    """
    depth = 0
    for match in re.finditer(r"[\[\]{}]", text):
        depth = depth + 1 if match[0] in "[{" else max(0, depth - 1)
        if depth > MAX_DEPTH:
            _too_deep(text, match.start(), file)
    run = re.search(rf"(?:[-?:][ \t]+){{{MAX_DEPTH + 1}}}", text)
    if run is not None:
        _too_deep(text, run.start(), file)


def _too_deep(text: str, position: int, file: str) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    _refuse(file, line, position - text.rfind("\n", 0, position), f"nested deeper than {MAX_DEPTH} levels")


@dataclass(slots=True)
class _Open:
    """A mapping or sequence whose end has not come."""

    node: Node
    key: str = ""
    path: str = ""
    at: Place | None = None
    """Where the key that waits for its value stands."""
    seen: dict[str, int] = field(default_factory=dict)


def _tree(events: Iterator[Any], file: str, problems: list[Problem]) -> Node | None:
    root: Node | None = None
    open_: list[_Open] = []
    for event in events:
        what = type(event).__name__
        if what in ("MappingEndEvent", "SequenceEndEvent"):
            open_.pop()
            continue
        if what not in ("ScalarEvent", "MappingStartEvent", "SequenceStartEvent", "AliasEvent"):
            continue
        place = Place(file, event.start_mark.line + 1, event.start_mark.column + 1)
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            name = "tags" if event.anchor is None else "anchors and aliases"
            raise ConfigError([*problems, Problem(place, "", f"{name} are not accepted; write the value out")])
        if not open_ and root is not None:
            raise ConfigError([*problems, Problem(place, "", "a second document; one file holds one")])
        parent = open_[-1] if open_ else None
        if parent is not None and parent.node.entries is not None and parent.at is None:
            _take_key(parent, event, place, problems)
            continue
        node = _node(event, place)
        path = _put(parent, node) if parent is not None else ""
        root = root or node
        if what != "ScalarEvent":
            if len(open_) == MAX_DEPTH:
                raise ConfigError([*problems, Problem(place, path, f"nested deeper than {MAX_DEPTH} levels")])
            open_.append(_Open(node, path=path))
    return root


def _take_key(parent: _Open, event: Any, place: Place, problems: list[Problem]) -> None:
    if not hasattr(event, "value"):
        raise ConfigError([*problems, Problem(place, parent.path, "a key must be a single word or number")])
    parent.key, parent.at = event.value, place
    if event.value in parent.seen:
        dotted = f"{parent.path}.{event.value}".lstrip(".")
        problems.append(Problem(place, dotted, f"given twice (first in line {parent.seen[event.value]})"))
    parent.seen[event.value] = place.line


def _put(parent: _Open, node: Node) -> str:
    """Give the node to its parent; its dotted path."""
    if parent.node.items is not None:
        parent.node.items.append(node)
        return f"{parent.path}[{len(parent.node.items) - 1}]"
    assert parent.node.entries is not None
    assert parent.at is not None
    node.place, parent.at = parent.at, None
    parent.node.entries[parent.key] = node
    return f"{parent.path}.{parent.key}".lstrip(".")


def _node(event: Any, place: Place) -> Node:
    what = type(event).__name__
    if what == "MappingStartEvent":
        return Node(place, entries={})
    if what == "SequenceStartEvent":
        return Node(place, items=[])
    plain = not event.style
    return Node(place, value=_scalar(event.value) if plain else event.value, text=event.value)


_WORDS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def _scalar(text: str) -> Scalar:
    """What a plain scalar is in YAML 1.2's core schema; a number of endless digits stays text."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _ENDLESS.fullmatch(text) else text
