"""`validate predict`: what the campaign's tables will say, written down before they are measured.

Every point that the harness measures is predicted as it is measured: a pass again and again with nobody deciding, a
whole decode under its control, a linear layer on cold weights. Each prediction has its parts (host, launch, device),
a 90 % interval from the stack's ranges, the roofline's answer, and the closed-form bytes that null models need.

    rung      resource (one hardware number) < kernel < pass < schedule; calibration reads the first two only
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from speedsim.catalog import load_gpu, load_plan, load_stack
from speedsim.files import to_json, write_text
from speedsim.hardware import Gpu
from speedsim.model import Model
from speedsim.one_kernel import Bench, Linear
from speedsim.one_pass import Machinery, PassTime, pass_time, pipeline_rows
from speedsim.parsing import Parser
from speedsim.program import Schedule
from speedsim.reading.provenance import did_you_mean
from speedsim.scenario import Scenario, play, resolve
from speedsim.stack import Stack
from speedsim.trace import Sequence as Sequence_
from speedsim.trace import Trace
from speedsim.units import InputError, NotCoveredError

from ..refusal import RefusedError

SCHEMA = "speedsim-predictions/1"
FOLDER = Path(__file__).resolve().parents[1] / "predictions"
RUNGS = {"turnaround": "resource", "node_gaps": "resource", "linear": "kernel", "rotation": "kernel",
         "passes": "pass", "sharing": "pass", "decodes": "schedule", "choices": "schedule"}
"""The tables that are predicted, each with its rung."""


class Subject(NamedTuple):
    """What the predictions are of."""

    gpu: Gpu
    stack: Stack
    cuda: bool
    """Whether it is a GPU: on a processor the harness measures scaled shapes in fp32, without graphs."""
    quick: bool = False
    trace: Path | None = None
    kept: dict[Any, Any] = {}  # noqa: RUF012 - the harness's Bench has one; predictions keep nothing in it

    @property
    def seed(self) -> int:
        """The harness's seed for random traces."""
        return 0


class Told(NamedTuple):
    """A predicted time."""

    us: float
    host_us: float
    launch_us: float
    device_us: float
    bytes: float
    """Unique bytes that it reads, for null models."""


Point = Mapping[str, Any]
Predictor = Callable[[Subject, Point, str], Told]


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim validate predict", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("design", metavar="TABLE[,TABLE]|all", help=f"tables of the campaign: {', '.join(RUNGS)}")
    add("--gpu", default="h200_sxm", metavar="NAME")
    add("--stack", default="torch_graph", metavar="NAME")
    add("--quick", action="store_true", help="the points of `campaign --quick`")
    add("--out", type=Path, metavar="FILE", help="default: validate/predictions/<gpu>.json in a clone")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    document = predictions(given.design, given.gpu, given.stack, given.quick)
    target = given.out or FOLDER / f"{given.gpu}.json"
    if given.out is None and not FOLDER.parent.joinpath("campaign.md").is_file():
        raise InputError("--out FILE: an installed package is not written to")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text(document))
    counts = {rung: sum(row["rung"] == rung for row in document["rows"]) for rung in dict.fromkeys(RUNGS.values())}
    told = ", ".join(f"{count} {rung}" for rung, count in counts.items() if count)
    print(f"{target}: {len(document['rows'])} predictions ({told})")
    return 0


def predictions(design: str, gpu: str, stack: str, quick: bool = False) -> dict[str, Any]:
    """Every point of the design's tables, predicted in both tiers."""
    wanted = tuple(RUNGS) if design == "all" else tuple(design.split(","))
    for name in wanted:
        if name not in RUNGS:
            raise InputError(f"{name!r}: no table that is predicted{did_you_mean(name, RUNGS)}; "
                             f"there are {', '.join(RUNGS)}, or all")
    on, with_ = load_gpu(gpu), load_stack(stack)
    subject = Subject(on.value, with_.value, on.value.generation != "cpu", quick)
    rows = [row for name in wanted for row in _table(subject, name)]
    return {
        "schema": SCHEMA, "design": design, "quick": quick, "tier": "fluid",
        "gpu": {"name": on.value.name, "hash": on.digest}, "stack": {"name": with_.value.name, "hash": with_.digest},
        "fitted_on": sorted({fit["table"] for one in (on, with_) for fit in (one.fit or {}).values()}),
        "rows": rows,
    }


