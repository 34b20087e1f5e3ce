"""The keys of every kind of YAML file: as JSON schema for editors, and as rows for the documentation.

Both are read off the classes that load the files, so they cannot say something else. A number with a unit is a text
such as `4917 GB/s`; any number may stand as `{value, kind, source}`, and any block may carry a kind and a source for
all of its numbers. What a schema cannot say is left to the loader: which keys a block may leave out, since a child's
are its parent's, and what must agree. It refuses with file, line and column.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import lru_cache
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from . import units
from .reading.plain import Member, core, members
from .reading.provenance import ASIDE, KINDS, TOP

ASIDES = {
    "kind": {"enum": list(KINDS), "description": "where the numbers of this block are from"},
    "source": {"type": "string", "description": "the source in words, or the name of one in `sources`"},
    "note": {"type": "string"},
}
TIMES = "(ps|ns|us|ms|s)"


class Key(NamedTuple):
    """A key of a file, for a reader."""

    key: str
    """Dotted."""
    takes: str
    required: bool
    meaning: str


def classes() -> dict[str, type]:
    """The class of every kind of file."""
    from .dram import Dram
    from .hardware import Gpu
    from .model import Model
    from .plan import Plan
    from .stack import Stack
    from .traces.acceptance import Acceptance

    return {"gpu": Gpu, "stack": Stack, "model": Model, "plan": Plan, "dram": Dram, "acceptance": Acceptance}


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON schema of a kind of file."""
    cls = classes()[kind]
    schema = _block(cls)
    required = [member.key for member in members(cls).values() if member.required]
    schema["properties"] |= {
        "sources": {"type": "object", "additionalProperties": {"type": "string"}, "description": "names for sources"},
        "extends": {"type": "string", "description": "the file whose numbers hold where this one says none"},
        "default_of": {"type": "string"}, "fit": {"type": "object"},
    }
    assert set(TOP) <= schema["properties"].keys()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"speedsim {kind}", **schema,
            "anyOf": [{"required": ["extends"]}, {"required": required}]}


def keys(cls: type, prefix: str = "") -> Iterator[Key]:
    """Every key of a kind of file, depth first, with what it takes and means."""
    meanings = documented(cls)
    for member in members(cls).values():
        inner = core(member.type)
        dotted = f"{prefix}{member.key}"
        if is_dataclass(inner) and isinstance(inner, type):
            yield Key(dotted, "a block", member.required, meanings.get(member.name, (inner.__doc__ or "").strip()))
            yield from keys(inner, f"{dotted}.")
        else:
            yield Key(dotted, _takes(member), member.required, meanings.get(member.name, ""))


@lru_cache(maxsize=64)
def documented(cls: type) -> dict[str, str]:
    """What the text below each field of a class says, by the field's name."""
    (tree,) = [node for node in ast.parse(inspect.getsource(sys.modules[cls.__module__])).body
               if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else ""
            found[field.target.id] = " ".join(str(text).split())
    return found


def _takes(member: Member) -> str:
    kind = core(member.type)
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    if member.suffix:
        words[int] = words[float] = f"{units.meaning_of(member.suffix)}, such as {units.example_of(member.suffix)}"
    if get_origin(kind) is tuple:
        return f"a list of {_several(kind, words)}"
    if get_origin(kind) is dict:
        return f"keys with {_named(get_args(kind)[1], words)}"
    return _named(kind, words)


def _named(kind: Any, words: dict[Any, str]) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_several(kind, words)}"
    if is_dataclass(kind):
        return "blocks"
    return words.get(kind, "a value")


def _several(kind: Any, words: dict[Any, str]) -> str:
    """What a list holds, in the plural: `numbers`, `lists of numbers`."""
    (first, *_) = [arg for arg in get_args(kind) if arg is not ...]
    if get_origin(first) is tuple:
        return f"lists of {_several(first, words)}"
    return {int: "whole numbers", float: "numbers", str: "texts"}.get(first, _named(first, words))


def _block(cls: type) -> dict[str, Any]:
    """A block of keys, with those that name a time's unit themselves (`turnaround_us: 20`)."""
    meanings, known = documented(cls), members(cls)
    properties: dict[str, Any] = {}
    for member in known.values():
        properties[member.key] = _value(member.type, member) | (
            {"description": meanings[member.name]} if member.name in meanings else {})
    times = [member.key for member in known.values() if member.suffix == "_ps"]
    block: dict[str, Any] = {
        "type": "object", "properties": properties | ASIDES, "additionalProperties": False,
    }
    if (cls.__doc__ or "").strip():
        block["description"] = " ".join(str(cls.__doc__).split())
    if times:
        block["patternProperties"] = {f"^({'|'.join(times)})_{TIMES}$": _wrapped({"type": "number"})}
    return block


def _value(kind: Any, member: Member) -> dict[str, Any]:
    inner = core(kind)
    schema = _inner(inner, member)
    return {"anyOf": [schema, {"type": "null"}]} if inner is not kind else schema


def _inner(kind: Any, member: Member) -> dict[str, Any]:
    arguments = [arg for arg in get_args(kind) if arg not in (..., NoneType)]
    if is_dataclass(kind) and isinstance(kind, type):
        return _block(kind)
    if get_origin(kind) is dict:
        return _wrapped({"type": "object", "properties": dict(ASIDES),
                         "additionalProperties": _value(arguments[1], member)})
    if get_origin(kind) is tuple:
        items = _bare(arguments[0], member) if len(set(arguments)) == 1 else {}
        return _wrapped({"type": "array", "items": items})
    return _wrapped(_bare(kind, member))


def _bare(kind: Any, member: Member) -> dict[str, Any]:
    """A value without its kind and source."""
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if get_origin(kind) is tuple:
        return {"type": "array"}
    if kind in (int, float) and member.suffix:
        told = {"type": "string", "pattern": r"^[+-]?[0-9.]", "examples": [units.example_of(member.suffix)]}
        return {"anyOf": [told, {"type": "number"}]} if member.suffix == "_usd" else told
    return {"type": {int: "integer", float: "number", str: "string", bool: "boolean"}.get(kind, "object")}


def _wrapped(value: dict[str, Any]) -> dict[str, Any]:
    """A value, or the same with its own kind and source."""
    whole = {"type": "object", "properties": {"value": value, **ASIDES}, "required": ["value"],
             "additionalProperties": False}
    return {"anyOf": [value, whole]}


assert set(ASIDE) == ASIDES.keys()
