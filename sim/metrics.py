"""Figures of a run, folded from its timeline. Nothing here knows whether it was predicted or measured.

    time per token   time in which a sequence was decoded / its tokens (what one user sees)
    tokens per s     committed tokens / time in which any sequence was decoded
    per token        bytes before and after the L2, dependent kernels: the three currencies of amortization
    MBU, MFU         HBM bytes and flop over what the physical peaks could have moved in that time
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .timeline import BOUNDS, Timeline

PS_PER_US = 1_000_000
PS_PER_S = 10**12


@dataclass(frozen=True, slots=True)
class Peaks:
    """What the physical machine could do at most."""

    hbm_bytes_per_s: float
    flop_per_s: float
    clock_hz: float
    """Of the SMs."""


def figures(timeline: Timeline, peaks: Peaks) -> dict[str, Any]:
    """Every figure of a run as plain numbers, None where undefined (a run without tokens)."""
    count = timeline.counters
    total = timeline.decode_ps
    tokens = count.committed_tokens
    hbm, requested = sum(count.hbm_bytes.values()), sum(count.requested_bytes.values())
    return {
        "passes": count.passes,
        "acceptance_length": acceptance_length(timeline),
        "draft_passes": count.draft_passes,
        "launch_units": count.launch_units,
        "committed_tokens": tokens,
        "row_passes": count.row_passes,
        "useful_row_passes": tokens * timeline.repetitions,
        "idle_row_passes": count.idle_row_passes,
        "padded_row_passes": count.padded_row_passes,
        "head_reads": count.head_reads,
        "squashed_tokens": count.squashed_tokens,
        "rows_per_pass": {str(rows): n for rows, n in sorted(count.rows_per_pass.items())},
        "total_us": total / PS_PER_US,
        "total_cycles": round(total * peaks.clock_hz / PS_PER_S),
        "prefill_us": prefill_ps(timeline) / PS_PER_US,
        "time_to_first_token_us": _ratio(sum(d.prefill_ps + d.first_ps - d.start_ps for d in timeline.decodes)
                                         / PS_PER_US, len(timeline.decodes)),
        "pipeline_fill_us": _ratio(sum(d.first_ps - d.start_ps for d in timeline.decodes) / PS_PER_US,
                                   len(timeline.decodes)),
        "end_to_end_us": end_to_end_ps(timeline) / PS_PER_US,
        "time_per_token_us": per_token_us(timeline),
        "gap_us": gaps(timeline),
        "tokens_per_s": _ratio(tokens * PS_PER_S, total),
        "time_by_bound_us": {bound: timeline.bound_ps[bound] / PS_PER_US for bound in BOUNDS},
        "bytes_per_token": {
            "requested": {kind: _ratio(size, tokens) for kind, size in count.requested_bytes.items()},
            "hbm": {kind: _ratio(size, tokens) for kind, size in count.hbm_bytes.items()},
        },
        "kernels_per_token": _ratio(count.kernels, tokens),
        "late_passes": count.late_passes,
        "throttled_us": timeline.throttled_ps / PS_PER_US,
        "l2_hit_fraction": None if not requested else 1 - hbm / requested,
        "mbu": _ratio(hbm * PS_PER_S / peaks.hbm_bytes_per_s, total),
        "mfu": _ratio(count.flop * PS_PER_S / peaks.flop_per_s, total),
    }


def acceptance_length(timeline: Timeline) -> float | None:
    """Tokens that a sequence commits per G sweeps of the target in which it has a row: per verification, or gamma."""
    count = timeline.counters
    return _ratio(count.committed_tokens * timeline.repetitions, count.sequence_passes)


def gaps(timeline: Timeline) -> dict[str, float | None]:
    """Percentiles of the time between commits of the same sequence, in microseconds (nearest rank)."""
    last: dict[int, int] = {}
    between = []
    for sequence, time_ps in zip(timeline.commit_sequence, timeline.commit_ps, strict=True):
        if sequence in last:
            between.append(time_ps - last[sequence])
        last[sequence] = time_ps
    between.sort()
    return {
        f"p{rank}": between[max(0, -(-rank * len(between) // 100) - 1)] / PS_PER_US if between else None
        for rank in (50, 95, 99)
    }


def gain(schedule: Timeline, plain: Timeline) -> dict[str, float | None]:
    """What a schedule gains over plain decoding of the same model: ratios above 1 are a gain."""

    def weights(timeline: Timeline, which: str) -> float | None:
        by_kind: dict[str, int] = getattr(timeline.counters, which)
        return _ratio(by_kind["weights"] + by_kind["head"], timeline.counters.committed_tokens)

    return {
        "speedup": speedup(schedule, plain),
        "end_to_end_speedup": _over(
            _ratio(end_to_end_ps(plain), plain.counters.committed_tokens),
            _ratio(end_to_end_ps(schedule), schedule.counters.committed_tokens)),
        "requested_bytes_ratio": _over(weights(plain, "requested_bytes"), weights(schedule, "requested_bytes")),
        "hbm_bytes_ratio": _over(weights(plain, "hbm_bytes"), weights(schedule, "hbm_bytes")),
        "kernels_ratio": _over(_ratio(plain.counters.kernels, plain.counters.committed_tokens),
                               _ratio(schedule.counters.kernels, schedule.counters.committed_tokens)),
    }


def end_to_end_ps(timeline: Timeline) -> int:
    """Prefill and decoding of every sequence, one after the other."""
    return timeline.decode_ps + prefill_ps(timeline)


def prefill_ps(timeline: Timeline) -> int:
    """Prefill of every sequence."""
    return sum(d.prefill_ps for d in timeline.decodes)


def speedup(schedule: Timeline, rival: Timeline) -> float | None:
    """The rival's time per token over the schedule's."""
    return _over(_ratio(rival.decode_ps, rival.counters.committed_tokens),
                 _ratio(schedule.decode_ps, schedule.counters.committed_tokens))


def per_token_us(timeline: Timeline) -> float | None:
    """Time in which a sequence was decoded over its tokens, in microseconds."""
    each = sum(d.end_ps - d.start_ps for d in timeline.decodes)
    return _ratio(each / PS_PER_US, timeline.counters.committed_tokens)


def _ratio(amount: float, count: int) -> float | None:
    return amount / count if count else None


def _over(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None
