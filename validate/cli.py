"""The verbs of `python -m validate`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from speedsim.parsing import Parser
from speedsim.units import InputError, NotCoveredError

from .refusal import RefusedError

HERE = Path(__file__).parent

OWN = {
    "silicon": ("silicon", "judge kernel models on published tables of kernel times"),
    "fit": ("silicon_fit", "read numbers of kernel models off a share of a published table"),
    "predict": ("judge.predict", "write down what the campaign's tables will say, before they are measured"),
    "compare": ("judge.compare", "measured tables against registered predictions, beside null models"),
    "calibrate": ("judge.calibrate", "fit resource and kernel numbers to measured tables, as fitted children"),
    "bytes": ("judge.bytes_read", "predicted against counted HBM bytes and L2 hits"),
    "accuracy": ("accuracy", "write the tables and pictures of docs/accuracy.md anew"),
    "serving": ("serving", "time per output token of servers under load, against published measurements"),
    "curves": ("curves", "the fluid tier's hit and efficiency curves, made by the cycle tier"),
    "score": ("score", "a fixed public list of kernels and servers, for any simulator"),
    "whatif": ("whatif", "the gain of one GPU over another, against published tables of both"),
    "power": ("power", "judge energy figures on published tables that carry watts"),
    "experts": ("experts", "mixtures of experts: what several tokens cost, against published tables"),
    "import": ("imports.door", "a profile (Kineto, Nsight Systems) as a timeline"),
}
"""Verbs with a parser of their own: module and words."""


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    top = Parser(prog="validate", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)
    device = argparse.ArgumentParser(add_help=False)
    device.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    device.add_argument("--threads", type=int, help="threads of the processor (default: torch's)")
    runs = argparse.ArgumentParser(add_help=False, parents=[device])
    runs.add_argument("--out", type=Path, help="folder (default: validate/measured/<card>/<date> in a clone)")
    runs.add_argument("--minutes", type=float, default=8.0, help="stop after so many minutes; the same command goes on")
    runs.add_argument("--quick", action="store_true", help="a few small points: the path, not a measurement")
    runs.add_argument("--again", action="store_true", help="measure points that failed once more")
    runs.add_argument("--only", default="", help="experiments by name, separated by commas")
    runs.add_argument("--trace", type=Path, help="a trace to replay (default: the shipped one, else synthetic)")
    campaign = verbs.add_parser("campaign", parents=[runs], help="a part of the campaign (campaign.md)")
    campaign.add_argument("--part", type=int, required=True, choices=(1, 2, 3, 4))
    verbs.add_parser("bench", parents=[runs], help="one micro-benchmark per hardware number")
    play = argparse.ArgumentParser(add_help=False, parents=[device])
    play.add_argument("--model", default="speed_2x6", help="a shape of validate/models, or a resolved JSON file")
    play.add_argument("--schedule", default="speed", choices=("speed", "autoregressive"))
    play.add_argument("--control", default="host", choices=("host", "device"))
    play.add_argument("--launch", default="graph", choices=("graph", "eager"))
    play.add_argument("--plan", default="auto", choices=("auto", "eager", "graph_fused"))
    play.add_argument("--tokens", type=int, default=64)
    play.add_argument("--seed", type=int, default=0)
    play.add_argument("--repeats", type=int, default=3, help="runs; the last one is told")
    replay = verbs.add_parser("replay", parents=[play], help="play a recorded trace on real kernels")
    replay.add_argument("--trace", type=Path, help="the trace (default: the shipped one, else synthetic)")
    live = verbs.add_parser("live", parents=[play], help="decode live")
    live.add_argument("--weights", type=Path, help="a checkpoint (default: random weights)")
    live.add_argument("--record", type=Path, help="write what every exit predicted as a trace (.jsonl)")
    check = verbs.add_parser("check", help="read a folder of measurement files and say what is in it")
    check.add_argument("folder", type=Path)
    numbers = verbs.add_parser("numbers", help="hardware numbers that a folder of measurement files gives")
    numbers.add_argument("folder", type=Path)
    for verb, (_, words) in OWN.items():
        verbs.add_parser(verb, add_help=False, help=words)
    verbs.add_parser("design", help="write validate/design.csv anew")
    models = verbs.add_parser("models", help="write validate/models/*.json from the YAML files")
    models.add_argument("names", nargs="*")
    verbs.add_parser("environment", parents=[device], help="print where we are")
    target = verbs.add_parser("target", parents=[device], help="what the counters watch (not for hands)")
    target.add_argument("--point", required=True)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; 0 ok, 1 a check failed, 2 input, 3 not covered, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] and given[0] in OWN:
            own: int = import_module(f".{OWN[given[0]][0]}", __package__).main(given[1:])
            return own
        options = parser().parse_args(given)
        return VERBS[options.verb](options)
    except InputError as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    except NotCoveredError as reason:
        print(f"not covered: {reason}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted; what is measured is on the disk, the same command goes on", file=sys.stderr)
        return 130


def _device(options: argparse.Namespace) -> str:
    """The device, if it is there."""
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    device: str = options.device
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise RefusedError("no CUDA device here; --device cpu runs what makes sense on this processor")
        torch.cuda.set_device(torch.device(device))
    elif device != "cpu":
        raise RefusedError(f"device {device!r} is neither cuda nor cpu")
    return device


def _experiments(options: argparse.Namespace) -> int:
    """`campaign` and `bench`."""
    from .bench.experiment import Bench, run
    from .campaign import BENCH, PARTS
    from .environment import environment, short_name

    device = _device(options)
    chosen = PARTS[options.part] if options.verb == "campaign" else BENCH
    if options.only:
        known = {e.name: e for e in chosen}
        unknown = [name for name in options.only.split(",") if name not in known]
        if unknown:
            raise RefusedError(f"{unknown[0]}: no experiment of this command; there are {', '.join(known)}")
        chosen = tuple(known[name] for name in options.only.split(","))
    where = environment(device)
    own = Path("validate/measured")
    kept = own if own.is_dir() else Path("measured")
    folder = options.out or kept / short_name(where["name"]) / where["began"][:10]
    bench = Bench(device, options.quick, trace=options.trace)
    try:
        outcomes = run(chosen, folder, bench, where | {"quick": options.quick}, options.minutes, options.again)
    finally:
        bench.watch.stop()
    for o in outcomes:
        state = "whole" if o.whole else "to go on"
        print(f"{o.name:16} {o.rows:5} rows  {state:8}  {o.seconds:7.1f} s  {o.not_measured} not measured")
    late = [e.name for e in chosen if e.name not in {o.name for o in outcomes}
            and ("cuda" if bench.cuda else "cpu") in e.devices]
    if late or not all(o.whole for o in outcomes):
        print(f"to go on, give the same command again: {', '.join([o.name for o in outcomes if not o.whole] + late)}")
    print(folder)
    return 0


def _play(options: argparse.Namespace) -> int:
    """`replay` and `live`."""
    from .doors import live_run, replay_run

    found: dict[str, Any] = (replay_run if options.verb == "replay" else live_run)(options, _device(options))
    print(json.dumps(found, indent=1))
    return 0


def _check(options: argparse.Namespace) -> int:
    from .records import read_folder

    for name, measured in read_folder(options.folder).items():
        remarks = measured.table["remark"].astype(object).fillna("") if "remark" in measured.table else []
        marked = sum(1 for remark in remarks if remark)
        place = measured.environment
        print(f"{name:16} {len(measured.table):5} rows  {marked:4} with a remark  {place['name']}, {place['began']}, "
              f"commit {place['commit'][:12]}")
    return 0


def _numbers(options: argparse.Namespace) -> int:
    from .bench.numbers import numbers
    from .records import read_folder

    for number in numbers(read_folder(options.folder)):
        print(f"{number.field:24} {number.value:14.6g} {number.unit:8} {number.how}")
    return 0


def _in_clone() -> None:
    """An installed package is never written to."""
    if not (HERE.parent / "pyproject.toml").is_file():
        raise RefusedError(f"{HERE}: this verb writes into a clone, and this is an installed package")


def _design(_options: argparse.Namespace) -> int:
    _in_clone()
    from .campaign.design import FILE, make, text

    FILE.write_text(text(make()))
    print(FILE)
    return 0


def _models(options: argparse.Namespace) -> int:
    _in_clone()
    from speedsim.catalog import load_model

    from . import shapes

    for name in options.names or shapes.names():
        shapes.write(load_model(name).value, shapes.FOLDER / f"{name}.json")
        print(shapes.FOLDER / f"{name}.json")
    return 0


def _environment(options: argparse.Namespace) -> int:
    from .environment import environment

    print(json.dumps(environment(_device(options)), indent=1))
    return 0


def _target(options: argparse.Namespace) -> int:
    from .bench.experiment import Bench
    from .campaign.counters import run_target

    bench = Bench(_device(options))
    bench.watch.stop()
    run_target(bench, json.loads(options.point))
    return 0


VERBS = {
    "campaign": _experiments, "bench": _experiments, "replay": _play, "live": _play, "check": _check,
    "numbers": _numbers, "design": _design, "models": _models, "environment": _environment, "target": _target,
}
