"""Both ends of an answer that hangs on the knee of a two-sided L2.

A reuse distance in the cache's knee (`l2.knee`) hits or misses by which side reads, which no model here knows. So what
reads there is played again with the hit curve moved so that its plateau ends at either end of the knee, over the text's
first tokens. A run that reads next to nothing there keeps its time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .hardware import L2, MOST_REUSE
from .metrics import gain, per_token_us
from .scenario import Resolved, play
from .timeline import Timeline
from .trace import limited

if TYPE_CHECKING:
    from .result import Answer

MOST_TOKENS = 1000
LEAST_SHARE = 0.02
"""Share of bytes read in the knee from which an answer shows both ends."""


def knee(result: Answer) -> dict[str, Any] | None:
    """The share of bytes that are read there, and gain and time at each end; None where it does not matter."""
    both = [result.runs[key] for key in (result.key, result.plain_key)]
    share = max(_share(line) for _, line in result.runs.values())
    edges = result.resolved.gpu.value.l2.knee
    if edges is None or max(_share(line) for _, line in both) < LEAST_SHARE:
        return None
    ends: dict[str, Any] = {"share": share}
    for name, edge in zip(("early", "late"), edges, strict=True):
        lines = [_at(side, line, edge) for side, line in both]
        gained = gain(*lines)
        ends[name] = {"plateau": edge, "speedup": gained["speedup"], "hbm_bytes_ratio": gained["hbm_bytes_ratio"],
                      "time_per_token_us": per_token_us(lines[0])}
    return ends


def _at(side: Resolved, line: Timeline, edge: float) -> Timeline:
    """A side's run over the first tokens, its plateau ending at this edge where that matters."""
    first = limited(side.trace, MOST_TOKENS)
    if _share(line) < LEAST_SHARE:
        if len(first.sequences) == len(side.trace.sequences):
            return line
        gpu = side.gpu
    else:
        gpu = replace(side.gpu, value=replace(side.gpu.value, l2=_moved(side.gpu.value.l2, edge)))
    return play(replace(side, gpu=gpu, trace=first, scenario=replace(side.scenario, record="summary")))


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
