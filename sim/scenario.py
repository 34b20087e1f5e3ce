"""A scenario: names and numbers that say a run completely; and the run itself, a pure function of it.

`resolve` turns names into descriptions, `play` puts a schedule, an oracle and a machine together. The same scenario
gives the same timeline on every machine: no clock, no globals, randomness only from the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .batch import in_lock_step
from .changes import by_owner, with_own
from .further import Further, computable, further_of
from .oracle import TraceOracle
from .program import Ids, Program, Schedule, Text, watched
from .reading.document import one_line
from .sampling import Sampling
from .schedule_names import schedule_named, with_drafter
from .shelf import Shelf
from .stack import LAUNCHES, POLICIES, TENSORS, Control
from .text import facts_of, text_of
from .timeline import RECORDS, Timeline
from .trace import Trace, lengths_only
from .units import InputError, NotCoveredError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .config import Loaded
    from .hardware import Gpu
    from .machine.setting import Setting
    from .machine.tally import Tally
    from .model import Model
    from .plan import Plan
    from .stack import Stack
    from .traces.acceptance import Facts

TIERS = ("roofline", "fluid", "cycle")
MOST_BATCH = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """What to run. Every field has the default of the command line."""

    gpu: str = "h200_sxm"
    stack: str = "torch_graph"
    model: str = "speed_2x6"
    trace: str | None = None
    """Name or file; None: the model's default."""
    synth: str | None = None
    """A synthetic trace instead: `flips=0.15+0.06,count=1000,sequences=4,first=64,seed=0`."""
    acceptance: str | None = None
    """How often proposed tokens are right, where the text does not say it: `0.8`, `0.8,0.65,0.5` (level by level),
    `length:2.8` or a name of workloads/acceptance; for everyone, or proposer by proposer: `draft=0.8;heads=0.5`."""
    seed: int = 0
    """Of described acceptance."""
    impute: bool = False
    """Whether a log of steps is continued beyond the proposals that it logged."""
    sampling: str | None = None
    """`temperature=0.8,top_k=50,top_p=0.9`; None: greedy. It does not change the text or the acceptance given."""
    schedule: str = "speed"
    batch: int = 1
    tokens: int | None = None
    """Whole sequences in file order until so many tokens; None: all of a file or a synthetic trace, 1,000 of a name."""
    prompt: int | None = None
    """Position of the first row, instead of the trace's."""
    tier: str = "fluid"
    """How finely the device is simulated: roofline (what cannot be beaten), fluid, or cycle (line by line)."""
    exact: bool = False
    """On the cycle tier: simulate every kernel, rather than a few of each class."""
    control: str | None = None
    launch: str | None = None
    """None: the stack's."""
    rival_control: str | None = None
    """None: the schedule's."""
    l2: str | None = None
    """L2 policies, such as `keep=group,stream=head`; None: the stack's."""
    record: str = "passes"
    sets: tuple[tuple[str, str], ...] = ()
    """Changed numbers, (key, value) as text: `hbm.bandwidth`, `stack.host.turnaround`, `model.ffn`, `run.batch`."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A scenario with its names looked up."""

    scenario: Scenario
    gpu: Loaded[Gpu]
    stack: Loaded[Stack]
    model: Loaded[Model]
    plan: Loaded[Plan]
    """Greedy, as its file says; `drawn` is what runs."""
    trace: Trace
    schedule: Schedule
    schedule_name: str
    """Canonical."""
    control: Control
    launch: str
    notes: tuple[str, ...] = field(default=())
    further: Mapping[str, Further] = field(default_factory=dict)
    """Models beside the target, by their name in Pass.model."""
    facts: Facts | None = None
    """What proposers said that are no exits."""

    def drawn(self, rejecting: bool = False) -> Plan:
        """The plan with the kernels that draw a token, and those that reject proposals. NotCoveredError."""
        if self.scenario.sampling is None:
            return self.plan.value
        sampling = Sampling.parse(self.scenario.sampling)
        try:
            return self.plan.value.sampled(sampling.truncated, rejecting)
        except ValueError as error:
            raise NotCoveredError(f"--sampling: {error}") from None


def run(scenario: Scenario) -> Timeline:
    """Play the scenario's schedule and return what happened when.

    Raises InputError for what the reader got wrong, NotCoveredError for what no data covers.
    """
    return play(resolve(scenario))


