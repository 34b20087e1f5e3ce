"""The verb `export`: pass times in files that other simulators read."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario
from ..units import InputError

HELP = "write pass times for other simulators: predictor as csv or in Vidur's form"


LARGEST = 2**20
"""Rows of a pass and keys of a context."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("what", choices=("predictor",))
    add_options(parser)
    add = parser.add_argument
    add("--format", default="csv", choices=("csv", "vidur"), help="one file of passes, or mlp.csv and attention.csv")
    add("--rows", metavar="N,N,...", help="rows of a pass (default 1 to 64)")
    add("--contexts", metavar="N,N,...", help="keys that each row attends to (default 128 to 8,192)")
    add("--out", required=True, metavar="FILE|DIR", help="the csv file, or the folder for Vidur's two files")


def call(given: argparse.Namespace) -> int:
    """Write the files."""
    from pathlib import Path

    from ..files import check_target, write_text
    from ..whatifs.pass_times import CONTEXTS, ROWS, predictor, vidur

    rows, contexts = _numbers("--rows", given.rows, ROWS), _numbers("--contexts", given.contexts, CONTEXTS)
    asked, out = scenario(given, "summary"), Path(given.out)
    if given.format == "csv":
        check_target(out)
        write_text(out, predictor(asked, rows, contexts).to_csv(index=False))
        print(f"wrote {out}: predicted")
        return 0
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    for name, table in vidur(asked, rows, contexts).items():
        write_text(out / name, table.to_csv(index=False))
        print(f"wrote {out / name}: predicted")
    return 0


def _numbers(option: str, text: str | None, default: tuple[int, ...]) -> tuple[int, ...]:
    """A list of whole numbers above 0."""
    if text is None:
        return default
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = (0,)
    if min(found) < 1 or max(found) > LARGEST:
        raise InputError(f"{option} {text}: whole numbers from 1 to {LARGEST:,} are expected, such as 1,8,64")
    return found
