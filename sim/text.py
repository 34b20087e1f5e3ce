"""The text of a scenario: which trace is replayed, as long as asked, and what is said of its proposers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .catalog import traces_of
from .registry import is_path
from .trace import Trace, limited, shifted, synthetic_from
from .traces.acceptance import Acceptance, Described, Facts
from .traces.steps import Recorded
from .units import InputError

if TYPE_CHECKING:
    from .model import Model
    from .scenario import Scenario
    from .shelf import Shelf

DEFAULT_TOKENS = 1000
DESCRIBED_TOKENS = 256
"""Tokens of a sequence of which only the acceptance is described."""


def text_of(scenario: Scenario, model: Model, shelf: Shelf) -> tuple[Trace, tuple[str, ...]]:
    """The text to replay, as long as asked, and what must be said about it."""
    notes: list[str] = []
    tokens = scenario.tokens
    if scenario.synth is not None:
        trace = synthetic_from(scenario.synth, model.repetitions)
        how = "flips are independent, which real text is not" if not trace.source.get("burst") else "flips in bursts"
        notes.append("the trace is synthetic" + (f": {how}" if "flips" in trace.source else ""))
    elif scenario.trace is None and model.repetitions == 1 and scenario.acceptance is not None:
        trace = synthetic_from(f"count={DESCRIBED_TOKENS},sequences={max(4, scenario.batch)}", 1)
    else:
        asked = model.default_trace if scenario.trace is None else scenario.trace
        if asked is None:
            raise InputError(f"--trace: {model.name} names no trace of its own; {_fitting(model.repetitions)}")
        trace = shelf.trace(asked)
        if tokens is None and not is_path(asked):
            tokens = DEFAULT_TOKENS
        if trace.repetitions != model.repetitions:
            raise InputError(f"{trace.name}: the trace has {trace.repetitions} repetitions, {model.name} has "
                             f"{model.repetitions}; {_fitting(model.repetitions)}")
        if trace.steps is not None:
            notes.append(f"the trace is a log of steps of {trace.steps.draft_tokens} proposed tokens "
                         f"({trace.source.get('from', trace.source.get('kind'))}, order {trace.source.get('order')}): "
                         "shorter proposals are cut out of it, on the low side, longer ones are "
                         + ("imputed" if scenario.impute else "refused"))
        if trace.model != model.name:
            notes.append(f"the trace is transferred: it was recorded from {trace.model}, not from {model.name}")
    if tokens is not None:
        trace = limited(trace, tokens)
    if scenario.prompt is not None:
        trace = shifted(trace, scenario.prompt)
    if not model.cross_attention and any(s.source_tokens for s in trace.sequences):
        raise InputError(f"{trace.name}: source_tokens need a model with cross-attention; {model.name} has none")
    return trace, tuple(notes)


def _fitting(repetitions: int) -> str:
    """The shipped traces that a model of so many repetitions can play, in words."""
    fitting = traces_of(repetitions)
    synth = "flips=..." if repetitions > 1 else "count=1000"
    return f"fitting traces: {', '.join(fitting)}" if fitting else f"give --trace FILE or --synth {synth}"


def facts_of(scenario: Scenario, trace: Trace, shelf: Shelf) -> Facts | None:
    """What is described of proposers, or what a log of their steps recorded; None where nothing is."""
    if trace.steps is not None:
        if scenario.acceptance is not None:
            raise InputError(f"--acceptance: {trace.name} is a log of steps, which says what was accepted")
        return Recorded(trace.steps, scenario.impute, scenario.seed, scenario.prompt)
    given: dict[str, Acceptance] = {}
    for item in filter(None, (scenario.acceptance or "").split(";")):
        who, equals, what = item.rpartition("=")
        if equals and not who.strip():
            raise InputError(f"--acceptance {item}: write P,P,... or WHO=P,P,...")
        if who in given:
            raise InputError(f"--acceptance {item}: {who or 'everyone'}: given twice")
        try:
            rate = Acceptance.parse(what.strip())
        except ValueError as error:
            raise InputError(f"--acceptance {item}: {error}") from None
        given[who] = rate or shelf.acceptance(what.strip()).value
    return Described(given, scenario.seed) if given else None
