"""Whether entries fit their class: types by pydantic, strictly, and a class's own refusals; told in the reader's terms.

The rules are JSON's, so that true is no number, 1.0 no integer and "12" neither. pydantic is imported when it is used:
a description is also read where it is not installed (reading/plain.py).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, TypeVar

from .document import Place, shortened
from .plain import members
from .provenance import Branch, Leaf, Reading, Tree, did_you_mean

T = TypeVar("T")

_EXPECTED = {
    "int": "a whole number", "float": "a number", "string": "text", "bool": "true or false", "tuple": "a list",
    "list": "a list", "dict": "a block of keys", "dataclass": "a block of keys",
}


@lru_cache(maxsize=64)
def _adapter(cls: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def checked(cls: type[T], tree: Branch, prefix: str, reading: Reading) -> T | None:
    """The description, or None where it is wrong; problems go to `reading`, unless their key has one already.

    `prefix` is written before the keys of what stands on the command line.
    """
    from pydantic import ValidationError

    described: Any = cls
    try:
        value: T = _adapter(described).validate_json(json.dumps(_data(tree)), strict=True)
        return value
    except ValidationError as error:
        told = {problem.key for problem in reading.problems} | reading.mistaken
        for detail in error.errors(include_url=False):
            place, key = _located(tree, detail)
            shown = key if place.line else prefix + key
            if not any(k == t or k.startswith((f"{t}.", f"{t}[")) for k in (key, shown) for t in told if t):
                reading.wrong(place, shown, _said(detail))
    return None


def _data(tree: Tree) -> Any:
    """What the entries hold, by field names."""
    if isinstance(tree, Leaf):
        return tree.value
    if tree.sequence:
        return [_data(entry) for entry in tree.items.values()]
    names = {key: member.name for key, member in members(tree.cls).items()} if tree.cls else {}
    return {names.get(key, key): _data(entry) for key, entry in tree.items.items()}


def _located(tree: Tree, detail: Any) -> tuple[Place, str]:
    """The place and the dotted key of a problem; what is missing stands at its block."""
    node: Tree | None = tree
    place, key = tree.place, ""
    for part in detail["loc"]:
        if part == "[key]" or (isinstance(node, Leaf) and isinstance(part, str)):
            break
        known = members(node.cls).values() if isinstance(node, Branch) and node.cls else ()
        own = next((member.key for member in known if member.name == part), part)
        key = f"{key}[{own}]" if isinstance(part, int) else f"{key}.{own}".lstrip(".")
        if not isinstance(node, Leaf):
            node = node.items.get(str(own)) if node is not None else None
            place = node.place if node is not None else place
    # What a class itself refuses stands at the field that its message begins with, or at another `field=` of it
    # that the command line has changed.
    said = str(detail.get("ctx", {}).get("error", ""))
    named = [word for word in re.findall(r"^\w+|\w+(?==)", said) if isinstance(node, Branch) and word in node.items]
    if named and isinstance(node, Branch):
        word = next((word for word in named if not node.items[word].place.line), named[0])
        return node.items[word].place, f"{key}.{word}".lstrip(".")
    return place, key


def _said(detail: Any) -> str:
    """What is wrong, in the reader's terms."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return "missing"
    if "error" in context:
        return str(context["error"])
    shown = shortened(given) if isinstance(given, str) else shortened(json.dumps(given))
    if kind == "literal_error":
        words = context["expected"].replace("'", "")
        hint = did_you_mean(str(given), words.replace(" or ", ", ").split(", "))
        return f"one of {words} expected, got {shown}{hint}"
    stem = kind.removesuffix("_type").removesuffix("_parsing").removesuffix("_from_float").removesuffix("_exact")
    if stem in _EXPECTED:
        what = "a block of keys" if isinstance(given, dict) else "a list" if isinstance(given, list) else shown
        hint = " (write it in quotes)" if stem == "string" and not isinstance(given, dict | list | None) else ""
        hint = f" (write {int(given)})" if stem == "int" and isinstance(given, float) and given.is_integer() else hint
        return f"{_EXPECTED[stem]} expected, got {what}{hint}"
    if "actual_length" in context:
        return f"{context.get('max_length', context.get('min_length'))} values expected, got {context['actual_length']}"
    return f"{detail['msg'][0].lower()}{detail['msg'][1:]}"
