"""Which page a document gets."""

from __future__ import annotations

from pathlib import Path

from .documents import readable, result
from .of_result import result_page
from .of_sweep import sweep_page
from .page import Page
from .tables import sweep


def page_of(path: Path) -> Page:
    """The page of an answer (a file) or a sweep (a folder). Raises InputError for anything else."""
    if path.is_dir():
        table = sweep(path)
        with readable(path):
            return sweep_page(table)
    document = result(path)
    with readable(path):
        return result_page(document)