def resolve(scenario: Scenario, shelf: Shelf | None = None) -> Resolved:
    """Look every name up, on the shelf first, and check that the parts fit each other."""
    shelf = shelf or Shelf()
    keys = by_owner(scenario.sets)
    scenario = with_own(scenario, keys["run"])
    _check(scenario)
    gpu = shelf.gpu(scenario.gpu, keys["gpu"])
    stack = shelf.stack(scenario.stack, keys["stack"] + _policies(scenario.l2))
    model = shelf.model(scenario.model, keys["model"])
    plan = shelf.plan(stack.value.plan)
    model, notes = computable(model, gpu.value)
    schedule, name = schedule_named(with_drafter(scenario.schedule, model.value.drafters), keys["schedule"])
    control = _control("--control", stack.value.control if scenario.control is None else scenario.control)
    if scenario.rival_control is not None:
        _control("--rival-control", scenario.rival_control)
    trace, said = text_of(scenario, model.value, shelf)
    _fits(schedule, name, control, model.value, scenario.sampling)
    further, told = further_of(schedule.needs(), model, gpu.value, stack.value, shelf)
    return Resolved(scenario, gpu, stack, model, plan, trace, schedule, name, control,
                    scenario.launch or stack.value.launch, notes + told + said + _asked(scenario, trace, gpu.value),
                    further, facts_of(scenario, trace, shelf))


def _asked(scenario: Scenario, trace: Trace, gpu: Gpu) -> tuple[str, ...]:
    """What a reader must know of the question: changed numbers, and a batch that the text cannot fill."""
    changed = ", ".join(f"{key}={value}" for key, value in scenario.sets)
    notes = [one_line(f"what if: {changed}")] if changed else []
    if scenario.batch > (most := len(trace.sequences)):
        notes.append(f"batch {scenario.batch}: the text has {most} sequence{'s' if most > 1 else ''}; "
                     "no more are decoded at a time")
    if scenario.tier == "cycle":
        notes.append("tier cycle: kernels of several streams run one after the other")
        from .catalog import load_dram

        notes += load_dram(gpu.hbm.timing).value.warnings if gpu.hbm.timing is not None else ()
    return tuple(notes)


def plainly(resolved: Resolved, model: Loaded[Model] | None = None) -> Resolved:
    """The same run decoded token by token, by the same model or by another of which only the lengths are known."""
    schedule, name = schedule_named("autoregressive", ())
    asked = resolved.scenario.rival_control
    control = resolved.control if asked is None else _control("--rival-control", asked)
    rival = replace(resolved, schedule=schedule, schedule_name=name, control=control, further={})
    return rival if model is None else replace(rival, model=model, trace=lengths_only(resolved.trace))


def sides(mine: Resolved, shelf: Shelf | None = None) -> dict[str, Resolved]:
    """The run under its canonical name, and its rivals as autoregressive@MODEL.

    They are decoded plainly: the same model, the unshared model of the same depth, and that of the group's size.
    """
    shelf, model = shelf or Shelf(), mine.model.value
    sizes = () if model.repetitions == 1 else (model.layers, model.prelude + model.group_layers + model.coda)
    rivals = [plainly(mine, rival) for rival in (None, *(shelf.unshared(mine.model, layers) for layers in sizes))]
    return {mine.schedule_name: mine} | {f"autoregressive@{side.model.value.name}": side for side in rivals}


def play(resolved: Resolved) -> Timeline:
    """Put the oracle, the schedule and the machine together and run them."""
    from .machine.build import prefill_ps, sim_machine

    gpu, stack, plan = resolved.gpu.value, resolved.stack.value, resolved.drawn(resolved.schedule.needs().rejects)
    model, scenario = resolved.model.value, resolved.scenario
    machine = sim_machine(gpu, stack, model, plan, _setting(resolved), scenario.record, scenario.tier,
                          exact=scenario.exact)
    line = machine.play(program_of(resolved))
    ahead = {s.id: (s.first, s.source_tokens) for s in resolved.trace.sequences}
    takers = [model, *(further.model.value for further in resolved.further.values() if not further.shares)]
    time = {each: sum(prefill_ps(gpu, stack, taker, plan, resolved.launch, scenario.tier, *each) for taker in takers)
            for each in set(ahead.values())}
    for decode in line.decodes:
        decode.prefill_ps = time[ahead[decode.sequence]]
    return line


