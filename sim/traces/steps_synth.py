"""Verifications that nobody logged: steps drawn from rates.

    accepted=P1+P2+...   P(the proposed token at this place is right | all before it are), place by place
    length=L,draft=K     one rate a for every place, with 1 + a + ... + a^K = L

Steps are independent; real ones are not, and neither are the tokens of one text. The expected tokens a step are
1 + P1 + P1 P2 + ...
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from operator import mul
from typing import Any

import numpy as np

from .acceptance import rate_of_length
from .files import MOST_SYNTHETIC, WHOLE, TraceError, near
from .statistics import draws
from .steps import StepSequence, StepTrace


def _floats(text: str) -> tuple[float, ...]:
    return tuple([float(p) for p in text.split("+")])


_KEYS: dict[str, Callable[[str], Any]] = {
    "accepted": _floats, "length": float, "draft": int, "count": int, "sequences": int, "first": int, "seed": int,
}


def steps_of(accepted: tuple[float, ...], count: int, sequences: int = 1, seed: int = 0, first: int = 64) -> StepTrace:
    """Sequences of `count` steps each, every step proposing as many tokens as `accepted` has probabilities."""
    if not accepted or not all(0 <= p <= 1 for p in accepted):
        raise TraceError(f"accepted={'+'.join(map(str, accepted))}: probabilities are numbers from 0 to 1")
    for name, value, low in (("count", count, 1), ("sequences", sequences, 1), ("seed", seed, 0), ("first", first, 0)):
        if not low <= value < WHOLE:
            raise TraceError(f"{name}={value}: a whole number from {low} to {WHOLE - 1} is expected")
    if count * sequences * len(accepted) > MOST_SYNTHETIC:
        raise TraceError(f"count={count}, sequences={sequences}: more than {MOST_SYNTHETIC:,} proposed tokens in all")
    reached = np.array(list(accumulate(accepted, mul)))
    made = []
    for number in range(sequences):
        drawn = (draws((seed, number), count) >> np.uint64(11)) * 2.0**-53
        right = (drawn[:, None] < reached).sum(axis=1).tolist()
        made.append(StepSequence(number, first, "length", "", (len(accepted),) * count, tuple(right)))
    source = {"kind": "synthetic", "accepted": list(accepted), "seed": seed, "generator": "philox", "order": "drawn"}
    return StepTrace("synthetic", "synthetic", len(accepted), "accepted", source, tuple(made))


def steps_from(text: str) -> StepTrace | None:
    """Steps from the command line's form; None where it states no acceptance, so that exits are meant."""
    pairs = [tuple(part.strip() for part in item.partition("=")[::2]) for item in text.split(",") if item]
    given: dict[str, Any] = {}
    if not {key for key, _ in pairs} & {"accepted", "length"}:
        return None
    for key, value in pairs:
        if key not in _KEYS or key in given:
            raise TraceError(f"synth: {key}: " + ("given twice" if key in given else f"unknown key{near(key, _KEYS)}"))
        try:
            given[key] = _KEYS[key](value)
        except ValueError:
            raise TraceError(f"synth: {key}: {value!r} is no {'number' if key == 'length' else 'list of them'}"
                             if _KEYS[key] is not int else f"synth: {key}: {value!r} is no whole number") from None
    if ("length" in given) == ("accepted" in given) or ("length" in given) != ("draft" in given):
        raise TraceError("synth: accepted=P+P+... alone, or length=L with draft=K")
    if "length" in given:
        length, draft = given.pop("length"), given.pop("draft")
        if not 1 <= length <= draft + 1:
            raise TraceError(f"synth: length={length:g}: {draft} proposed tokens commit 1 to {draft + 1} a step")
        if draft > MOST_SYNTHETIC:
            raise TraceError(f"synth: draft={draft}: more than {MOST_SYNTHETIC:,} proposed tokens")
        given["accepted"] = (rate_of_length(length, draft),) * draft
    return steps_of(**{"count": 1000} | given)
