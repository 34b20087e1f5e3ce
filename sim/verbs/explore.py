"""The verb `explore`: sliders over a finished sweep as one file, or over the live engine."""

from __future__ import annotations

import argparse

from ..units import InputError

TELLS_ITSELF = True
"""Serving lasts until it is interrupted."""
HELP = "sliders over a sweep as one HTML file, or over the live engine with --serve"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add = parser.add_argument
    add("sweep", nargs="?", metavar="DIR", help="the folder of speedsim sweep --out DIR")
    add("--out", default="explore.html", metavar="FILE", help="the page of a sweep (default explore.html)")
    add("--serve", action="store_true", help="answer live on this machine instead, until interrupted")
    add("--port", type=int, default=8765, metavar="N", help="where to serve (default 8765; 0: any free port)")


def call(given: argparse.Namespace) -> int:
    """Write the page, or serve until interrupted."""
    if given.serve == (given.sweep is not None):
        raise InputError("speedsim explore: give the folder of a sweep, or --serve")
    if given.serve:
        from ..report.live import server

        with server(given.port) as serving:
            print(f"exploring on http://127.0.0.1:{serving.server_address[1]} (Ctrl-C ends it)", flush=True)
            serving.serve_forever()
        return 0
    from pathlib import Path

    from ..files import check_target, write_text
    from ..report.documents import readable
    from ..report.explore import static_page
    from ..report.tables import sweep

    check_target(given.out)
    folder = Path(given.sweep)
    table = sweep(folder)
    with readable(folder):
        page = static_page(table)
    write_text(given.out, page)
    print(f"wrote {given.out} ({len(page.encode()) / 1e6:.1f} MB)")
    return 0
