"""The columns of a sweep: the figures of `speedsim run --json` under their dotted names, for N points at once.

What does not depend on times comes from metrics.py as it is; what does is the same arithmetic on arrays. A figure that
is undefined is NaN here and null in the table. Gaps between commits are not among them: a sum keeps no order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..energy import S_PER_HOUR, joules
from ..hardware import Energy, Gpu
from ..memory import memory
from ..metrics import PS_PER_S, PS_PER_US, Peaks, figures, gain
from ..scenario import Resolved
from ..timeline import Timeline
from ..uncertainty import at_corners, parts, sampling

Column = Any
"""An array of a value a point, or the value that all points have."""
COUNTS = ("passes", "launch_units", "committed_tokens", "row_passes", "head_reads", "squashed_tokens",
          "memory.needed_bytes")
"""Columns of whole numbers."""
Ints = NDArray[np.int64]


class Run(NamedTuple):
    """A schedule's or a rival's times on N machines."""

    line: Timeline
    """For what does not depend on times."""
    each_ps: Ints
    """[sequences, N]: the time in which each sequence was decoded."""
    decode_ps: Ints
    """[N]: the time in which any was."""
    prefill_ps: Ints
    """[sequences, N]"""
    bound_ps: Mapping[str, Ints]
    """[N] each"""


def columns(sides: Mapping[str, Resolved], runs: Mapping[str, Run], chips: Sequence[Gpu], bills: Sequence[Gpu],
            of: tuple[Ints, Ints]) -> dict[str, Column]:
    """All columns. The first side is the schedule, the second the same model decoded plainly.

    chips, bills: the distinct GPUs, by what kernels depend on and by everything else; of: which of them a point has.
    """
    (key, mine), (plain_key, _) = list(sides.items())[:2]
    run, plain = runs[key], runs[plain_key]
    found = dict(_times(run))
    ratio = gain(run.line, plain.line)
    found["gain.speedup"] = _speedup(run, plain)
    found["gain.low"], found["gain.high"] = _range(mine, run, plain)
    found["gain.end_to_end_speedup"] = _over(_end_to_end(plain) / _tokens(plain), _end_to_end(run) / _tokens(run))
    found |= {f"gain.{name}": ratio[name] for name in
              ("requested_bytes_ratio", "hbm_bytes_ratio", "kernels_ratio")}
    for other, rival in list(runs.items())[1:]:
        found[f"gain_over.{other}"] = _speedup(run, rival)
    for other, rival in list(runs.items())[1:]:
        found[f"time_per_token_us.{other}"] = _per_token_us(rival)
    return found | dict(_counted(mine, run)) | _shares(mine, run, chips, of[0]) | _costs(run, chips, bills, of)


def _times(run: Run) -> Iterator[tuple[str, Column]]:
    yield "time_per_token_us", _per_token_us(run)
    yield "tokens_per_s", _over(np.float64(run.line.counters.committed_tokens * PS_PER_S), run.decode_ps)
    yield "total_us", run.decode_ps / PS_PER_US
    yield "end_to_end_us", _end_to_end(run) / PS_PER_US
    for bound, time in run.bound_ps.items():
        yield f"time_by_bound_us.{bound}", time / PS_PER_US


def _counted(mine: Resolved, run: Run) -> Iterator[tuple[str, Column]]:
    """What is the same on all machines."""
    told = figures(run.line, Peaks(1.0, 1.0, 1.0)) | {"memory": memory(mine, run.line)}
    for name in ("passes", "launch_units", "committed_tokens", "row_passes", "head_reads", "squashed_tokens",
                 "kernels_per_token", "l2_hit_fraction"):
        yield name, told[name]
    for when in ("requested", "hbm"):
        for kind, size in told["bytes_per_token"][when].items():
            yield f"bytes_per_token.{when}.{kind}", size
    count = run.line.counters
    read = sum(size for kind, size in count.requested_bytes.items() if kind != "activations")
    yield "knee_share", count.knee_bytes / max(1, read)
    yield "memory.needed_bytes", told["memory"]["needed_bytes"]
    yield "memory.fits", told["memory"]["fits"]


def _shares(mine: Resolved, run: Run, chips: Sequence[Gpu], chip_of: Ints) -> dict[str, Column]:
    """What was reached of the physical peaks."""
    count, dtype = run.line.counters, mine.model.value.dtype.activations
    asked = ((sum(count.hbm_bytes.values()), [gpu.hbm.bandwidth_bytes_per_s for gpu in chips]),
             (count.flop, [gpu.sm.peak_flop_per_s[dtype] for gpu in chips]))
    mbu, mfu = (_over(amount * float(PS_PER_S) / np.array(peaks)[chip_of], run.decode_ps) for amount, peaks in asked)
    return {"mbu": mbu, "mfu": mfu}


def _costs(run: Run, chips: Sequence[Gpu], bills: Sequence[Gpu], of: tuple[Ints, Ints]) -> dict[str, Column]:
    """Energy and price of a token, NaN where the card has no figures."""
    count, tokens = run.line.counters, max(1, _tokens(run))
    nothing = Energy(static_w=np.nan, per_hbm_byte_j=np.nan)
    figures_of = [gpu.energy if joules(gpu.energy, 0, 0, 0) is not None else nothing for gpu in chips]
    each: dict[str, Any] = {name: np.array([getattr(energy, name) or 0.0 for energy in figures_of])[of[0]]
                            for name in ("static_w", "per_hbm_byte_j", "per_flop_j")}
    parts = joules(Energy(**each), run.decode_ps, sum(count.hbm_bytes.values()), count.flop)
    assert parts is not None
    price = np.array([np.nan if gpu.price_per_hour_usd is None else gpu.price_per_hour_usd for gpu in bills])[of[1]]
    return {"energy_per_token_j": sum(parts.values()) / tokens,
            "cost_per_million_tokens_usd": price * run.decode_ps / PS_PER_S / S_PER_HOUR / tokens * 1e6}


def _range(mine: Resolved, run: Run, plain: Run) -> tuple[Column, Column]:
    """The 90 % interval of the gain, as in a single answer; None where the stack names no ranges."""
    ranges, tier = mine.stack.value.uncertainty, mine.scenario.tier
    if tier not in ranges.device:
        return None, None
    own, other = parts(run.bound_ps), parts(plain.bound_ps)
    nominal = _over(sum(other.values()), sum(own.values()))
    ratio = _over(at_corners(other, ranges, tier), at_corners(own, ranges, tier)) / nominal
    order = [d.sequence for d in run.line.decodes]
    known = {d.sequence: row for row, d in enumerate(plain.line.decodes)}
    low, high = sampling(run.each_ps, plain.each_ps[[known[sequence] for sequence in order]])
    point = _speedup(run, plain)
    return point * ratio.min(axis=0) * low, point * ratio.max(axis=0) * high


def _tokens(run: Run) -> int:
    return run.line.counters.committed_tokens


def _per_token_us(run: Run) -> Column:
    return run.each_ps.sum(axis=0) / PS_PER_US / _tokens(run)


def _end_to_end(run: Run) -> Column:
    return run.decode_ps + run.prefill_ps.sum(axis=0)


def _speedup(run: Run, rival: Run) -> Column:
    return _over(rival.decode_ps / _tokens(rival), run.decode_ps / _tokens(run))


def _over(above: Any, below: Any) -> Column:
    """A ratio, NaN where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(below) > 0, above / below, np.nan)
