"""90 % intervals of an answer's times and ratios: `low`, `high`, and the `basis` they stand on.

    a time              the stack's ranges for the host's, the launch path's and the kernels' part (uncertainty.py)
    a rate, a share     the inverse of its time's
    a ratio of times    both times at the same corner of the ranges, widened by the text's sampling error
    bytes, kernels      the text's sampling error, as they follow the passes; bytes of the HBM also at the knee's ends

The basis of what hangs on times is `assumed`; of what hangs on the text alone it is `measured` (recorded from this
model), `transferred` (from another) or `assumed` (made up). Where the stack names no range for the tier, times have
none. Prefill is kernels' time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .metrics import prefill_ps
from .scenario import Resolved
from .timeline import Decode, Timeline
from .uncertainty import Floats, at_corners, parts, sampling

if TYPE_CHECKING:
    from .result import Answer

Interval = dict[str, Any]
RATES = ("tokens_per_s", "mbu", "mfu")


class _Time(NamedTuple):
    """A time, and what it is at each corner of the ranges."""

    nominal: float
    corners: Floats


def intervals(result: Answer) -> dict[str, Interval]:
    """Every interval by the path of its figure in the document."""
    ranges, tier = result.resolved.stack.value.uncertainty, result.resolved.scenario.tier
    found: dict[str, Interval] = {}
    if tier in ranges.device:
        decode, whole = {}, {}
        for key, (_, line) in result.runs.items():
            split, ahead = parts(line.bound_ps), prefill_ps(line)
            decode[key] = _Time(sum(split.values()), at_corners(split, ranges, tier))
            split["device"] += ahead
            whole[key] = _Time(decode[key].nominal + ahead, at_corners(split, ranges, tier))
            if decode[key].nominal:
                found |= {f"schedules.{key}.{name}": one
                          for name, one in _of_times(result.figures[key], decode[key], whole[key]).items()}
        found |= _of_gains(result, decode, whole)
    return found | {f"gain.{name}": one for name, one in _of_counts(result).items()}


def _of_times(figures: dict[str, Any], decode: _Time, whole: _Time) -> dict[str, Interval]:
    """A run's times and rates."""
    low, high = _factors(decode)
    found = {}
    for name, value in _flat(figures, ("total_us", "time_per_token_us", "gap_us")):
        found[name] = _interval(value * low, value * high)
    for name, value in _flat(figures, RATES):
        found[name] = _interval(value / high, value / low)
    both = min(low, _factors(whole)[0]), max(high, _factors(whole)[1])
    for name, value in _flat(figures, ("end_to_end_us", "time_to_first_token_us")):
        found[name] = _interval(value * both[0], value * both[1])
    return found


def _of_gains(result: Answer, decode: dict[str, _Time], whole: dict[str, _Time]) -> dict[str, Interval]:
    """Ratios of times."""
    found = {}
    mine = result.timeline(result.key)
    for key, (_, rival) in result.runs.items():
        point = result.gain_over.get(key)
        if not point:
            continue
        sampled = _sampled(mine, rival, lambda span: span.end_ps - span.start_ps)
        found[f"gain_over.{key}"] = _ratio(point, decode[key], decode[result.key], sampled)
        if key == result.plain_key:
            found["gain.speedup"] = dict(found[f"gain_over.{key}"])
            found["gain.end_to_end_speedup"] = _ratio(
                result.gain["end_to_end_speedup"] or 0.0, whole[key], whole[result.key], sampled)
    return found


def _of_counts(result: Answer) -> dict[str, Interval]:
    """Ratios of bytes and kernels."""
    low, high = _sampled(result.timeline(result.key), result.timeline(result.plain_key), lambda span: span.passes)
    ends = result.knee or {}
    found = {}
    for name in ("requested_bytes_ratio", "hbm_bytes_ratio", "kernels_ratio"):
        point = result.gain[name]
        if point is not None:
            knee = [ends[end][name] for end in ("early", "late") if name in ends.get(end, ())]
            found[name] = _interval(min([point, *knee]) * low, max([point, *knee]) * high,
                                    "assumed" if knee else _text_basis(result.resolved))
    return found


def _ratio(point: float, rival: _Time, mine: _Time, sampled: tuple[float, float]) -> Interval:
    """A gain: the rival's time over mine, at each corner of the ranges that they share."""
    factors = rival.corners / mine.corners / (rival.nominal / mine.nominal)
    return _interval(point * float(factors.min()) * sampled[0], point * float(factors.max()) * sampled[1])


def _factors(time: _Time) -> tuple[float, float]:
    """By how much a time may be off."""
    return float(time.corners.min()) / time.nominal, float(time.corners.max()) / time.nominal


def _sampled(mine: Timeline, rival: Timeline, of: Callable[[Decode], int]) -> tuple[float, float]:
    """Factors (low, high) around a ratio by which another draw of sequences would move it, 5th to 95th percentile."""
    both = [{span.sequence: of(span) for span in line.decodes} for line in (mine, rival)]
    shared = sorted(s for s in both[0].keys() & both[1].keys() if both[0][s] and both[1][s])
    if not shared:
        return 1.0, 1.0
    low, high = sampling(*([[amounts[s]] for s in shared] for amounts in both))
    return float(low[0]), float(high[0])


def _flat(figures: dict[str, Any], names: tuple[str, ...]) -> list[tuple[str, float]]:
    """(path, value) of figures that are defined."""
    found = []
    for name in names:
        value = figures[name]
        inner = {f"{name}.{part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
        found += [(path, one) for path, one in inner.items() if one is not None]
    return found


def _interval(low: float, high: float, basis: str = "assumed") -> Interval:
    return {"low": low, "high": high, "basis": basis}


def _text_basis(resolved: Resolved) -> str:
    """What a figure of the text alone stands on."""
    if resolved.scenario.synth is not None:
        return "assumed"
    return "measured" if resolved.trace.model == resolved.model.value.name else "transferred"
