"""The verb `solve`: which value of one number makes a figure what is wanted."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario
from ..units import InputError

HELP = "the value of one number that makes a figure what is wanted, or why none does"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    add = parser.add_argument
    add("--target", required=True, metavar="FIGURE=VALUE", help="time_per_token=2ms, tokens_per_s=5000, gain=1")
    add("--vary", required=True, metavar="KEY", help="hbm.bandwidth, l2.capacity, launch.node_gap, batch, prompt, "
                                                     "schedule.max_in_flight, acceptance, ...")
    add("--between", metavar="LOW:HIGH", help="the range to look at (default: a thousandth to a thousand times)")
    add("--json", action="store_true", help="as JSON")


def call(given: argparse.Namespace) -> int:
    """Print what was found; 1 where there is no such value."""
    from ..files import to_json
    from ..whatifs.inverse import solve

    between = None
    if given.between is not None:
        low, colon, high = given.between.partition(":")
        if not colon:
            raise InputError(f"--between {given.between}: write LOW:HIGH")
        between = (low.strip(), high.strip())
    found = solve(given.target, given.vary, scenario(given, "summary"), between)
    if given.json:
        print(to_json({"schema": "speedsim-solve/1", "figure": found.figure, "target": found.target, "key": found.key,
                       "values": list(found.values), "texts": list(found.texts), "why": found.why or None}))
    elif found.values:
        exact = [text for text, shown in zip(found.texts, found.shown, strict=True) if text != shown]
        print(f"{found.figure} is {found.target:g} at {found.key} = {' and '.join(found.shown)}: predicted"
              f"{f' (--set {found.key}={exact[0]})' if len(exact) == 1 else ''}")
    else:
        print(f"no value of {found.key}: {found.why}")
    return 0 if found.values else 1
