"""Every number that went in, with its kind and source, and what a reader should be wary of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..units import human, stem_of, suffix_of
from .scale import short

KINDS = ("measured", "datasheet", "derived", "fitted", "estimate", "recalled", "assumed", "what_if", "default")
"""From what was read or measured to what was only supposed."""


class Number(NamedTuple):
    """One input."""

    key: str
    shown: str
    kind: str
    source: str


def numbers(described: Mapping[str, Any], prefix: str = "", unit: str = "") -> Iterator[Number]:
    """The inputs of one description, in the order of its file; `unit` is the suffix of the block they stand in."""
    for key, value in described.items():
        own = suffix_of(key) or unit
        if isinstance(value, Mapping) and {"value", "kind"} <= value.keys():
            yield Number(stem_of(prefix + key), _shown(value["value"], own), str(value["kind"]),
                         str(value.get("source") or ""))
        elif isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{stem_of(key)}.", own)
        elif value is not None:
            yield Number(prefix + key, _shown(value, ""), "", "")


def _shown(value: Any, unit: str) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int | float):
        return human(value, unit) if unit else short(value, 6)
    if isinstance(value, list):
        shown = [f"({_shown(entry, unit)})" if isinstance(entry, list) else _shown(entry, unit) for entry in value]
        return ", ".join(shown)
    return str(value)


def by_kind(inputs: Mapping[str, Any]) -> list[tuple[str, int]]:
    """How many numbers of each kind, best first."""
    counts = Counter(number.kind for described in inputs.values() for number in numbers(described) if number.kind)
    return sorted(counts.items(), key=lambda pair: KINDS.index(pair[0]) if pair[0] in KINDS else len(KINDS))


def wary(document: Mapping[str, Any]) -> list[str]:
    """Warnings in words: what was noted, the L2's knee, assumed numbers, an answer that no measurement has judged."""
    said = list(document["notes"])
    ends = document.get("knee")
    if ends:
        said.append(
            f"{ends['share']:.0%} of the bytes are read near the knee of the two-sided L2, which is hard to predict: "
            f"the gain is {short(ends['early']['speedup'])} × if its plateau ends at {ends['early']['plateau']} of the "
            f"capacity, {short(ends['late']['speedup'])} × at {ends['late']['plateau']}")
    for noun, described in document["inputs"].items():
        assumed = [number.key for number in numbers(described) if number.kind in ("assumed", "default")]
        if assumed:
            named = ", ".join(assumed[:6]) + (f" and {len(assumed) - 6} more" if len(assumed) > 6 else "")
            said.append(f"{len(assumed)} numbers of the {noun} are assumed: {named}")
    timeline = document.get("timeline")
    if timeline is None or timeline["source"] == "predicted":
        said.append("everything here is predicted; docs/accuracy.md says what has been judged against measurements")
    return said
