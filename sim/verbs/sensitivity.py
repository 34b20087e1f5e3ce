"""The verb `sensitivity`: which number the time and the gain hang on."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario
from ..units import InputError

HELP = "how much the time and the gain hang on each number: elasticities, the strongest first"
BAR = 24
"""Columns of a bar for an elasticity of 1."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    parser.add_argument("--top", type=int, default=15, metavar="N", help="numbers shown (default 15)")
    parser.add_argument("--json", action="store_true", help="all of them as JSON")


def call(given: argparse.Namespace) -> int:
    """Print the table."""
    import json

    from ..files import to_json
    from ..whatifs.elasticity import sensitivity

    if given.top < 1:
        raise InputError(f"--top {given.top}: 1 or more is expected")
    table = sensitivity(scenario(given, "summary"))
    if given.json:
        print(to_json({"schema": "speedsim-sensitivity/1", "numbers": json.loads(table.to_json(orient="records"))}))
        return 0
    print(f"{'':<40}{'value':>14}   time  gain   (change in % for 1 % more: predicted)")
    for _, row in table.head(given.top).iterrows():
        time, gain = row["elasticity.time_per_token_us"], row["elasticity.gain.speedup"]
        bar = ("+" if time > 0 else "-") * max(1, round(BAR * min(1.0, abs(time)))) if abs(time) > 0.5 / BAR else ""
        print(f"{row['key']:<40}{row['shown']:>14}  {time:5.2f} {gain:5.2f}   {bar}".rstrip())
    return 0
