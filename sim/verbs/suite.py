"""The verb `suite`: a published table predicted row by row."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from ..units import InputError

HELP = "predict a published table row by row"


def known() -> list[str]:
    """The suites: the files of sim/suites."""
    return sorted(path.stem for path in Path(__file__).parent.with_name("suites").glob("[a-z]*.py"))


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("name", metavar="NAME", help=f"which table: {', '.join(known())}")
    parser.add_argument("--rows", metavar="FILE.csv", help="other rows with the same columns")
    parser.add_argument("--json", metavar="FILE", help="write the predictions as JSON; - is standard output")


def call(given: argparse.Namespace) -> int:
    """Predict, and show the table or write the JSON."""
    from ..files import check_target, to_json, write_text
    from ..reading.provenance import did_you_mean

    if given.name not in known():
        raise InputError(f"suite {given.name}: no such suite{did_you_mean(given.name, known())}; "
                         f"suites: {', '.join(known())}")
    if given.json not in (None, "-"):
        check_target(given.json)
    suite: Any = import_module(f"..suites.{given.name}", __package__)
    document = suite.run(given.name, given.rows)
    if given.json == "-":
        print(to_json(document))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(document) + "\n")
    print("\n".join(suite.table(document)))
    return 0
