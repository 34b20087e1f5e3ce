"""`validate serving`: time per output token of a server under steady load, against published measurements.

C requests are served at a time, each of `isl` prompt tokens and `osl` answers; one that ends is followed by the next.
While a request is answered, each of the C - 1 others begins once, and its prompt stalls the step that takes it in:

    time per output token = step + (C - 1) / (osl - 1) * stall
    stall = prompt, where prompts are taken in apart
            prompt + the decoders' attention - step, where they ride along in one pass (weights are read once)

step is a decode pass of C rows at the mean context isl + osl / 2, prompt the whole prompt on an empty cache, both by
`speedsim run`'s own path (speedsim.scenario); the decoders' attention is what a step takes beyond one of no context.
Nothing is fitted on these rows: kernels have the numbers fitted on kernel tables (hw_configs/fitted), vLLM's where the
framework has none of its own.
Ignored: queueing where keys and values outgrow the memory (such rows are not scored), prefix caches, routing, HTTP.
Source of the rows: silicon_sample.csv of aiconfigurator-core, dense models on one GPU.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from speedsim.catalog import load_gpu, load_model
from speedsim.files import to_json, write_text
from speedsim.parsing import Parser
from speedsim.reading import document
from speedsim.registry import names, normal
from speedsim.scenario import Scenario, run
from speedsim.units import InputError, NotCoveredError

from .silicon_tables import EXTRA, PACKAGE, RELEASE, folder, release

SCHEMA = "speedsim-serving/1"
FILE = "silicon_sample.csv"
SPEC = Path(__file__).with_suffix(".yaml")
STACKS = {"vllm": "vllm_0_24", "trtllm": "trtllm_1_3", "sglang": "sglang_0_5"}
MOST = 64
"""Most requests at a time."""
STEPS = 3
"""Decode steps whose mean counts."""
_TYPES = {"": "bf16", "bf16": "bf16", "fp8": "fp8"}
"""Types whose kernels have a model, by the file's word for them."""


class Row(NamedTuple):
    """One published measurement."""

    id: str
    path: str
    gpu: str
    framework: str
    dtype: str
    isl: int
    osl: int
    requests: int
    tpot_ms: float


class Served(NamedTuple):
    """A row as a scenario."""

    model: str
    kv: str
    length: float
    mixed: bool


