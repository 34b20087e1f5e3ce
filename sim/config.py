"""From YAML files to a frozen description: every unit read, every source kept, everything wrong told with its place.

    files of a family (child, parent, ...) -> entries by the class's fields -> child over parent -> --set -> checked

The class decides: its field names, without their unit, are the keys, and nothing else is accepted. A child says only
what differs from the file that it `extends`; provenance follows the value that wins.
Not checked: whether a number is true. The description says who claims it instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

from . import registry
from .reading import document
from .reading.checking import checked
from .reading.document import ConfigError, Node, Place
from .reading.plain import core, describes, from_plain, members, numeric, plain
from .reading.provenance import (
    ASIDE,
    DEFAULT,
    KINDS,
    Branch,
    Leaf,
    Provenance,
    Reading,
    Tree,
    did_you_mean,
    read_file,
    read_setting,
)
from .units import InputError

__all__ = ["KINDS", "ConfigError", "Loaded", "Provenance", "apply", "from_plain", "load", "plain", "resolved"]

T = TypeVar("T")
Settings = Iterable[tuple[str, str]]
"""(dotted key, text) as given with --set."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A description and where each of its numbers is from."""

    value: T
    provenance: dict[str, Provenance]
    """By dotted key as in the file (`hbm.bandwidth`); numbers that no file states are not in it."""
    digest: str
    """sha256 of the plain data, name and defaults included; sources and paths are not."""
    parents: tuple[str, ...]
    """Names of the files it extends, nearest first."""
    path: Path
    tree: Branch = field(repr=False, compare=False)
    fit: dict[str, Any] | None = None
    """What a fitted child says of its fits (`fit:` at its top): the tables, their hashes, the rows they saw."""


def load(cls: type[T], path: str | Path, *, find: Callable[[str], Path] | None = None,
         settings: Settings = (), prefix: str = "") -> Loaded[T]:
    """The description of class `cls` in a file.

    `extends: NAME` is looked for beside the file, then with `find(NAME)`. `settings` are overrides, laid over the file
    before it is checked; messages write `prefix` (such as `stack.`) before their keys. The name is the file's, unless
    it states another; it is never a parent's. Raises ConfigError with every problem found.
    """
    reading = Reading()
    layers, parents, fit = _family(cls, Path(path), str(path), find, reading)
    if "name" in members(cls) and "name" not in layers[0].items:
        layers[0].items["name"] = Leaf(layers[0].place, Path(path).stem)
    tree = layers[-1]
    for layer in reversed(layers[:-1]):
        tree = _over(tree, layer)
    value, tree = _settled(cls, tree, settings, prefix, reading)
    return Loaded(value, dict(_claims(tree, "")), _digest(value), parents, Path(path), tree, fit)


def apply(loaded: Loaded[T], settings: Settings, prefix: str = "") -> Loaded[T]:
    """The same description with overrides, without reading its files again. Raises ConfigError."""
    value, tree = _settled(type(loaded.value), loaded.tree, settings, prefix, Reading())
    return replace(loaded, value=value, provenance=dict(_claims(tree, "")), digest=_digest(value), tree=tree)


def resolved(loaded: Loaded[Any]) -> dict[str, Any]:
    """Plain data with every default; numbers (and lists of them) as {"value", "kind", "source"}, keys with units."""
    data: dict[str, Any] = _resolved(loaded.value, loaded.tree, type(loaded.value))
    return data


def _settled(cls: type[T], tree: Branch, settings: Settings, prefix: str, reading: Reading) -> tuple[T, Branch]:
    """The description with its overrides, and its entries; here everything that was found wrong is raised."""
    for key, text in settings:
        tree = _over(tree, _setting(cls, key, text, prefix, reading))
    value = checked(cls, tree, prefix, reading)
    if reading.problems or value is None:
        files = list(dict.fromkeys(problem.place.file for problem in reading.problems))
        raise ConfigError(sorted(reading.problems, key=lambda p: (files.index(p.place.file), p.place)))
    return value, tree


def _digest(value: Any) -> str:
    canonical = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


# Families


def _family(cls: type, path: Path, shown: str, find: Callable[[str], Path] | None,
            reading: Reading) -> tuple[list[Branch], tuple[str, ...], dict[str, Any] | None]:
    """The entries of a file and of the files it extends, child first, the parents' names, and what the child fits."""
    fit: dict[str, Any] | None = None
    layers: list[Branch] = []
    names: list[str] = []
    seen: list[Path] = []
    while True:
        seen.append(path.resolve())
        try:
            root = document.read(shown)
        except ConfigError as error:
            raise ConfigError([*reading.problems, *error.problems]) from None
        reading.sources = {}
        layer = read_file(cls, root, reading)
        name = layer.items.pop("name", None) if layers else layer.items.get("name")
        names.append(name.value if isinstance(name, Leaf) and isinstance(name.value, str) else path.stem)
        layers.append(layer)
        assert root.entries is not None
        if len(layers) == 1 and (told := root.entries.get("fit")) is not None:
            fit = told.plain()
            if told.entries is None:
                reading.wrong(told.place, "fit", f"a block of keys is expected, got {told}")
        extends = root.entries.get("extends")
        parent = _parent(extends, path, find, seen, reading) if extends is not None else None
        if parent is None:
            return layers, tuple(names[1:]), fit
        path, shown = parent, str(parent)


