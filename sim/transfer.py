"""How far a gain hangs on whose text it was: the range over all shipped traces of the same number of repetitions.

A trace that was recorded from another model (another shape, vocabulary or corpus) tells how such a model settles, not
how this one does. So the run and its plain rival are played again on the first tokens of every shipped trace that fits,
each behind the same prompt; those of decoders that are marked weak are left out. The range says what the choice of a
trace is worth; it is no interval of the true gain.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .catalog import load_trace, traces_of
from .metrics import speedup
from .scenario import Resolved, plainly, play
from .trace import Trace, limited, shifted

if TYPE_CHECKING:
    from .result import Answer

MOST_TOKENS = 256
"""Of each trace; whole sequences."""


def is_transferred(side: Resolved) -> bool:
    """Whether the run's text was recorded from another model."""
    trace = side.trace
    return trace.steps is None and trace.source.get("kind") == "recorded" and trace.model != side.model.value.name


def transfer(result: Answer) -> dict[str, Any] | None:
    """The gain on every fitting trace and its range; None where the trace is the model's own, or alone."""
    mine = result.resolved
    names = traces_of(mine.model.value.repetitions) if is_transferred(mine) else []
    if len(names) < 2:
        return None
    gains = {trace.name: _gain(mine, trace) for trace in map(load_trace, names)
             if trace.source.get("quality") != "weak"}
    told = [gain for gain in gains.values() if gain is not None]
    return {"traces": gains, "low": min(told), "high": max(told)} if told else None


def _gain(mine: Resolved, trace: Trace) -> float | None:
    """The gain on the trace's first tokens."""
    text = shifted(limited(trace, MOST_TOKENS), mine.trace.sequences[0].first)
    if not mine.model.value.cross_attention:
        text = replace(text, sequences=tuple(replace(s, source_tokens=0) for s in text.sequences), digest="")
    side = replace(mine, trace=text, scenario=replace(mine.scenario, record="summary"))
    return speedup(play(side), play(plainly(side)))
