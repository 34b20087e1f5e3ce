"""Which page a document gets."""

from __future__ import annotations

from pathlib import Path

from ..units import InputError
from .documents import RESULT, load, readable, with_timeline
from .of_comparison import COMPARISON, comparison_page
from .of_curve import CURVE, curve_page
from .of_result import result_page
from .of_sweep import sweep_page
from .page import Page
from .tables import sweep

PAGES = {RESULT: result_page, COMPARISON: comparison_page, CURVE: curve_page}


def page_of(path: Path) -> Page:
    """The page of an answer, a comparison or a curve (files), or of a sweep (a folder). Raises InputError otherwise."""
    if path.is_dir():
        table = sweep(path)
        with readable(path):
            return sweep_page(table)
    found = load(path)
    page = PAGES.get(found["schema"])
    if page is None:
        raise InputError(f"{path}: {found['schema']!r} is not one of {', '.join(PAGES)}; give what speedsim run, "
                         "compare or curve wrote")
    if page is result_page:
        found = with_timeline(found, path)
    with readable(path):
        return page(found)
