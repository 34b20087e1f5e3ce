"""The verb `report`: an answer as one page that needs no network."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "one HTML page of an answer, with every picture"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("document", metavar="FILE", help="an answer written by speedsim run --json FILE")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (default report.html)")


def call(given: argparse.Namespace) -> int:
    """Write the page."""
    from ..files import check_target, write_text

    check_target(given.out)
    from ..report.documents import readable, result
    from ..report.of_result import result_page
    from ..report.page import render

    path = Path(given.document)
    found = result(path)
    with readable(path):
        page = render(result_page(found))
    write_text(given.out, page)
    print(f"wrote {given.out} ({len(page.encode()) / 1e6:.1f} MB)")
    return 0
