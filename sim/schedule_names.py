"""Schedules as text: `NAME[:key=value,...]`, such as `speed:max_in_flight=3,exits=1+3+6`.

The keys are the fields of the schedule's dataclass, in any order; the canonical text has them in the dataclass's order
and leaves defaults out, so that one schedule has one name.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields
from typing import Any

from .program import Schedule
from .registry import schedule
from .units import InputError

LARGEST = 4096
"""Of an option that is a whole number: more is a slip of the pen that would be simulated for hours."""


def schedule_named(text: str, changes: tuple[tuple[str, str], ...] = ()) -> tuple[Schedule, str]:
    """The schedule that a text means, with changed options, and its canonical text. Raises InputError."""
    name, _, rest = text.partition(":")
    cls = schedule(name.strip())
    hints = typing.get_type_hints(cls)
    options: dict[str, Any] = {}
    pairs = [pair.partition("=")[::2] for pair in rest.split(",") if pair] + list(changes)
    for given, value in pairs:
        key = given.strip().lower()
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f" (did you mean {near[0]}?)" if near else f" (options: {', '.join(hints) or 'none'})"
            raise InputError(f"schedule {text}: {key or repr(key)}: no option of {name}{hint}")
        if key in options and (given, value) not in changes:
            raise InputError(f"schedule {text}: {key}: given twice")
        options[key] = _value(hints[key], value.strip(), f"schedule {text}: {key}")
    try:
        made: Schedule = cls(**options)
    except ValueError as error:
        raise InputError(f"schedule {text}: {error}") from None
    return made, canonical(cls.__module__.rsplit(".", 1)[-1], made)


def canonical(name: str, made: Schedule) -> str:
    """The one text of a schedule."""
    stated = []
    for option in fields(made):  # type: ignore[arg-type]
        value = getattr(made, option.name)
        if value != option.default:
            shown = "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
            stated.append(f"{option.name}={shown}")
    return f"{name}:{','.join(stated)}" if stated else name


def with_drafter(text: str, drafters: Iterable[str]) -> str:
    """The text with the drafter that a model names (SCHEDULE=MODEL each) where the schedule needs one and says none."""
    name, _, rest = text.partition(":")
    hints = typing.get_type_hints(cls := schedule(name.strip()))
    lacking = [key for key, hint in hints.items() if str in typing.get_args(hint) and getattr(cls(), key) is None]
    wanted = dict(pair.split("=", 1) for pair in drafters).get(name.strip())
    if not lacking or wanted is None or any(pair.strip().startswith(f"{lacking[0]}=") for pair in rest.split(",")):
        return text
    return with_option(text, lacking[0], wanted)


def with_option(text: str, key: str, value: str) -> str:
    """The text with one option more."""
    return f"{text}{',' if ':' in text else ':'}{key}={value}"


def _value(hint: Any, text: str, where: str) -> Any:
    """The text as the option's type: numbers, lists of whole ones joined by `+`, words, names, none."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for kind in kinds:
        origin = typing.get_origin(kind)
        if kind is types.NoneType and text.lower() in ("none", "null"):
            return None
        if origin is typing.Literal:
            if text in typing.get_args(kind):
                return text
            raise InputError(f"{where}: {text!r} is none of {', '.join(typing.get_args(kind))}")
        if kind is int and _is_whole(text):
            if int(text) > LARGEST:
                raise InputError(f"{where}: {text} is above {LARGEST:,}")
            return int(text)
        if kind is str and text:
            return text
        if kind is float:
            with suppress(ValueError):
                if math.isfinite(number := float(text)):
                    return number
        if origin is tuple and all(_is_whole(part) for part in text.split("+")):
            return tuple(sorted({int(part) for part in text.split("+")}))
    listed = any(typing.get_origin(k) is tuple for k in kinds)
    expected = "whole numbers joined by +" if listed else "a number" if float in kinds else "a whole number"
    raise InputError(f"{where}: {text!r} is not {expected}")


def _is_whole(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit() and len(text) < 10
