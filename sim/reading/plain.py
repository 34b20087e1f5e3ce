"""A description as plain JSON data and back, and what its class says of each field. Standard library only.

A machine with nothing but CUDA reads models this way: `speedsim show model NAME --json` writes what `from_plain` reads.
Keys of plain data are the field names with their units, numbers are in those units. Keys of files have no units.
"""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from .. import units
from .document import ConfigError, Place, Problem

T = TypeVar("T")


class Member(NamedTuple):
    """A field of a description. `field(metadata={"signed": True})` lets its numbers be negative."""

    name: str
    key: str
    """Its name in files: without the unit."""
    suffix: str
    """The unit, such as `_bytes_per_s`; empty for plain numbers and for what is no number."""
    type: Any
    required: bool
    signed: bool


def members(cls: Any) -> dict[str, Member]:
    """The fields of a dataclass by their key in files."""
    return _members(cls)


@lru_cache(maxsize=256)
def _members(cls: Any) -> dict[str, Member]:
    hints = get_type_hints(cls)
    found: dict[str, Member] = {}
    for field in fields(cls):
        suffix = units.suffix_of(field.name) if numeric(hints[field.name]) else ""
        key = field.name.removesuffix(suffix)
        if key in found:
            raise TypeError(f"{cls.__name__}: two fields are called {key} in files")
        required = field.default is MISSING and field.default_factory is MISSING
        signed = bool(field.metadata.get("signed"))
        found[key] = Member(field.name, key, suffix, hints[field.name], required, signed)
    return found


def core(kind: Any) -> Any:
    """A type without its `| None`."""
    if get_origin(kind) in (Union, types.UnionType):
        rest = [arg for arg in get_args(kind) if arg is not types.NoneType]
        return rest[0] if len(rest) == 1 else kind
    return kind


def numeric(kind: Any) -> bool:
    """Whether a type is a number or holds numbers itself, not in a description inside it."""
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        arguments = arguments[1:]
    return kind in (int, float) or any(numeric(argument) for argument in arguments)


def describes(kind: Any) -> bool:
    """Whether a type is a description or holds some."""
    return is_dataclass(kind) or any(describes(argument) for argument in get_args(kind))


def plain(value: Any) -> Any:
    """A description as dicts, lists, text and numbers, keyed by field names."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value


def from_plain(cls: type[T], data: Any, name: str = "plain data") -> T:
    """The description that `plain` or `config.resolved` wrote.

    A number may stand as `{"value": ..., "kind": ..., "source": ...}`. Raises ConfigError, which calls the data `name`.
    """
    return _build(cls, data, "", name)  # type: ignore[no-any-return]


def _build(kind: Any, data: Any, key: str, name: str) -> Any:
    inner = core(kind)
    if isinstance(data, dict) and {"value", "kind"} <= data.keys() and not is_dataclass(inner):
        data = data["value"]
    if data is None and inner is not kind:
        return None
    if is_dataclass(inner):
        return _describe(inner, data, key, name)
    if inner is float and type(data) in (int, float) and math.isfinite(data):
        return float(data)
    if inner in (int, str, bool) and type(data) is inner:
        return data
    return _collect(inner, data, key, name)


def _collect(kind: Any, data: Any, key: str, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(data, list):
        kinds = arguments[:1] * len(data) if arguments[-1:] == (...,) else arguments
        if len(kinds) == len(data):
            return tuple(_build(k, d, f"{key}[{i}]", name) for i, (k, d) in enumerate(zip(kinds, data, strict=True)))
    if origin is dict and isinstance(data, dict) and (arguments[0] is str or all(k.isdecimal() for k in data)):
        return {arguments[0](k): _build(arguments[1], d, f"{key}.{k}", name) for k, d in data.items()}
    if origin is Literal and data in arguments:
        return data
    raise ConfigError([Problem(Place(name), key, f"{getattr(kind, '__name__', kind)} expected, got {data!r:.60}")])


def _describe(cls: Any, data: Any, key: str, name: str) -> Any:
    if not isinstance(data, dict):
        raise ConfigError([Problem(Place(name), key, f"keys with values are expected, got {data!r:.60}")])
    known = {member.name: member for member in members(cls).values()}
    problems = [Problem(Place(name), f"{key}.{k}".lstrip("."), "unknown key") for k in data if k not in known]
    problems += [
        Problem(Place(name), f"{key}.{k}".lstrip("."), "missing")
        for k, member in known.items() if member.required and k not in data
    ]
    if problems:
        raise ConfigError(problems)
    values = {k: _build(known[k].type, entry, f"{key}.{k}".lstrip("."), name) for k, entry in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ConfigError([Problem(Place(name), key, str(error))]) from None
