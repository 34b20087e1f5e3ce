"""The numbers of a description one by one: where each lies, which text means it, a copy with one of them changed.

    hbm.bandwidth  ->  ("hbm", "bandwidth_bytes_per_s")        sm.peak.bf16  ->  ("sm", "peak_flop_per_s", "bf16")
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_origin

from ..hardware import Gpu
from ..model import Model
from ..stack import Stack
from ..units import InputError, parse, stem_of, suffix_of
from .plain import core, members

Path = tuple[str, ...]
"""Field names, and keys of dictionaries, from the outside in."""
T = TypeVar("T")


def located(cls: type, key: str) -> Path | None:
    """The field names (and dictionary keys) that a dotted key leads through; None where it leads to no number."""
    path: Path = ()
    kind: object = cls
    for part in key.split("."):
        if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
            member = members(kind).get(part)
            if member is None:
                return None
            path, kind = (*path, member.name), core(member.type)
        elif get_origin(kind) is dict:
            path, kind = (*path, part), get_args(kind)[1]
        else:
            return None
    return path if kind in (int, float) else None


def unit_of(path: Path) -> str:
    """The unit at the end of the innermost field name that has one, such as `_bytes_per_s`."""
    return next((suffix_of(name) for name in reversed(path) if suffix_of(name)), "")


def number(text: str, path: Path) -> float:
    """The number that a text means at that place. Raises InputError."""
    return parse(text, unit_of(path)) if unit_of(path) else finite(text)


def finite(text: str) -> float:
    """The number without a unit that a text is. Raises InputError for none, and for one without end."""
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{text!r} is no number") from None
    if not math.isfinite(value):
        raise InputError(f"{text!r} is no finite number")
    return value


_SYMBOLS = {"_bytes_per_s": "B/s", "_flop_per_s": "FLOP/s", "_bytes": "B", "_hz": "Hz", "_ps": "ps", "_w": "W",
            "_j": "J", "_usd": "USD", "": ""}


def text_of(value: float, path: Path) -> str:
    """The text that means a number at that place; sizes and times are whole bytes and picoseconds."""
    unit = unit_of(path)
    return f"{round(value) if unit in ('_bytes', '_ps') else float(f'{value:.12g}')} {_SYMBOLS[unit]}".strip()


def found_at(description: object, path: Path) -> Any:
    """The number at that place; None where a dictionary lacks it or nothing is known."""
    for name in path:
        description = description.get(name) if isinstance(description, dict) else getattr(description, name)
    return description


def placed(key: str) -> tuple[str, Path] | None:
    """(gpu, stack or model; field names) of a key of --set; None where it is no number of these."""
    head, _, rest = key.partition(".")
    classes: dict[str, type] = {"gpu": Gpu, "stack": Stack, "model": Model}
    owner, inner = (head, rest) if head in classes else ("gpu", key)
    path = located(classes[owner], inner)
    return None if path is None else (owner, path)


def changed(description: T, path: Path, value: float) -> T:
    """A copy of the description with one number changed. Raises ValueError where the description refuses it."""
    name, rest = path[0], path[1:]
    whole: Any = description
    if isinstance(whole, dict):
        return whole | {name: changed(whole[name], rest, value) if rest else value}  # type: ignore[return-value]
    return replace(whole, **{name: changed(getattr(whole, name), rest, value) if rest else value})  # type: ignore[no-any-return]


def every(description: object, before: Path = ()) -> Iterator[tuple[Path, float]]:
    """Every single number of a description that is above 0, with its place."""
    whole: Any = description
    inner = whole.items() if isinstance(whole, dict) else [(f.name, getattr(whole, f.name)) for f in fields(whole)]
    for name, value in inner:
        if isinstance(value, dict) or is_dataclass(value):
            yield from every(value, (*before, name))
        elif isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            yield (*before, name), value


def key_of(owner: str, path: Path) -> str:
    """The key of --set that means a place."""
    return ".".join(([] if owner == "gpu" else [owner]) + [stem_of(name) for name in path])
