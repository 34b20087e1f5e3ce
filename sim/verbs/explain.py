"""The verb `explain`: where the time of an answer went, and what would make it faster."""

from __future__ import annotations

import argparse

HELP = "where the time of an answer went, and what would make it faster"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("document", metavar="FILE", help="an answer written by speedsim run --json FILE")
    parser.add_argument("--token", metavar="[S:]P", help="the life of one token: position P (of sequence S)")


def call(given: argparse.Namespace) -> int:
    """Print the explanation."""
    from pathlib import Path

    from ..report.documents import readable, result
    from ..report.explain import of_run, of_token

    path = Path(given.document)
    found = result(path)
    with readable(path):
        print("\n".join(of_run(found) if given.token is None else of_token(found, given.token)))
    return 0
