"""Where the time of a run or of a token went, and what would make it faster, in words and numbers.

The critical path of a run is its passes one after the other, each with what it waited for before it and inside it; the
bounds divide it without remainder. What a cause costs is at most its share: were it free and nothing else grew,

    time a token would be   t - t_cause                  and the run   t / (t - t_cause)   times as fast

Guessing better has a ceiling of its own: passes a token fall to one where every first guess is right, at the same time
a pass. These are ceilings, not predictions; each names the command that predicts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..timeline import BOUNDS
from ..units import InputError
from .bars import per_token
from .documents import main_key, plain_key
from .lives import Life, cause, lives, span_ps
from .scale import short
from .scale import us as micro
from .words import BOUND_NAMES

TRY = {
    "host": ("--control device", "--set stack.host.turnaround=5us"), "wait": ("--control device",),
    "launch": ("--launch graph+pdl", "--launch persistent"), "latency": ("--launch persistent", "--batch 8"),
    "flop": ("--gpu b200_sxm",), "l2": ("--set l2.bandwidth=20TB/s",),
    "hbm": ("--set hbm.bandwidth=8TB/s", "--l2 keep=group,stream=head"),
}
"""Options of `speedsim run` that predict what less of it would bring."""


class Remedy(NamedTuple):
    """What would make the run faster."""

    what: str
    us_per_token: float
    """Time a token that it could save at most."""
    factor: float
    """How many times as fast the run would be at most."""
    attempts: tuple[str, ...]
    """Options of `speedsim run` that predict some of it."""


def us(value: float) -> str:
    """A time for a terminal of any encoding."""
    return micro(value).replace("µ", "u")


def remedies(document: Mapping[str, Any]) -> list[Remedy]:
    """What could be saved, most first."""
    figures = document["schedules"][main_key(document)]
    parts, tokens = per_token(figures), max(1, figures["committed_tokens"])
    total = sum(parts.values())
    found = [Remedy(f"{BOUND_NAMES[bound]} free", time, _factor(total, time), TRY[bound])
             for bound, time in parts.items() if time]
    passes = figures["passes"] / tokens
    repeats = figures["useful_row_passes"] / tokens
    if main_key(document).partition(":")[0] == "speed" and passes > 1 and repeats >= 2:
        never = "+".join(["0"] * (round(repeats) - 1))
        found.append(Remedy("every first guess right", total * (1 - 1 / passes), passes,
                            (f"--synth flips={never},count=1000",)))
    return sorted(found, key=lambda remedy: -remedy.us_per_token)


def _factor(total: float, saved: float) -> float:
    return total / (total - saved) if total > saved else float("inf")


def of_run(document: Mapping[str, Any]) -> Iterator[str]:
    """The lines about the whole run."""
    mine = main_key(document)
    figures = document["schedules"][mine]
    tokens, parts = max(1, figures["committed_tokens"]), per_token(figures)
    total = sum(parts.values())
    yield document["sentence"]
    yield ""
    each = total * tokens / max(1, figures["passes"])
    yield (f"critical path: a token takes {us(total)} = {short(figures['passes'] / tokens)} passes of {us(each)}, with "
           f"{short(figures['row_passes'] / max(1, figures['passes']))} tokens in each")
    width = max(len(BOUND_NAMES[bound]) for bound in parts)
    for bound in sorted(BOUNDS, key=lambda b: -parts[b]):
        if parts[bound]:
            yield f"  {BOUND_NAMES[bound]:<{width}}  {parts[bound]:9.2f} us a token  {parts[bound] / total:5.1%}"
    kernels = document.get("kernels", {}).get(mine, {})
    spent = {name: sum(one["time_by_bound_us"].values()) / tokens for name, one in kernels.items()}
    if spent:
        yield ""
        yield "longest kernels, all layers and passes of a token together"
        for name in sorted(spent, key=lambda n: -spent[n])[:6]:
            by = kernels[name]["time_by_bound_us"]
            worst = max(by, key=lambda b: by[b], default="latency")
            yield (f"  {name:<24}  {spent[name]:9.2f} us  {spent[name] / total:5.1%}  "
                   f"{short(kernels[name]['launches'] / tokens)} launches, mostly {BOUND_NAMES[worst]}")
    yield from _guesses(figures, tokens)
    yield ""
    yield "what would make it faster, at most (each were it free and nothing else grew)"
    for place, remedy in enumerate(remedies(document), 1):
        yield f"  {place}. {remedy.what}: {remedy.factor:.2f} x, {remedy.us_per_token:.1f} us a token"
        yield "     try " + ", ".join(remedy.attempts)
    yield from _rival(document, mine)


def _guesses(figures: Mapping[str, Any], tokens: int) -> Iterator[str]:
    wasted = figures["row_passes"] - figures["useful_row_passes"]
    if figures["squashed_tokens"]:
        yield ""
        yield (f"guesses: {figures['squashed_tokens']:,} tokens were discarded beside {tokens:,} that became text; "
               f"{max(0, wasted) / max(1, figures['row_passes']):.0%} of all repetitions were for nothing")
    spare = figures["idle_row_passes"] + figures["padded_row_passes"]
    if spare:
        yield f"slots: {spare:,} repetitions ran for empty or padded rows"


def _rival(document: Mapping[str, Any], mine: str) -> Iterator[str]:
    rival = plain_key(document)
    if rival is None or mine == "autoregressive":
        return
    parts = per_token(document["schedules"][rival])
    own = per_token(document["schedules"][mine])
    yield ""
    yield "gain, were one cause free for both"
    for bound in sorted((b for b in BOUNDS if own[b] or parts[b]), key=lambda b: -own[b]):
        below = sum(own.values()) - own[bound]
        if below > 0:
            yield f"  without {BOUND_NAMES[bound]:<15} {(sum(parts.values()) - parts[bound]) / below:6.2f} x"


def of_token(document: Mapping[str, Any], which: str) -> Iterator[str]:
    """The lines about one token, `POSITION` or `SEQUENCE:POSITION`. Raises InputError where there is none."""
    timeline = document.get("timeline")
    if timeline is None or not timeline["rows"]:
        raise InputError("--token needs every pass: speedsim run --record passes --json FILE")
    found = lives(timeline)
    place = _place(which, found)
    issues = [life for life in found.values() if (life.sequence, life.position) == place]
    if not issues:
        first, last = min(life.position for life in found.values()), max(life.position for life in found.values())
        raise InputError(f"--token {which}: no such token; positions are {first} to {last}")
    yield f"position {place[1]} of sequence {place[0]}: issued {len(issues)} time{'s' if len(issues) > 1 else ''}"
    for life in issues:
        yield from _life(life, found, timeline)
    kept = next((life for life in issues if life.committed_ps is not None), None)
    before = next((life for life in found.values() if life.committed_ps is not None
                   and (life.sequence, life.position) == (place[0], place[1] - 1)), None)
    if kept is None or before is None or kept.committed_ps is None or before.committed_ps is None:
        return
    passes = kept.last - before.last
    yield ""
    if passes < 1:
        yield "it became text together with the position before it"
        return
    settled = 1 < passes <= timeline["repetitions"]
    yield (f"it became text {us((kept.committed_ps - before.committed_ps) / 1e6)} and {passes} "
           f"pass{'es' if passes != 1 else ''} after the position before it" + (
               f": the prediction before it settled only at repetition {passes}" if settled else
               ": the first guess stood" if timeline["repetitions"] > 1 else ""))


def _place(which: str, found: Mapping[int, Life]) -> tuple[int, int]:
    sequence, colon, position = which.rpartition(":")
    try:
        first = next(iter(found.values())).sequence
        return (int(sequence) if colon else first, int(position))
    except ValueError:
        raise InputError(f"--token {which}: write POSITION or SEQUENCE:POSITION") from None


def _life(life: Life, found: Mapping[int, Life], timeline: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    parent = None if life.parent is None else found.get(life.parent)
    origin = "given text" if parent is None else f"the prediction of position {parent.position}"
    end = "became text" if life.committed_ps is not None else f"discarded: {cause(life, found)}"
    yield f"  on {origin}: {end}"
    ended = None
    for step in life.steps:
        start, stop = span_ps(timeline, step.occurrence)
        waited = "" if ended is None else f"  {us((start - ended) / 1e6)} after the pass before"
        yield (f"    pass {step.occurrence + 1:>6}  repetition {step.repetition}  {us(start / 1e6):>12}  "
               f"{us((stop - start) / 1e6):>9} long{waited}")
        ended = stop
