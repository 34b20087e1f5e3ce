"""What may stand in a trace's file, in either of its two forms: the keys, the numbers, and how a mistake is told.

    a header   {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}}
    sequences  {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    and for each of its positions first .. first+count-1 what every exit predicted

traces/jsonl.py is the form for hands and tools, traces/parquet.py the one for long traces. Neither can run code when it
is read. Whatever is wrong with a file is a TraceError that names the place.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..units import InputError

SCHEMA = "speedsim-trace/1"
STEPS = "steps"
"""The kind of a trace that logs verifications (traces/steps.py) instead of exits."""
ENDS = ("length", "eos")
"""Why a sequence ended: it reached its length limit, or its last token ends the text."""
LIMIT_BYTES = 2 << 30
"""Files that are larger, or larger once uncompressed, are refused."""
WHOLE = 2**31
"""Tokens, positions and ids are whole numbers from 0 to one less than this."""
MOST_SYNTHETIC = 100_000_000
"""Predictions of a synthetic trace at most: more would not fit an ordinary memory."""

_MOST_REPETITIONS = 4096
_DEEPEST_SOURCE = 32
_KEYS = {
    "header": (("schema", "model", "repetitions"), ("source", "sequences")),
    "steps header": (("schema", "kind", "model", "draft_tokens", "meaning", "source"), ()),
    "steps sequence": (("sequence", "first", "end", "drafted", "accepted"), ("prompt",)),
    "sequence": (("sequence", "first", "count", "end"), ("source_tokens",)),
    "position": (("position", "exit_tokens"), ("confidence", "proposers")),
    "last line": (("end", "lines", "sha256"), ()),
}
"""(needed, allowed) keys of each kind of line."""

Tokens = NDArray[np.int32]
Refuse = Callable[[str, str], "TraceError"]
"""(key, what is wrong) -> the error that also names the place."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a file says of a sequence before its rows; the fields are its keys."""

    sequence: int
    first: int
    count: int
    end: str
    source_tokens: int

    @property
    def line(self) -> dict[str, Any]:
        """As it stands in a file."""
        return asdict(self)


Told = list[tuple[Opening, Tokens]]
"""The sequences, each with its exit tokens [count, G]."""


class TraceError(InputError):
    """A trace is refused; the message is one line, `file:line:col: key: what is wrong`."""


class Content(NamedTuple):
    """A file that has been read."""

    head: dict[str, Any]
    """schema, model, repetitions, source."""
    told: Told
    sealed: bool
    """Whether it carries a checksum, which held."""


def digest(repetitions: int, told: Told) -> str:
    """sha256 over repetitions, every sequence's (first, count, end, source_tokens) and all exit tokens."""
    content = hashlib.sha256(f"{repetitions}\n".encode())
    for o, tokens in told:
        content.update(f"{o.first},{o.count},{o.end},{o.source_tokens}\n".encode())
        content.update(tokens.astype("<i4", copy=False).tobytes())
    return content.hexdigest()


def one_line(value: object, most: int = 120) -> str:
    """The value's text without line breaks, cut short."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[:most] + "..."


def shown(value: object) -> str:
    """A value from a file as a message quotes it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return one_line(json.dumps(value), 60)


def near(given: str, known: Iterable[str]) -> str:
    """What to say of an unknown name: ` (did you mean ...?)`, or nothing."""
    found = difflib.get_close_matches(given[:60], list(known), 1)
    return f" (did you mean {found[0]}?)" if found else ""


class BadJsonError(ValueError):
    """What the standard parser would take: (the text that is wrong, what is wrong with it)."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise BadJsonError(f'"{twice}"', "the key stands twice")
    return entry


def _constant(name: str) -> NoReturn:
    raise BadJsonError(name, "is no number")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def fields(entry: dict[str, Any], kind: str, refuse: Refuse) -> None:
    """Refuse unknown and missing keys of a line of this kind."""
    needed, allowed = _KEYS[kind]
    for key in entry:
        if key not in needed and key not in allowed:
            missing = [k for k in needed + allowed if k not in entry]
            raise refuse(key, f"unknown key of a {kind}{near(key, missing)}")
    for key in needed:
        if key not in entry:
            raise refuse(key, f"missing from the {kind}")


def line_of(entry: dict[str, Any]) -> str:
    """A line of a file."""
    return json.dumps(entry, allow_nan=False) + "\n"


def whole(entry: dict[str, Any], key: str, low: int, refuse: Refuse, below: int = WHOLE) -> int:
    """The entry's whole number from `low` to `below` - 1, or the refusal."""
    value = entry[key]
    if type(value) is not int or not low <= value < below:
        raise refuse(key, f"{shown(value)} is no whole number from {low} to {below - 1}")
    return value


def heading(entry: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The header's values, checked; a missing `source` is empty."""
    if "schema" not in entry and not entry.keys() & {"model", "repetitions"}:
        raise refuse("schema", 'missing: the first line of a trace is {"schema": "' + SCHEMA + '", "model": ...}')
    if entry.get("kind") == STEPS:
        raise refuse("kind", "a log of steps: it holds no predictions of exits")
    fields(entry, "header", refuse)
    if entry["schema"] != SCHEMA:
        raise refuse("schema", f"{shown(entry['schema'])} is not known (did you mean {SCHEMA}?)")
    if type(entry["model"]) is not str or not entry["model"].strip():
        raise refuse("model", f"{shown(entry['model'])} is no name")
    whole(entry, "repetitions", 1, refuse, _MOST_REPETITIONS + 1)
    if "sequences" in entry:
        whole(entry, "sequences", 1, refuse)
    source = entry.get("source", {})
    if type(source) is not dict or not _plain(source, _DEEPEST_SOURCE):
        raise refuse("source", f"no object of finite values, {_DEEPEST_SOURCE} levels deep at most")
    return entry | {"source": source}


def steps_heading(entry: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The header's values of a log of steps, checked."""
    fields(entry, "steps header", refuse)
    if entry["schema"] != SCHEMA:
        raise refuse("schema", f"{shown(entry['schema'])} is not known (did you mean {SCHEMA}?)")
    whole(entry, "draft_tokens", 1, refuse)
    for key, kind in (("model", str), ("meaning", str), ("source", dict)):
        if type(entry[key]) is not kind:
            raise refuse(key, f"{shown(entry[key])} is no {'object' if kind is dict else 'text'}")
    return entry


def _plain(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_plain(v, levels - 1) for v in inner)
    return not isinstance(value, float) or math.isfinite(value)


def opening(entry: dict[str, Any], refuse: Refuse, known: set[int]) -> Opening:
    """A sequence's values, checked; `known` are the ids of those before it, to which its own is added."""
    fields(entry, "sequence", refuse)
    number = whole(entry, "sequence", 0, refuse)
    if number in known:
        raise refuse("sequence", f"{number} was there before")
    known.add(number)
    first, count = whole(entry, "first", 0, refuse), whole(entry, "count", 1, refuse)
    if first + count > WHOLE:
        raise refuse("count", f"positions {first} .. {first + count - 1} do not fit 32 bits")
    if entry["end"] not in ENDS:
        closest = near(entry["end"], ENDS) if type(entry["end"]) is str else ""
        raise refuse("end", f"{shown(entry['end'])} is neither length nor eos{closest}")
    source_tokens = whole(entry, "source_tokens", 0, refuse) if "source_tokens" in entry else 0
    return Opening(number, first, count, entry["end"], source_tokens)


def unwritable(key: str, what: str) -> TraceError:
    """The error of a trace in memory that could not be read back."""
    return TraceError(f"{key}: {what}: the trace cannot be written")
