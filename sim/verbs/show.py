"""The verb `show`: one description with the source of every number."""

from __future__ import annotations

import argparse

HELP = "a description with the source of every number"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("what", choices=("gpu", "stack", "model", "trace"))
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="the resolved description as JSON")


def call(given: argparse.Namespace) -> int:
    """Print the description."""
    from ..show import description

    print(description(given.what, given.name, given.json))
    return 0
