"""Who claims a number: the entries of one file, read by the class they describe, each with its kind and source.

A number is written `{value: 4917 GB/s, kind: measured, source: clock}`, or bare inside a block that says `kind:` and
`source:` for all of it. A source may be a key of the file's own `sources:`. Text, true, false and null claim nothing.
What an inner block or value does not say, it takes from the block around it, never from another file.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, NamedTuple, get_args, get_origin

from .. import units
from .document import Node, Place, Problem
from .plain import Member, core, describes, members, numeric

KINDS = ("datasheet", "recalled", "measured", "derived", "estimate", "fitted", "assumed", "what_if")
SOURCED = ("datasheet", "measured", "derived", "fitted")
"""Kinds that name where the number is from."""
DEFAULT = "default"
"""Kind of a number that no file states."""

ASIDE = ("kind", "source", "note")
"""Keys of any block that are not fields."""
TOP = ("sources", "extends", "default_of", "fit")
"""Further keys of a file's top level that are not fields."""

_INT_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a value is from: `line` of `file`, 0 for the command line."""

    kind: str
    source: str | None
    file: str
    line: int


class Leaf(NamedTuple):
    """A value in the unit of its field."""

    place: Place
    value: Any
    provenance: Provenance | None = None


@dataclass(slots=True)
class Branch:
    """A block, by the keys of the file; `cls` where a class names them; a sequence has keys "0", "1", ..."""

    place: Place
    items: dict[str, Leaf | Branch]
    cls: type | None = None
    sequence: bool = False


Tree = Leaf | Branch
BAD: dict[str, Any] = {}
"""Stands for a value that could not be read; no scalar and no list is equal to it."""


class _Given(NamedTuple):
    """What the blocks around say."""

    kind: str | None = None
    source: str | None = None


class _Slot(NamedTuple):
    """What a place in the tree takes."""

    type: Any
    member: Member
    """The field it belongs to: its unit, and whether it may be negative."""
    key_unit: str = ""
    """The unit of time that the key names: `turnaround_us`."""
    claimed: bool = False
    """Written as `{value: ..., kind: ...}`."""


@dataclass(slots=True)
class Reading:
    """The state of reading one file or one override."""

    typed: bool = True
    """Whether `0.24` is refused as text. On a command line, where quotes do not survive, it is not."""
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    mistaken: set[str] = field(default_factory=set)
    """Keys that a misspelt one was probably meant to be: not missing as well."""

    def wrong(self, place: Place, path: str, text: str) -> None:
        """Note a problem and go on."""
        self.problems.append(Problem(place, path, text))


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that is most like this one; empty where none is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean X?)` with the nearest known word, or nothing."""
    near = nearest(word, known)
    return f" (did you mean {near}?)" if near else ""


def read_file(cls: type, root: Node, reading: Reading) -> Branch:
    """The entries of a file of class `cls`; problems go to `reading`."""
    assert root.entries is not None
    _read_sources(root.entries.get("sources"), reading)
    own = Node(root.place, entries={k: n for k, n in root.entries.items() if k not in TOP})
    return _block(cls, own, "", _Given(), reading)


def read_setting(cls: type, root: Node, reading: Reading) -> Branch:
    """The entries of an override: the same, of kind what_if."""
    return _block(cls, root, "", _Given("what_if", "--set"), reading)


def _read_sources(node: Node | None, reading: Reading) -> None:
    if node is None:
        return
    if node.entries is None:
        reading.wrong(node.place, "sources", f"names with texts are expected, got {node}")
        return
    for key, entry in node.entries.items():
        if isinstance(entry.value, str):
            reading.sources[key] = entry.value
        else:
            reading.wrong(entry.place, f"sources.{key}", f"text expected, got {entry}")


def _block(cls: type, node: Node, path: str, given: _Given, reading: Reading) -> Branch:
    assert node.entries is not None
    known = members(cls)
    given = _narrowed(node, path, given, reading)
    branch = Branch(node.place, {}, cls)
    for key, child in node.entries.items():
        if key in ASIDE:
            continue
        member, unit = _member(known, key)
        dotted = f"{path}.{member.key if member else key}".lstrip(".")
        if member is None:
            reading.mistaken.add(f"{path}.{nearest(key, known)}".lstrip("."))
            reading.wrong(child.place, dotted, f"unknown key{did_you_mean(key, known)}")
        elif member.key in branch.items:
            reading.wrong(child.place, dotted, f"given twice (first in line {branch.items[member.key].place.line})")
        else:
            branch.items[member.key] = _entry(_Slot(member.type, member, unit), child, dotted, given, reading)
    return branch


def _member(known: dict[str, Member], key: str) -> tuple[Member | None, str]:
    """The field that a key means, and the unit that the key names: `turnaround_us` is `turnaround` in us."""
    if key in known:
        return known[key], ""
    stem, _, unit = key.rpartition("_")
    if unit in ("ps", "ns", "us", "ms", "s") and stem in known and known[stem].suffix == "_ps":
        return known[stem], unit
    return None, ""


