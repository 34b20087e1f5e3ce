"""The verb `trace`: check, convert or summarise a trace file."""

from __future__ import annotations

import argparse

HELP = "check, convert or summarise a trace file"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's deeds and their options."""
    deeds = parser.add_subparsers(dest="deed", metavar="check|convert|stats", required=True)
    for deed, words in (("check", "read a trace and verify it"), ("stats", "flip rates, settle times, bounds")):
        one = deeds.add_parser(deed, help=words)
        one.add_argument("trace", metavar="NAME|FILE")
        one.add_argument("--json", action="store_true", help="as JSON")
    convert = deeds.add_parser("convert", help="JSON lines to Parquet or back, by the target's suffix")
    convert.add_argument("trace", metavar="NAME|FILE")
    convert.add_argument("target", metavar="FILE")


def call(given: argparse.Namespace) -> int:
    """Do the deed."""
    from ..registry import find
    from ..show import trace_summary

    path = find("traces", given.trace)
    if given.deed == "convert":
        from ..trace import load, write

        write(load(path), given.target)
        print(f"wrote {given.target}")
        return 0
    print(trace_summary(path, given.deed, given.json))
    return 0
