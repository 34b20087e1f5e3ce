"""The verb `doctor`: the environment, and how well the numbers of a gpu and a stack are known."""

from __future__ import annotations

import argparse

HELP = "the environment; what is measured, fitted, recalled, assumed for a gpu and stack"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--gpu", default="h200_sxm", metavar="NAME", help="the gpu to look through (default h200_sxm)")
    parser.add_argument("--stack", default="torch_graph", metavar="NAME", help="the stack (default torch_graph)")


def call(given: argparse.Namespace) -> int:
    """Print what is there and what is missing."""
    from ..catalog import load_gpu, load_stack
    from ..report.coverage import children, kinds_of
    from ..report.environment import environment

    lines = list(environment())
    for noun, kind, loaded in (("gpu", "gpus", load_gpu(given.gpu)), ("stack", "stacks", load_stack(given.stack))):
        first, *doubtful = kinds_of(loaded)
        fitted = children(kind, loaded.value.name)
        lines += ["", f"{noun} {loaded.value.name}: {first}", *doubtful,
                  f"  fitted children: {', '.join(fitted)}" if fitted else "  no fitted children"]
    print("\n".join(lines))
    return 0