def _parent(extends: Node, path: Path, find: Callable[[str], Path] | None, seen: list[Path],
            reading: Reading) -> Path | None:
    if not isinstance(extends.value, str):
        reading.wrong(extends.place, "extends", f"the name of one file is expected, got {extends}")
        return None
    name = extends.value
    beside = {registry.normal(p.stem): p for p in sorted(path.parent.glob("*.yaml"))}
    parent = beside.get(registry.normal(name))
    if parent is None:
        try:
            if find is None:
                hint = did_you_mean(name, [p.stem for p in beside.values()])
                raise InputError(f"no file {name!r} beside this one{hint}")
            parent = find(name)
        except InputError as error:
            reading.wrong(extends.place, "extends", str(error))
            return None
    if parent.resolve() in seen:
        reading.wrong(extends.place, "extends", f"{name!r} leads back to itself")
        return None
    return parent


def _over(parent: Branch, child: Branch) -> Branch:
    """The child's entries over the parent's: blocks are joined key by key, everything else is replaced."""
    items = dict(parent.items)
    for key, entry in child.items.items():
        old = items.get(key)
        if isinstance(old, Branch) and isinstance(entry, Branch) and not (old.sequence or entry.sequence):
            items[key] = _over(old, entry)
        else:
            items[key] = entry
    return replace(child, items=items)


def _setting(cls: type, key: str, text: str, prefix: str, reading: Reading) -> Branch:
    """An override as entries that hold nothing else; none where it cannot be read."""
    place, own = Place(f"--set {prefix}{key}={text}"), Reading(typed=False)
    parts = key.split(".")
    try:
        node = document.parse(text, place.file) or Node(place)
    except ConfigError as error:
        reading.wrong(place, prefix + key, error.problems[0].text)
        return Branch(place, {}, cls)
    if _claims_more(node):
        reading.wrong(place, prefix + key, "write the value alone: a changed number is a what_if of --set")
        return Branch(place, {}, cls)
    if set(parts) & {*ASIDE, "value", ""}:
        reading.wrong(place, prefix + key, "no key of a description: names joined by dots, without kind or source")
        return Branch(place, {}, cls)
    for part in reversed(parts):
        node = Node(place, entries={part: _placed(node, place)})
    branch = read_setting(cls, node, own)
    reading.problems += [problem._replace(key=prefix + problem.key) for problem in own.problems]
    reading.mistaken |= own.mistaken
    return branch


def _claims_more(node: Node) -> bool:
    """Whether a text says `kind` or `source`: an override is a what-if, whatever it calls itself."""
    inner = (node.entries or {}) if node.items is None else dict(enumerate(node.items))
    return bool({*ASIDE, "value"} & (node.entries or {}).keys()) or any(_claims_more(n) for n in inner.values())


def _placed(node: Node, place: Place) -> Node:
    """The node, wholly at one place: a command line has no lines."""
    entries = None if node.entries is None else {k: _placed(n, place) for k, n in node.entries.items()}
    return replace(node, place=place, entries=entries,
                   items=None if node.items is None else [_placed(n, place) for n in node.items])


# What was found


def _claims(tree: Tree, path: str) -> Iterator[tuple[str, Provenance]]:
    if isinstance(tree, Leaf):
        if tree.provenance is not None:
            yield path, tree.provenance
        return
    for key, entry in tree.items.items():
        yield from _claims(entry, f"{path}[{key}]" if tree.sequence else f"{path}.{key}".lstrip("."))


def _resolved(value: Any, tree: Tree | None, kind: Any) -> Any:
    inner, items = core(kind), tree.items if isinstance(tree, Branch) else {}
    if is_dataclass(value):
        return {
            member.name: _resolved(getattr(value, member.name), items.get(key), member.type)
            for key, member in members(type(value)).items()
        }
    if isinstance(value, dict):
        return {str(key): _resolved(entry, items.get(str(key)), get_args(inner)[1]) for key, entry in value.items()}
    if isinstance(value, tuple) and describes(inner):
        return [_resolved(entry, items.get(str(i)), get_args(inner)[0]) for i, entry in enumerate(value)]
    if value is None or not numeric(kind):
        return plain(value)
    claim = tree.provenance if isinstance(tree, Leaf) else None
    said = (claim.kind, claim.source) if claim is not None else (DEFAULT, None)
    return {"value": plain(value), "kind": said[0], "source": said[1]}
