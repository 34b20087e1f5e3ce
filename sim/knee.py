"""Both ends of an answer that hangs on the knee of a two-sided L2.

A reuse distance in the cache's knee (`l2.knee`) hits or misses by which side reads, which no model here knows. So what
reads there is played again over the text's first sequences, with the hit curve moved so that its plateau ends at either
end of the knee; by what factors its time and bytes change there is what the whole answer changes by. A run that reads
next to nothing there keeps its figures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .hardware import L2, MOST_REUSE
from .metrics import per_token_us
from .scenario import Resolved, play
from .timeline import Timeline
from .trace import limited

if TYPE_CHECKING:
    from .result import Answer

MOST_TOKENS = 256
LEAST_SHARE = 0.02
"""Share of bytes read in the knee from which an answer shows both ends."""


def knee(result: Answer) -> dict[str, Any] | None:
    """The share of bytes that are read there, and gain and time at each end; None where it does not matter."""
    share = max(_share(line) for _, line in result.runs.values())
    edges = result.resolved.gpu.value.l2.knee
    both = [result.runs[key] for key in (result.key, result.plain_key)]
    if edges is None or max(_share(line) for _, line in both) < LEAST_SHARE:
        return None
    mine, plain = (_factors(side, line, edges) for side, line in both)
    ends: dict[str, Any] = {"share": share}
    for name, edge, (time, size), (plain_time, plain_size) in zip(("early", "late"), edges, mine, plain, strict=True):
        ends[name] = {
            "plateau": edge,
            "speedup": _times(result.gain["speedup"], plain_time / time),
            "hbm_bytes_ratio": _times(result.gain["hbm_bytes_ratio"], plain_size / size),
            "time_per_token_us": _times(per_token_us(both[0][1]), time),
        }
    return ends


def _factors(side: Resolved, line: Timeline, edges: tuple[float, float]) -> list[tuple[float, float]]:
    """What a run's time, and its weights' bytes of the HBM, change by at each end."""
    if _share(line) < LEAST_SHARE:
        return [(1.0, 1.0)] * len(edges)
    first = limited(side.trace, MOST_TOKENS)
    whole = len(first.sequences) == len(side.trace.sequences)
    sample = replace(side, trace=first, scenario=replace(side.scenario, record="summary"))
    nominal = _amounts(line if whole else play(sample))
    found = []
    for edge in edges:
        gpu = replace(side.gpu, value=replace(side.gpu.value, l2=_moved(side.gpu.value.l2, edge)))
        time, size = _amounts(play(replace(sample, gpu=gpu)))
        found.append((time / nominal[0], size / nominal[1]))
    return found


def _amounts(line: Timeline) -> tuple[int, int]:
    """A run's time, and its weights' bytes of the HBM."""
    count = line.counters
    return max(1, line.decode_ps), max(1, count.hbm_bytes["weights"] + count.hbm_bytes["head"])


def _times(figure: float | None, factor: float) -> float | None:
    return None if figure is None else figure * factor


def _moved(l2: L2, edge: float) -> L2:
    """The cache with the end of its plateau there; what all SMs read never has the longer plateau."""
    if not l2.plateau:
        return l2
    curve = tuple((min(x * edge / l2.plateau, MOST_REUSE), h) for x, h in l2.hit_curve)
    shared = None if l2.shared_plateau is None else min(l2.shared_plateau, edge)
    return replace(l2, hit_curve=curve, shared_plateau=shared, usable_fraction=1.0)


def _share(line: Timeline) -> float:
    """Share of the weights' and caches' bytes that were read in the knee."""
    count = line.counters
    return count.knee_bytes / max(1, sum(size for kind, size in count.requested_bytes.items() if kind != "activations"))