def _narrowed(node: Node, path: str, given: _Given, reading: Reading) -> _Given:
    """What holds inside a block or value that may say a kind and a source."""
    assert node.entries is not None
    kind, source = given
    if (said := node.entries.get("kind")) is not None:
        kind = str(said.value)
        if kind not in KINDS:
            what = f"one of {', '.join(KINDS)} expected, got {said}{did_you_mean(kind, KINDS)}"
            reading.wrong(said.place, f"{path}.kind".lstrip("."), what)
    if (said := node.entries.get("source")) is not None:
        dotted = f"{path}.source".lstrip(".")
        if not isinstance(said.value, str) or not said.value.strip():
            reading.wrong(said.place, dotted, f"text expected, got {said}")
        source = reading.sources.get(said.text, said.text)
        near = difflib.get_close_matches(said.text, reading.sources, n=1, cutoff=0.8)
        if near and said.text not in reading.sources and " " not in said.text:
            reading.wrong(said.place, dotted, f"{said.text!r} is no entry of sources (did you mean {near[0]}?)")
    return _Given(kind, source)


def _entry(slot: _Slot, node: Node, path: str, given: _Given, reading: Reading) -> Tree:
    inner = core(slot.type)
    if is_dataclass(inner) and isinstance(inner, type):
        if node.entries is not None:
            return _block(inner, node, path, given, reading)
        return Leaf(node.place, None) if _is_null(node) else _bad(node, path, "a block of keys", reading)
    if node.entries is not None and "value" in node.entries:
        slot, given = slot._replace(claimed=True), _narrowed(node, path, given, reading)
        node = _unwrapped(node, path, reading)
    arguments = get_args(inner)
    if get_origin(inner) is dict and node.entries is not None:
        given = _narrowed(node, path, given, reading)
        inside = slot._replace(type=arguments[1])
        return Branch(node.place, {
            key: _entry(inside, child, f"{path}.{key}", given, reading)
            for key, child in node.entries.items() if key not in ASIDE
        })
    if node.items is not None and arguments and describes(inner):
        inside = slot._replace(type=arguments[0])
        entries = {str(i): _entry(inside, n, f"{path}[{i}]", given, reading) for i, n in enumerate(node.items)}
        return Branch(node.place, dict(entries), sequence=True)
    if node.entries is not None or (get_origin(inner) is dict and not _is_null(node)):
        return _bad(node, path, "a block of keys" if node.entries is None else "a value", reading)
    return _leaf(slot, node, path, given, reading)


def _unwrapped(node: Node, path: str, reading: Reading) -> Node:
    """The X of {value: X, kind: ..., source: ...}, where the whole stands."""
    assert node.entries is not None
    for key, extra in node.entries.items():
        if key not in ("value", *ASIDE):
            reading.wrong(extra.place, f"{path}.{key}", f"unknown key{did_you_mean(key, ('value', *ASIDE))}")
    return replace(node.entries["value"], place=node.place)


def _is_null(node: Node) -> bool:
    return node.entries is None and node.items is None and node.value is None


def _bad(node: Node, path: str, expected: str, reading: Reading) -> Leaf:
    reading.wrong(node.place, path, f"{expected} expected, got {node}")
    return Leaf(node.place, BAD)


def _leaf(slot: _Slot, node: Node, path: str, given: _Given, reading: Reading) -> Leaf:
    if not reading.typed and core(slot.type) is str and node.items is None and node.value is not None:
        node = replace(node, value=node.text)
    try:
        value = _value(slot, node)
    except units.UnitError as error:
        reading.wrong(node.place, path, str(error))
        return Leaf(node.place, BAD)
    number = numeric(slot.type) and _counts(value)
    if number and given.kind is None:
        reading.wrong(node.place, path, "a number without a kind; write {value: ..., kind: ..., source: ...}")
    if (number or slot.claimed) and given.kind in SOURCED and given.source is None:
        reading.wrong(node.place, path, f"kind {given.kind} needs a source")
    if given.kind is None or value is None or not (number or slot.claimed):
        return Leaf(node.place, value)
    return Leaf(node.place, value, Provenance(given.kind, given.source, node.place.file, node.place.line))


def _counts(value: Any) -> bool:
    """Whether there is a number in it."""
    if isinstance(value, list):
        return any(_counts(entry) for entry in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(slot: _Slot, node: Node) -> Any:
    """The value in the unit of its field; what is no number in a numeric field is left to the check of types."""
    if node.items is not None:
        return [_value(slot, item) for item in node.items]
    if node.entries is not None:
        raise units.UnitError(f"a value expected, got {node}")
    value, member = node.value, slot.member
    if value is None or not numeric(slot.type):
        return value
    if slot.key_unit:
        if not _counts(value):
            raise units.UnitError(f"a bare number expected, as the key names the unit {slot.key_unit}, got {node}")
        return units.parse(f"{node.text} {slot.key_unit}", member.name)
    if member.suffix:
        return units.parse(value, member.name)
    if isinstance(value, float) and not math.isfinite(value):
        raise units.UnitError(f"{node} is not a finite number")
    if isinstance(value, int | float) and value < 0 and not member.signed:
        raise units.UnitError(f"{node} is negative")
    if isinstance(value, int) and abs(value) > _INT_MAX:
        raise units.UnitError(f"{node} is too large")
    return value
