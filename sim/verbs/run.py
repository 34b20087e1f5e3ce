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
    parser.add_argument("--timeline", metavar="FILE",
                        help="write every kernel, wait and token as Chrome JSON for Perfetto (FILE.gz: compressed)")
    parser.add_argument("--check-me", action="store_true",
                        help="print the commands by which vLLM, SGLang and TensorRT-LLM accept as many tokens")


def call(given: argparse.Namespace) -> int:
    """Answer, on the screen or as JSON."""
    from ..files import check_target, to_json, write_text

    for target in (given.json, given.timeline):
        if target not in (None, "-"):
            check_target(target)
    from ..result import answer, document

    result = answer(scenario(given, given.record if given.timeline is None else "kernels"))
    whole = document(result) if given.json is not None or given.timeline is not None else {}
    if given.timeline is not None:
        from ..report.perfetto import write_chrome_json

        write_chrome_json(given.timeline, whole)
    if given.json == "-":
        print(to_json(whole))
        return 0
    if given.json is not None:
        from ..timeline_files import put_beside

        target = Path(given.json)
        if target.is_file() or not target.exists():
            whole = put_beside(whole, target)
        write_text(target, to_json(whole) + "\n")
    if given.check_me:
        from ..check_me import commands

        print("\n".join(commands(result)))
        return 0
    from ..screen import painted
    from ..show import table

    print(painted(table(result)))
    return 0
