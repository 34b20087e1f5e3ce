"""The verb `report`: an answer, a sweep, a comparison or a curve as one page."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "one HTML page of an answer, a sweep, a comparison or a curve"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("document", metavar="FILE|DIR",
                        help="what run, compare or curve wrote with --json, or a sweep's folder")
    parser.add_argument("--text", action="store_true", help="the pictures in characters instead, where no browser is")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (default report.html)")


def call(given: argparse.Namespace) -> int:
    """Write the page, or print its pictures in characters."""
    if given.text:
        from ..report.in_text import in_text

        print(in_text(Path(given.document)))
        return 0
    from ..files import check_target, write_text

    check_target(given.out)
    from ..report.page import render
    from ..report.pages import page_of

    page = render(page_of(Path(given.document)))
    write_text(given.out, page)
    print(f"wrote {given.out} ({len(page.encode()) / 1e6:.1f} MB)")
    return 0