def text(document: Mapping[str, Any]) -> str:
    """The document with one prediction a line, so that a diff shows what changed."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in document["rows"])
    head = to_json({key: value for key, value in document.items() if key != "rows"}).rstrip().removesuffix("}").rstrip()
    return f"{head},\n\"rows\": [\n{rows}\n]}}\n"


def _table(subject: Subject, name: str) -> Iterable[dict[str, Any]]:
    """The predictions of one table."""
    experiment = _experiment(name)
    for point in experiment.points(subject):
        keys = {key: point[key] for key in experiment.keys}
        try:
            fluid, roofline = (predict_point(subject, name, point, tier) for tier in ("fluid", "roofline"))
        except NotCoveredError:
            continue
        low, high = interval(fluid, subject.stack)
        yield {
            "table": name, "rung": RUNGS[name], "keys": keys, "regime": point.get("regime", name),
            "held_out": bool(point.get("held_out", RUNGS[name] in ("pass", "schedule"))), "basis": "assumed",
            **{key: round(value, 4) for key, value in {
                "us": fluid.us, "low_us": low, "high_us": high, "host_us": fluid.host_us,
                "launch_us": fluid.launch_us, "device_us": fluid.device_us, "roofline_us": roofline.us,
                "bytes": fluid.bytes}.items()},
        }


def predict_point(subject: Subject, table: str, keys: Point, tier: str) -> Told:
    """One point of a table. Raises NotCoveredError where nothing is known of it."""
    return PREDICTORS[table](subject, keys, tier)


def _experiment(name: str) -> Any:
    """The harness's own list of points: the same objects that are measured."""
    try:
        from ..campaign import PARTS
    except ImportError as missing:
        raise NotCoveredError(f"{missing.name} is missing: the campaign's points need the extra `validate`") from None
    return {e.name: e for part in PARTS.values() for e in part}[name]


def interval(told: Told, stack: Stack) -> tuple[float, float]:
    """90 % interval: the extremes over the corners of the stack's ranges for host, launch and device."""
    ranges = stack.uncertainty
    corners = itertools.product(ranges.host, ranges.launch, ranges.device["fluid"])
    times = [h * told.host_us + n * told.launch_us + d * told.device_us for h, n, d in corners]
    return min(times), max(times)


def _turnaround(subject: Subject, point: Point, tier: str) -> Told:
    us = subject.stack.host.turnaround_ps / 1e6
    return Told(us, us, 0.0, 0.0, 4.0 * point["rows"])


def _node_gap(subject: Subject, point: Point, tier: str) -> Told:
    """One node of a chain of kernels that do next to nothing."""
    launch, host = subject.gpu.launch, subject.stack.host
    gaps = {"graph": launch.node_gap_ps, "graph+pdl": launch.pdl_gap_ps, "persistent": launch.barrier_ps,
            "stream": max(launch.stream_gap_ps, host.enqueue_ps), "eager": max(launch.stream_gap_ps, host.dispatch_ps)}
    gap = gaps.get(point["mode"])
    if gap is None:
        raise NotCoveredError(f"launch {point['mode']}: no figure")
    ours = gap / 1e6
    by_host = point["mode"] in ("stream", "eager") and gap > launch.stream_gap_ps
    return Told(ours, ours if by_host else 0.0, 0.0 if by_host else ours, 0.0, 512.0 * point["blocks"])


