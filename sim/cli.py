"""The command `speedsim`. Every verb imports what it needs when it runs, so that --help stays instant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from .units import InputError, NotCoveredError

if TYPE_CHECKING:
    from .scenario import Scenario

OK, CHECK_FAILED, INPUT, NOT_COVERED, INTERRUPTED = 0, 1, 2, 3, 130


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the nearest right name."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 ok, 1 check failed, 2 input, 3 not covered, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(given)
    except InputError as error:
        print(_one_line(error), file=sys.stderr)
        return INPUT
    except NotCoveredError as error:
        print(_one_line(error), file=sys.stderr)
        return NOT_COVERED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return OK


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n"))


def _dispatch(given: list[str]) -> int:
    verb = next((word for word in given if not word.startswith("-")), None)
    if verb is not None and verb not in _VERBS and given[0] == verb:
        foreign = _foreign(verb)
        if foreign is not None:
            return int(foreign(given[1:]) or OK)
    parser = _parser()
    options = parser.parse_args(given)
    if options.verb is None:
        parser.print_help()
        return OK
    code: int = _VERBS[options.verb](options)
    return code


def _foreign(verb: str) -> Any:
    """A verb of another package (training, validation), found by entry point."""
    from importlib.metadata import entry_points

    found = list(entry_points(group="speedsim.verbs", name=verb))
    if found:
        return found[0].load()
    from difflib import get_close_matches

    known = [*_VERBS, *(entry.name for entry in entry_points(group="speedsim.verbs"))]
    near = get_close_matches(verb, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(f"speedsim: {verb}: no such verb{hint}; verbs: {', '.join(known)}")


def _parser() -> _Parser:
    from . import __version__
    from .kernel_verbs import add_parser

    parser = _Parser(prog="speedsim", description="Would speculative decoding pay on this GPU, and why?",
                     allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    _run_options(verbs.add_parser("run", help="replay a trace on a GPU, beside its rivals", allow_abbrev=False))
    add_parser(verbs)
    listing = verbs.add_parser("list", help="what there is: gpus, stacks, models, traces, schedules")
    listing.add_argument("what", choices=("gpus", "stacks", "models", "traces", "schedules"))
    show = verbs.add_parser("show", help="a description with the source of every number")
    show.add_argument("what", choices=("gpu", "stack", "model", "trace"))
    show.add_argument("name", metavar="NAME")
    show.add_argument("--json", action="store_true", help="the resolved description as JSON")
    trace = verbs.add_parser("trace", help="check, convert or summarise a trace file")
    deeds = trace.add_subparsers(dest="deed", metavar="check|convert|stats", required=True, parser_class=_Parser)
    for deed, words in (("check", "read a trace and verify it"), ("stats", "flip rates, settle times, bounds")):
        one = deeds.add_parser(deed, help=words)
        one.add_argument("trace", metavar="NAME|FILE")
        one.add_argument("--json", action="store_true", help="as JSON")
    convert = deeds.add_parser("convert", help="JSON lines to Parquet or back, by the target's suffix")
    convert.add_argument("trace", metavar="NAME|FILE")
    convert.add_argument("target", metavar="FILE")
    return parser


def _run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--gpu", default="h200_sxm", metavar="NAME", help="what is soldered (default h200_sxm)")
    add("--stack", default="torch_graph", metavar="NAME", help="software (default torch_graph)")
    add("--model", default="speed_2x6", metavar="NAME|FILE", help="decoder, or a config.json (default speed_2x6)")
    add("--trace", metavar="NAME|FILE", help="recorded text (default: the model's)")
    add("--synth", metavar="flips=F+F+...", help="synthetic text: flip rates between exits[,count=N,seed=N]")
    add("--schedule", default="speed", metavar="NAME[:K=V,...]", help="way of decoding (default speed)")
    add("--max-in-flight", type=int, metavar="D", help="speculation depth, as in speed:max_in_flight=D")
    add("--batch", type=int, default=1, metavar="B", help="sequences at a time (default 1)")
    add("--tokens", type=int, metavar="N", help="whole sequences until N tokens (default 1000; a file is played whole)")
    add("--tier", default="fluid", metavar="TIER", help="how finely the device is simulated: roofline, fluid (default)")
    add("--control", metavar="C", help="where the schedule decides: host, lagged:N, device (default: the stack's)")
    add("--rival-control", metavar="C", help="where the rivals' decoding is decided (default: as the schedule)")
    add("--launch", metavar="L", help="eager, stream, graph, graph+pdl or persistent (default: the stack's)")
    add("--l2", metavar="P=T,...", help="L2 policies, such as keep=group,stream=head (default: the stack's)")
    add("--prompt", type=int, metavar="P", help="position of the first token (default: the trace's)")
    add("--record", default="passes", metavar="R", help="what the JSON keeps: summary, passes, kernels")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a number, such as hbm.bandwidth=6TB/s")
    add("--json", metavar="FILE", help="write the whole answer as JSON; - is standard output")


def _scenario(options: argparse.Namespace) -> Scenario:
    from .scenario import Scenario
    from .schedule_names import with_option

    schedule = options.schedule
    if options.max_in_flight is not None:
        schedule = with_option(schedule, "max_in_flight", str(options.max_in_flight))
    sets = []
    for text in options.set:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set {text}: write KEY=VALUE, such as hbm.bandwidth=6TB/s")
        sets.append((key.strip(), value.strip()))
    return Scenario(
        gpu=options.gpu, stack=options.stack, model=options.model, trace=options.trace, synth=options.synth,
        schedule=schedule, batch=options.batch, tokens=options.tokens, prompt=options.prompt, tier=options.tier,
        control=options.control, rival_control=options.rival_control, launch=options.launch, l2=options.l2,
        record=options.record, sets=tuple(sets),
    )


def _run(options: argparse.Namespace) -> int:
    from .files import check_target, to_json, write_text

    if options.json not in (None, "-"):
        check_target(options.json)
    from .result import answer, document

    result = answer(_scenario(options))
    if options.json == "-":
        print(to_json(document(result)))
        return OK
    if options.json is not None:
        from pathlib import Path

        from .timeline_files import put_beside

        target, whole = Path(options.json), document(result)
        if target.is_file() or not target.exists():
            whole = put_beside(whole, target)
        write_text(target, to_json(whole) + "\n")
    from .show import table

    print(table(result))
    return OK


def _list(options: argparse.Namespace) -> int:
    from .show import listing

    print("\n".join(listing(options.what)))
    return OK


def _show(options: argparse.Namespace) -> int:
    from .show import description

    print(description(options.what, options.name, options.json))
    return OK


def _trace(options: argparse.Namespace) -> int:
    from .registry import find
    from .show import trace_summary

    path = find("traces", options.trace)
    if options.deed == "convert":
        from .trace import load, write

        write(load(path), options.target)
        print(f"wrote {options.target}")
        return OK
    print(trace_summary(path, options.deed, options.json))
    return OK


def _kernel(options: argparse.Namespace) -> int:
    from .kernel_verbs import run

    return run(options)


_VERBS = {"run": _run, "kernel": _kernel, "list": _list, "show": _show, "trace": _trace}

if __name__ == "__main__":
    sys.exit(main())