def tallied(resolved: Resolved, cut_for: Gpu | None = None) -> Tally:
    """What a run is made of, without its times; `cut_for`: the GPU for which its libraries chose tiles and splits.

    Raises NotCoveredError where its time is no sum of its parts.
    """
    from .machine.build import tally_of

    return tally_of(resolved.gpu.value, resolved.stack.value, resolved.model.value,
                    resolved.drawn(resolved.schedule.needs().rejects),
                    _setting(resolved), resolved.scenario.tier, program_of(resolved),
                    sorted({s.first for s in resolved.trace.sequences}), cut_for)


def _setting(resolved: Resolved) -> Setting:
    """How the machine is driven."""
    from .machine.setting import Setting

    stack, model, schedule = resolved.stack.value, resolved.model.value, resolved.schedule
    fixed = None if resolved.control.where == "host" else schedule.slots(model.repetitions)
    source = max((s.source_tokens for s in resolved.trace.sequences), default=0)
    needs = schedule.needs()
    return Setting(stack, resolved.control, resolved.launch, fixed, schedule.reads(model.repetitions),
                   resolved.scenario.batch, source, needs.concurrent or needs.devices > 1,
                   needs.devices,
                   {name: (further.model.value, resolved.drawn()) for name, further in resolved.further.items()},
                   frozenset(name for name, further in resolved.further.items() if further.shares))


def program_of(resolved: Resolved) -> Program:
    """The program of all sequences, in the batch's lock step, with the oracle watching."""
    sequences = {s.id: s for s in resolved.trace.sequences}
    oracle = TraceOracle(sequences, resolved.facts)
    ids = Ids()
    repetitions = resolved.model.value.repetitions
    each = (
        (s.id, resolved.schedule.program(oracle, Text(s.id, s.first, s.count if s.end == "length" else None,
                                                      repetitions), ids))
        for s in sequences.values()
    )
    return watched(in_lock_step(each, resolved.scenario.batch, ids), oracle)


def _check(scenario: Scenario) -> None:
    """Refuse numbers and words that no run can have."""
    for name, least, most in (("batch", 1, MOST_BATCH), ("tokens", 1, 2**31 - 1), ("prompt", 0, 2**31 - 1)):
        value = getattr(scenario, name)
        if value is not None and not least <= value <= most:
            raise InputError(f"--{name} {value}: {name}: must be {least} or more, and at most {most}")
    for name, known in (("tier", TIERS), ("record", RECORDS)):
        value = getattr(scenario, name)
        if value not in known:
            raise InputError(f"--{name} {value}: {name}: must be one of {', '.join(known)}")
    if scenario.exact and scenario.tier != "cycle":
        raise InputError(f"--exact: only the tier cycle samples kernels, not {scenario.tier}")
    if scenario.sampling is not None:
        Sampling.parse(scenario.sampling)
    if not 0 <= scenario.seed < 2**63:
        raise InputError(f"--seed {scenario.seed}: seed: a whole number from 0 on is expected")
    if scenario.launch is not None and scenario.launch not in LAUNCHES:
        raise InputError(f"--launch {scenario.launch}: launch: must be one of {', '.join(LAUNCHES)}")
    if scenario.trace is not None and scenario.synth is not None:
        raise InputError("--trace and --synth: give one of them")


def _policies(text: str | None) -> tuple[tuple[str, str], ...]:
    """`keep=group,stream=head` as changes of the stack's l2_policy."""
    changes = []
    for pair in (text or "").split(",") if text else ():
        policy, equals, tensors = pair.partition("=")
        if not equals or policy not in POLICIES:
            raise InputError(f"--l2 {text}: {policy!r} is none of {', '.join(POLICIES)}; write keep=group,stream=head")
        for tensor in tensors.split("+"):
            if tensor not in TENSORS:
                raise InputError(f"--l2 {text}: {tensor!r} is none of {', '.join(TENSORS)}")
            changes.append((f"l2_policy.{tensor}", policy))
    return tuple(changes)


def _control(option: str, text: str) -> Control:
    try:
        return Control.parse(text)
    except ValueError as error:
        raise InputError(f"{option} {text}: {error}") from None


def _fits(schedule: Schedule, name: str, control: Control, model: Model, sampling: str | None = None) -> None:
    """Refuse a schedule whose options the model does not have, or a control it has no form for."""
    try:
        schedule.reads(model.repetitions)
        needs = schedule.needs()
    except ValueError as error:
        raise InputError(f"--schedule {name}: {error} ({model.name})") from None
    if sampling is not None and not needs.sampled:
        raise InputError(f"--sampling {sampling}: schedule {name} is greedy only")
    if control.where != "host" and schedule.slots(model.repetitions) is None:
        raise InputError(f"--control {control}: schedule {name} has no device form")
