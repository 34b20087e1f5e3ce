"""Benches of serving engines, and our own predictions: what they say about one step of decoding.

    vllm bench serve, sglang bench_serving    mean_tpot_ms, or output throughput at one request at a time
    speedsim run --json                       a schedule of a prediction

Benches know the time per token; the step's time follows from the acceptance length (tokens committed a verification,
bonus included). What a step is made of they do not say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..refusal import RefusedError

PREDICTION = "speedsim-result/1"
LENGTHS = ("mean_acceptance_length", "acceptance_length", "spec_decode_acceptance_length", "accept_length",
           "avg_spec_accept_length", "spec_accept_length")
"""Names of the acceptance length with the bonus."""


class Told(NamedTuple):
    """What a bench or a prediction says of one way of decoding."""

    source: str
    token_us: float
    """Time between two tokens of one sequence."""
    length: float | None
    """Tokens committed a step; None where the file does not say."""
    parts: Mapping[str, float] | None = None
    """Share of the time by part; None where the file does not say."""


def read(path: Path, key: str | None = None) -> Told:
    """A bench or a prediction; `key` names the schedule of a prediction (default: the one it is about)."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: no JSON: {error}") from None
    if not isinstance(document, dict):
        raise RefusedError(f"{path}: an object is expected, as a bench writes it")
    if document.get("schema") == PREDICTION:
        return _prediction(path, document, key)
    token_ms = _positive(document, "mean_tpot_ms", "median_tpot_ms")
    if token_ms is None:
        rate = _positive(document, "output_throughput")
        users = _positive(document, "max_concurrency", "concurrency") or 1.0
        token_ms = None if rate is None else 1e3 * users / rate
    if token_ms is None:
        raise RefusedError(f"{path}: neither mean_tpot_ms nor output_throughput: no bench of vLLM's or SGLang's")
    return Told(path.name, token_ms * 1e3, _length(document))


def acceptance_length(path: Path) -> float:
    """Tokens committed a verification, bonus included, as an engine's log says; the mean of a log's lines."""
    try:
        content = path.read_text()
    except (OSError, ValueError) as error:
        raise RefusedError(f"{path}: {error}") from None
    try:
        records = [json.loads(content)]
    except (ValueError, RecursionError):
        try:
            records = [json.loads(line) for line in content.splitlines() if line.strip()]
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"{path}: neither JSON nor lines of JSON: {error}") from None
    known = [length for record in records if isinstance(record, dict) and (length := _length(record)) is not None]
    if not known:
        raise RefusedError(f"{path}: says no acceptance length ({', '.join(LENGTHS[:3])}, ...)")
    return sum(known) / len(known)


def plain_of(path: Path) -> str:
    """The key of a prediction's plain rival: the same model decoded token by token."""
    document = json.loads(path.read_bytes())
    return f"autoregressive@{document['model']['name']}"


def _positive(document: Mapping[str, Any], *keys: str) -> float | None:
    for key in keys:
        value = document.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf"):
            return float(value)
    return None


def _length(document: Mapping[str, Any], deep: int = 4) -> float | None:
    """The acceptance length, wherever in the document it stands."""
    found = _positive(document, *LENGTHS)
    if found is not None or not deep:
        return found
    inner = (_length(value, deep - 1) for value in document.values() if isinstance(value, dict))
    return next((length for length in inner if length is not None), None)


def _prediction(path: Path, document: Mapping[str, Any], key: str | None) -> Told:
    """A schedule of a prediction; its steps are its launch units, whose time has our own bounds as parts."""
    schedules = document.get("schedules", {})
    chosen = next(iter(schedules), None) if key is None else key
    if chosen not in schedules:
        raise RefusedError(f"{path}: no schedule {chosen}; there are {', '.join(schedules)}")
    one = schedules[chosen]
    tokens, units = one["committed_tokens"], one["launch_units"]
    if not tokens or not units:
        raise RefusedError(f"{path}: {chosen} committed nothing")
    total = one["total_us"]
    host = one["time_by_bound_us"]["host"] / total
    return Told(f"{path.name} {chosen} (predicted)", one["time_per_token_us"], tokens / units,
                {"host": host, "verify": 1 - host})
