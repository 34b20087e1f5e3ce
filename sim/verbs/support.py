"""The verb `support`: what an answer about a GPU, a stack and a model would stand on."""

from __future__ import annotations

import argparse

HELP = "whether a gpu, stack and model are covered, and by which data"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add = parser.add_argument
    add("--gpu", default="h200_sxm", metavar="NAME", help="what is soldered (default h200_sxm)")
    add("--stack", default="torch_graph", metavar="NAME", help="software (default torch_graph)")
    add("--model", default="speed_2x6", metavar="NAME|FILE", help="decoder, or a config.json (default speed_2x6)")


def call(given: argparse.Namespace) -> int:
    """Print what covers each part; 3 where no schedule could run."""
    from ..catalog import load_gpu, load_stack
    from ..report.coverage import support

    lines, possible = support(load_gpu(given.gpu), load_stack(given.stack), given.model)
    print("\n".join(lines))
    return 0 if possible else 3
