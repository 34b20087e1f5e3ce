"""The verb `curve`: tokens/s per user against tokens/s per GPU, over the batch."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario
from ..units import InputError

HELP = "tokens/s per user against tokens/s per GPU over the batch, with and without each schedule"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    add = parser.add_argument
    add("--also", action="append", default=[], metavar="SCHEDULE", help="one more schedule to draw")
    add("--batches", default="1,2,4,8,16,32,64", metavar="B,B,...", help="sequences at a time (default 1 to 64)")
    add("--slo", metavar="tpot=TIME", help="the time per token that a user is promised")
    add("--json", action="store_true", help="as JSON")


def call(given: argparse.Namespace) -> int:
    """Print the table and what it means."""
    import json

    from ..files import to_json
    from ..whatifs.frontier import curve

    try:
        batches = [int(part) for part in given.batches.split(",")]
    except ValueError:
        raise InputError(f"--batches {given.batches}: whole numbers are expected, such as 1,8,64") from None
    asked = scenario(given, "summary")
    table = curve(asked, (asked.schedule, *given.also), batches, given.slo)
    if given.json:
        print(to_json({"schema": "speedsim-curve/1", "points": json.loads(table.to_json(orient="records"))}))
        return 0
    print(f"{'schedule':<32}{'batch':>6}{'tokens/s user':>15}{'tokens/s GPU':>14}{'gain':>8}   (predicted)")
    for _, row in table.iterrows():
        marks = "*" * bool(row["pareto"]) + ("" if row["meets_slo"] else " late")
        print(f"{row['schedule']:<32}{row['batch']:>6}{row['tokens_per_s_user']:>15,.0f}{row['tokens_per_s']:>14,.0f}"
              f"{row['gain']:>8.2f}  {marks}".rstrip())
    print("* nothing else gives more of both")
    held = table[table["meets_slo"]]
    if given.slo is not None and held.empty:
        print(f"nothing meets {given.slo}")
    elif given.slo is not None:
        best = held.loc[held["tokens_per_s"].idxmax()]
        print(f"most under {given.slo}: {best['tokens_per_s']:,.0f} tokens/s by {best['schedule']} "
              f"at batch {best['batch']}")
    return 0
