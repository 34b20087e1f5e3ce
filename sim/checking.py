"""Whether entries fit their class: types by pydantic, strictly, and a class's own refusals; told in the reader's terms.

The rules are JSON's, so that true is no number, 1.0 no integer and "12" neither. pydantic is imported when it is used:
a description is also read where it is not installed (plain.py).
"""

from __future__ import annotations

import json
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
def _adapter(cls: type) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def checked(cls: type[T], tree: Branch, prefix: str, reading: Reading) -> T | None:
    """The description, or None where it is wrong; problems go to `reading`, unless their key has one already.

    `prefix` is written before the keys of what stands on the command line.
    """
    from pydantic import ValidationError

    try:
        value: T = _adapter(cls).validate_json(json.dumps(_data(tree)), strict=True)
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
    for part in (*detail["loc"], *_named(detail)):
        if isinstance(node, Leaf) and isinstance(part, str):
            break
        if isinstance(node, Leaf):
            key += f"[{part}]"
            continue
        known = members(node.cls).values() if node is not None and node.cls else ()
        part = next((member.key for member in known if member.name == part), part)
        key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}".lstrip(".")
        node = node.items.get(str(part)) if node is not None else None
        place = node.place if node is not None else place
    return place, key
