"""Changed numbers, `--set KEY=VALUE`: which description of a run a key belongs to.

    sm. l2. hbm. launch. link. energy. price_per_hour    the GPU; `gpu.` may stand before them
    stack. model. schedule.                              the description of that name
    run. trace.                                          the scenario itself: run.batch, run.tokens, run.prompt, ...
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from .units import InputError

if TYPE_CHECKING:
    from .catalog import Changes
    from .scenario import Scenario

_GPU = ("sm", "l2", "hbm", "launch", "link", "energy", "price_per_hour")
_OWNERS = {"gpu": "gpu", "stack": "stack", "model": "model", "schedule": "schedule", "run": "run", "trace": "run"}
_NAMED = ("gpu", "stack", "model", "schedule", "trace")
"""What an option of the command line names as a whole."""


def by_owner(sets: Changes) -> dict[str, Changes]:
    """Pairs by the description they change, in the order given. Its name is cut off, save for the scenario's."""
    owned: dict[str, dict[str, str]] = {owner: {} for owner in dict.fromkeys(_OWNERS.values())}
    for key, value in sets:
        head, _, rest = key.partition(".")
        owner = "gpu" if head in _GPU else _OWNERS.get(head)
        if owner is None or (not rest and head != "price_per_hour"):
            raise InputError(f"--set {key}={value}: {_unowned(head, value)}")
        own = key if owner == "run" or head in _GPU else rest
        if own in owned[owner]:
            raise InputError(f"--set {key}={value}: {key}: given twice")
        owned[owner][own] = value
    return {owner: tuple(pairs.items()) for owner, pairs in owned.items()}


def _unowned(head: str, value: str) -> str:
    if head in _NAMED and value:
        return f"{head}: write --{head} {value}, or {head}.KEY=VALUE for one of its numbers"
    if head in _GPU or head in _OWNERS:
        return f"{head}: which number of it? write {head}.KEY=VALUE"
    known = [*_GPU, *_OWNERS]
    return f"{head!r} is no part of a run{_hint(head, known)}; parts: {', '.join(known)}"


def with_own(scenario: Scenario, pairs: Changes) -> Scenario:
    """The scenario with fields of its own changed: `run.batch` or `trace.prompt`, for what an option sets as well."""
    known = {f.name for f in fields(scenario)} - {"sets", "gpu", "stack", "model"}
    changes: dict[str, Any] = {}
    for key, value in pairs:
        name = key.partition(".")[2]
        if name not in known:
            raise InputError(f"--set {key}={value}: {key}: unknown key{_hint(name, known)}")
        if name in changes:
            raise InputError(f"--set {key}={value}: {key}: given twice")
        try:
            changes[name] = int(value) if name in ("batch", "tokens", "prompt", "seed") else value
        except ValueError:
            raise InputError(f"--set {key}={value}: {key}: a whole number is expected") from None
    return replace(scenario, **changes)


def _hint(given: str, known: Iterable[str]) -> str:
    given, known = given.lower(), sorted(known)
    begun = [name for name in known if given and name.startswith(given)]
    near = begun[:1] or difflib.get_close_matches(given, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