class Told(NamedTuple):
    """What a row is predicted to take, milliseconds."""

    row: Row
    tpot_ms: float
    step_ms: float
    prompt_ms: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    add = parser.add_argument
    add("--gpu", default="all", metavar="all|NAME", help="a GPU, or every one that has rows (default)")
    add("--tier", default="fluid", choices=("roofline", "fluid"), help="how finely the device is simulated")
    add("--unfitted", action="store_true", help="descriptions as they are, each framework's own")
    add("--data", metavar="FILE", help=f"a copy of {FILE} instead of the installed package's")
    add("--csv", metavar="FILE", help="write every row, measured and predicted")
    add("--json", metavar="FILE|-", help="write the scores as JSON; - is standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate serving", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options = parser.parse_args(arguments)
    told, skipped = judge(options.gpu, options.tier, not options.unfitted, options.data)
    found = scored(told, skipped, options.tier, options.data)
    if options.csv is not None:
        write_text(options.csv, _csv(told))
    if options.json == "-":
        print(to_json(found))
        return 0
    if options.json is not None:
        write_text(options.json, to_json(found) + "\n")
    print(text(found))
    return 0


def judge(gpu: str, tier: str, fitted: bool, data: str | None) -> tuple[list[Told], dict[str, int]]:
    """(predictions of the rows that are covered, how many are not by the reason)."""
    wanted = None if gpu == "all" else load_gpu(gpu).value.name
    told, skipped = covered([row for row in rows(data) if wanted in (None, row.gpu)], tier, fitted)
    if not told:
        raise NotCoveredError(f"{gpu}: no dense single-GPU row of {FILE} is for it")
    return told, skipped


def covered(chosen: Sequence[Row], tier: str, fitted: bool) -> tuple[list[Told], dict[str, int]]:
    """(predictions of those rows that are covered, how many are not by the reason)."""
    told: list[Told] = []
    skipped: dict[str, int] = {}
    for row in chosen:
        try:
            told.append(predict(row, tier, fitted))
        except NotCoveredError as reason:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
    return told, skipped


def rows(data: str | None = None) -> list[Row]:
    """The dense single-GPU rows with at most 64 requests at a time, in the file's order."""
    path = Path(data) if data is not None else folder(None).parent / FILE
    if not path.is_file():
        raise NotCoveredError(f"{path}: no {FILE}; {EXTRA} installs {PACKAGE}=={RELEASE}, which has it")
    known = {entry["model"] for entry in _spec()["rows"]}
    with path.open(newline="") as lines:
        return [_row(line) for line in csv.DictReader(lines) if line["model_path"] in known and line["mode"] == "agg"
                and _number(line["tp_size"]) == _number(line["pp_size"]) == 1
                and 1 <= _number(line["batch_size"]) <= MOST]


def _number(told: str) -> float:
    return float(told or 0)


def _row(line: dict[str, str]) -> Row:
    try:
        return Row(line["id"], line["model_path"], line["system"], line["backend"], line["precision"],
                   int(line["isl"]), int(line["osl"]), int(_number(line["batch_size"])),
                   float(line["silicon_tpot_ms"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{FILE}: row {line.get('id')}: {error}") from None


@lru_cache(maxsize=1)
def _spec() -> dict[str, Any]:
    told: dict[str, Any] = document.read(SPEC).plain()
    return told


def known(row: Row) -> bool:
    """Whether the row can be predicted: its type has kernel models, its texts fit into the memory."""
    try:
        what = served(row)
        _fits(row, what)
    except NotCoveredError:
        return False
    return True


def weights(row: Row) -> str:
    """Type of the row's weights. Raises NotCoveredError."""
    if row.dtype not in _TYPES:
        raise NotCoveredError(f"{row.dtype} weights: no kernel model of this type has been judged")
    return _TYPES[row.dtype]


def served(row: Row) -> Served:
    """What the row's server runs, beyond what the row says. Raises NotCoveredError."""
    dtype = weights(row)
    for entry in _spec()["rows"]:
        if entry["model"] == row.path and entry.get("framework", row.framework) == row.framework \
                and entry.get("gpu", row.gpu) == row.gpu:
            return Served(entry["is"], entry["kv"] if dtype == "fp8" else dtype, entry["length"], entry["mixed"])
    raise NotCoveredError(f"{row.path}: {SPEC.name} does not say which model it is")


def predict(row: Row, tier: str = "fluid", fitted: bool = True) -> Told:
    """Time per output token of one row. Raises NotCoveredError."""
    what, many = served(row), row.requests
    _fits(row, what)
    isl, osl, types = round(row.isl * what.length), round(row.osl * what.length), _types(row, what)
    gpu, stack = descriptions(row.gpu, row.framework, fitted)
    step = _decode_ms(gpu, stack, what.model, many, isl + osl // 2, tier, types)[0]
    prompt = _decode_ms(gpu, stack, what.model, 1, isl, tier, types)[1]
    stall = prompt
    if what.mixed:
        stall -= _decode_ms(gpu, stack, what.model, many, 1, tier, types)[0]
    return Told(row, step + (many - 1) / max(1, osl - 1) * stall, step, prompt)


def descriptions(gpu: str, framework: str, fitted: bool) -> tuple[str, str]:
    """Names of the GPU and the stack: with what is fitted on kernel tables, where there is something."""
    own = STACKS[framework]
    if not fitted:
        return gpu, own
    known = {normal(name) for name in names("fitted")}
    chips = [name for name in sorted(names("fitted")) if normal(name).startswith(normal(f"{gpu}@silicon-vllm"))]
    stacks = [f"{stack}@silicon-{gpu}" for stack in (own, STACKS["vllm"])]
    return chips[0] if chips else gpu, next((name for name in stacks if normal(name) in known), own)


def _types(row: Row, what: Served) -> tuple[tuple[str, str], ...]:
    dtype = weights(row)
    return ("model.dtype.weights", dtype), ("model.dtype.activations", dtype), ("model.dtype.kv", what.kv)


def _fits(row: Row, what: Served) -> None:
    """Refuse a row whose keys and values outgrow the memory: its requests wait for each other."""
    types = tuple((key.removeprefix("model."), value) for key, value in _types(row, what))
    model = load_model(what.model, types).value
    longest = round(row.isl * what.length) + round(row.osl * what.length)
    needed = model.total_bytes + row.requests * longest * model.layers * model.kv_bytes
    if needed > _spec()["memory"] * load_gpu(row.gpu).value.hbm.capacity_bytes:
        raise NotCoveredError("keys and values outgrow the memory: requests wait for each other")


@lru_cache(maxsize=4096)
def _decode_ms(gpu: str, stack: str, model: str, many: int, context: int, tier: str,
               types: tuple[tuple[str, str], ...]) -> tuple[float, float]:
    """(a decode step of so many rows, a prompt of so many tokens), milliseconds."""
    line = run(Scenario(gpu=gpu, stack=stack, model=model, schedule="autoregressive", tier=tier, batch=many,
                        prompt=context, synth=f"count={STEPS},sequences={many}", sets=types, record="summary"))
    return line.decode_ps / STEPS / 1e9, line.decodes[0].prefill_ps / 1e9


def scored(told: list[Told], skipped: dict[str, int], tier: str, data: str | None) -> dict[str, Any]:
    """Errors of all rows and of each group, as a JSON document."""
    groups: dict[str, list[Told]] = {}
    for one in told:
        row = one.row
        key = f"{served(row).model}, {row.gpu}, {row.framework}, {weights(row)}"
        groups.setdefault(key, []).append(one)
    return {"schema": SCHEMA, "tier": tier, "version": release(data), **errors(told),
            "groups": {key: errors(part) for key, part in sorted(groups.items())}, "not_covered": skipped}


def errors(told: list[Told]) -> dict[str, Any]:
    """Median and mean of the error's size, and its median, in percent."""
    wrong = np.array([one.tpot_ms / one.row.tpot_ms - 1 for one in told]) * 100
    return {"median": float(np.median(np.abs(wrong))), "mape": float(np.abs(wrong).mean()),
            "bias": float(np.median(wrong)), "rows": len(wrong)}


def text(found: dict[str, Any]) -> str:
    """The scores for the screen."""
    lines = [f"serving, time per output token, tier {found['tier']}: predicted / measured - 1 in percent", "",
             f"{'model, GPU, framework, weights':<44}{'rows':>5}{'median':>8}{'mean':>8}{'bias':>8}"]
    for name, one in (*found["groups"].items(), ("all", found)):
        lines.append(f"{name:<44}{one['rows']:>5}{one['median']:>8.1f}{one['mape']:>8.1f}{one['bias']:>+8.1f}")
    lines += ["", *(f"not scored: {many} rows, {reason}" for reason, many in found["not_covered"].items())]
    return "\n".join(lines).rstrip()


def _csv(told: list[Told]) -> str:
    def line(one: Told) -> Iterator[object]:
        yield from (*one.row, one.tpot_ms, one.step_ms, one.prompt_ms)

    head = [*Row._fields, "predicted_tpot_ms", "step_ms", "prompt_ms"]
    lines = (head, *map(line, told))
    return "".join(",".join(re.sub(r"[,\n]", " ", str(cell)) for cell in row) + "\n" for row in lines)
