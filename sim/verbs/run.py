"""The verb `run`: a schedule beside its rivals on one GPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..scenario_options import add_options, scenario

HELP = "replay a trace on a GPU, beside its rivals"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    parser.add_argument("--record", default="passes", metavar="R",
                        help="what the JSON keeps: summary, passes, kernels")
    parser.add_argument("--json", metavar="FILE", help="write the whole answer as JSON; - is standard output")


def call(given: argparse.Namespace) -> int:
    """Answer, on the screen or as JSON."""
    from ..files import check_target, to_json, write_text

    if given.json not in (None, "-"):
        check_target(given.json)
    from ..result import answer, document

    result = answer(scenario(given, given.record))
    if given.json == "-":
        print(to_json(document(result)))
        return 0
    if given.json is not None:
        from ..timeline_files import put_beside

        target, whole = Path(given.json), document(result)
        if target.is_file() or not target.exists():
            whole = put_beside(whole, target)
        write_text(target, to_json(whole) + "\n")
    from ..show import table

    print(table(result))
    return 0