def _linear(subject: Subject, point: Point, tier: str) -> Told:
    size = 2 if subject.cuda else 4
    n, k = point["n"], point["k"]
    buffers = max(2, min(64, 400_000_000 // (n * k * size))) if subject.cuda else 2
    return _layer(subject, Linear(point["rows"], n, k, _dtype(subject)), buffers, tier)


def _rotation(subject: Subject, point: Point, tier: str) -> Told:
    k, size = 1024, 2 if subject.cuda else 4
    n = point["total_mb"] * 1_000_000 // (6 * k * size) // 8 * 8
    return _layer(subject, Linear(point["rows"], n, k, _dtype(subject)), 6, tier)


def _layer(subject: Subject, layer: Linear, buffers: int, tier: str) -> Told:
    """A layer in a graph as `kernel` predicts it; on a processor every call is the framework's."""
    told = Bench(subject.gpu, subject.stack, tier).predict(layer, buffers)
    launch = told.parts_ps.get("launch", 0) / 1e6
    device = told.time_ps / 1e6 - launch
    host = 0.0 if subject.cuda else max(0.0, subject.stack.host.dispatch_ps / 1e6 - device)
    return Told(host + launch + device, host, launch, device, float(layer.bytes))


def _dtype(subject: Subject) -> str:
    return "bf16" if subject.cuda else "fp32"


def _pass(subject: Subject, point: Point, tier: str) -> Told:
    from ..campaign.cases import model_for

    model = _in(model_for(subject, point["model"]), point["dtype"] if subject.cuda else "fp32")
    rows = pipeline_rows(point["rows"], point["context"], model.repetitions)
    return _of_pass(model, pass_time(machinery(subject, point["launch"], tier), model, rows, point["heads"]),
                    point["heads"], sum(point["context"] for _ in rows))


def _sharing(subject: Subject, point: Point, tier: str) -> Told:
    from ..campaign.cases import model_for
    from ..campaign.sharing import LAYERS

    unique = point["unique_layers"]
    model = replace(model_for(subject, "speed_2x6"), group_layers=unique, repetitions=LAYERS // unique)
    model = _in(model, _dtype(subject))
    rows = pipeline_rows(point["rows"], 64, model.repetitions, one_depth=True)
    told = pass_time(machinery(subject, "graph", tier), model, rows, point["heads"], model.repetitions)
    return _of_pass(model, told, point["heads"], 64 * len(rows) * model.repetitions)


def _of_pass(model: Model, found: PassTime, heads: int, keys: int) -> Told:
    size = model.group_bytes + (model.head_bytes if heads else 0) + keys * model.group_layers * model.kv_bytes
    return _divided(found.time_ps, found.bound_ps, float(size))


def _divided(time_ps: int, bound_ps: Mapping[str, int], size: float) -> Told:
    host, launch = (bound_ps["host"] + bound_ps["wait"]) / 1e6, bound_ps["launch"] / 1e6
    return Told(time_ps / 1e6, host, launch, sum(bound_ps.values()) / 1e6 - host - launch, size)


def machinery(subject: Subject, launch: str, tier: str, plan: str = "auto") -> Machinery:
    """What the harness runs a pass with: its own choice of plan, and no graphs on a processor."""
    ran = launch if subject.cuda else "eager"
    chosen = plan if plan != "auto" else "graph_fused" if ran == "graph" else "eager"
    return Machinery(subject.gpu, subject.stack, load_plan(chosen).value, ran, tier)


def _in(model: Model, dtype: str) -> Model:
    """The model in one data type, without what the reference decoder leaves out."""
    return replace(model, dtype=replace(model.dtype, weights=dtype, kv=dtype, activations=dtype),
                   prelude=0, coda=0, adapter=False, tied=True)


def _decode(subject: Subject, point: Point, tier: str) -> Told:
    """A replayed decode: the same text, prompt and control as the harness plays."""
    from ..campaign.cases import model_for
    from ..campaign.decodes import PROMPT, SCHEDULES, facts_for, tokens_of

    if point["source"] != "replay" or point["step"] == "compiled":
        raise NotCoveredError("what random weights accept is not predicted")
    model = _in(model_for(subject, point["model"]), _dtype(subject))
    facts, _ = facts_for(subject, model, tokens_of(subject, point["launch"]))
    assert facts.first == PROMPT
    return _played(subject, model, SCHEDULES[point["schedule"]], facts,
                   machinery(subject, point["launch"], tier, point["plan"]), point["control"])


def _choice(subject: Subject, point: Point, tier: str) -> Told:
    """A decode under one value of a setting."""
    from ..campaign.cases import model_for
    from ..campaign.choices import facts, options

    model = _in(model_for(subject, point["model"]), _dtype(subject))
    schedule = options(point["setting"], model.repetitions)[point["option"]]
    return _played(subject, model, schedule, facts(subject, point, model.repetitions),
                   machinery(subject, "graph", tier), "host")


def _played(subject: Subject, model: Model, schedule: Schedule, facts: Sequence_, on: Machinery, control: str) -> Told:
    """A decode on the simulated machine."""
    # The names only satisfy the door; model, plan, schedule and text are put in place behind it.
    known = resolve(Scenario(gpu=subject.gpu.name, stack=subject.stack.name, model="speed_2x6", tokens=1, tier=on.tier,
                             launch=on.launch, control=control, record="summary", sets=_types(model)))
    line = play(replace(known, model=replace(known.model, value=model), plan=replace(known.plan, value=on.plan),
                        schedule=schedule, trace=Trace("campaign", model.name, model.repetitions, {}, (facts,))))
    keys = (facts.first + facts.count // 2) * model.group_layers * model.repetitions * model.kv_bytes
    size = line.counters.passes * (model.group_bytes + model.head_bytes) + facts.count * keys
    return _divided(line.decode_ps, line.bound_ps, float(size))


def _types(model: Model) -> tuple[tuple[str, str], ...]:
    return tuple((f"model.dtype.{part}", getattr(model.dtype, part)) for part in ("weights", "kv", "activations"))


PREDICTORS: dict[str, Predictor] = {
    "turnaround": _turnaround, "node_gaps": _node_gap, "linear": _linear, "rotation": _rotation, "passes": _pass,
    "sharing": _sharing, "decodes": _decode, "choices": _choice,
}


def read(path: Path) -> dict[str, Any]:
    """A file of predictions; refused, in one line, where it is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA or not document["rows"]:
            raise KeyError("schema")
    except OSError as error:
        raise RefusedError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RefusedError(f"{path}: no {SCHEMA} document") from None
    return document
