"""The verb `sweep`: a run for every combination of values, as a table."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario

TELLS_ITSELF = True
"""How far it is is told by its meter."""
HELP = "run every combination of values and write a table; goes on where it was interrupted"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    add = parser.add_argument
    add("--over", action="append", default=[], metavar="KEY=VALUES", required=True,
        help="an axis: a list (gpu=l4,l40s) or a range with both ends (schedule.max_in_flight=1:6, "
             "hbm.bandwidth=2TB/s:8TB/s:0.5TB/s, batch=1:64:*2)")
    add("--link", action="append", default=[], metavar="KEY,KEY", help="axes that go together, value by value")
    add("--out", required=True, metavar="DIR", help="where table.parquet, inputs.json and the journal go")
    add("--engine", default="processes", choices=("processes", "serial"), help="who computes (default processes)")
    add("--workers", type=int, metavar="N", help="processes (default: one a core)")
    add("--cluster", metavar="ADDRESS", help="a dask scheduler, tcp://HOST:PORT, or `local`")


def call(given: argparse.Namespace) -> int:
    """Compute what is missing and show what came out."""
    import os
    from pathlib import Path

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes share the cores; set before numpy is loaded
    from ..files import check_folder
    from ..sweeps.engines import chosen
    from ..sweeps.progress import Meter
    from ..sweeps.run import planned, run_in
    from ..sweeps.summary import summary

    check_folder(given.out)
    engine = chosen(given.engine, given.workers, given.cluster)
    points = planned(given.over, scenario(given, "summary"), given.link)
    with Meter(given.quiet) as meter:
        table = run_in(Path(given.out), points, engine, meter)
    print(summary(table, points.grid))
    return 0
