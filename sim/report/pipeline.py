"""The pipeline picture's data: the lives of tokens, packed for the page, which draws the passes in view.

Rows of the picture are positions of the text, columns are passes; a cell is one repetition of one token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .lives import cause, lives, verification

MOST_PASSES = 20_000
"""Passes that a page carries; the rest is named and left out."""


def packed(timeline: Mapping[str, Any]) -> dict[str, Any]:
    """`lives` as [sequence, position, first pass, its repetitions, 1 committed | 0 discarded, token, parent, cause]."""
    count = min(len(timeline["occurrences"]), MOST_PASSES)
    shown = timeline if count == len(timeline["occurrences"]) else {
        **timeline, "occurrences": timeline["occurrences"][:count], "rows": timeline["rows"][:count]}
    found = lives(shown)
    rows, causes = [], {"": 0}
    for life in found.values():
        why = cause(life, found)
        settled = verification(life, found)
        number = causes.setdefault(why, len(causes))
        gaps = [step.occurrence for step in life.steps]
        rows.append([
            life.sequence, life.position, gaps, [step.repetition for step in life.steps],
            [int(step.read) for step in life.steps], 0 if why else 1, life.token,
            -1 if life.parent is None else life.parent, number, -1 if settled is None else settled.occurrence,
        ])
    patterns = timeline["patterns"]
    passes = [[start // 1000, patterns[pattern]["duration_ps"] // 1000] for pattern, start in shown["occurrences"]]
    return {"lives": rows, "causes": list(causes), "passes": passes, "repetitions": timeline["repetitions"],
            "left_out": len(timeline["occurrences"]) - count}
