"""Which page a document gets."""

from __future__ import annotations

from pathlib import Path

from ..units import InputError
from .documents import RESULT, load, readable, with_timeline
from .of_comparison import COMPARISON, comparison_page
from .of_result import result_page
from .of_sweep import sweep_page
from .page import Page
from .tables import sweep


def page_of(path: Path) -> Page:
    """The page of an answer, a comparison (files) or a sweep (a folder). Raises InputError for anything else."""
    if path.is_dir():
        table = sweep(path)
        with readable(path):
            return sweep_page(table)
    found = load(path)
    if found["schema"] == COMPARISON:
        with readable(path):
            return comparison_page(found)
    if found["schema"] != RESULT:
        raise InputError(f"{path}: {found['schema']!r} is not {RESULT} or {COMPARISON}; give an answer of speedsim run "
                         "--json FILE")
    found = with_timeline(found, path)
    with readable(path):
        return result_page(found)
