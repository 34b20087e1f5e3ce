"""The verb `list`: what there is."""

from __future__ import annotations

import argparse

HELP = "what there is: gpus, stacks, models, traces, acceptance, schedules"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("what", choices=("gpus", "stacks", "models", "traces", "acceptance", "schedules"))


def call(given: argparse.Namespace) -> int:
    """Print the names of one kind."""
    from ..show import listing

    print("\n".join(listing(given.what)))
    return 0
