"""Does docs/study.md say what its sweeps say, and are the sweeps what a sweep gives?"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def script(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_its_script_writes():
    assert (DOCS / "study.md").read_text() == script("study").page()


def test_the_finding_is_in_the_title_and_every_gain_has_an_interval():
    text = (DOCS / "study.md").read_text()
    assert text.splitlines()[0].startswith("# SPEED's gain is ")
    assert "predicted" in text.splitlines()[0]
    assert text.count(" to ") > 100


def test_the_sweeps_have_the_axes_that_they_are_asked_for():
    sweeps = script("study_sweeps")
    for name, (over, _) in sweeps.SWEEPS.items():
        with (DOCS / "study" / f"{name}.csv").open() as stream:
            read = csv.DictReader(stream)
            assert set(text.partition("=")[0] for text in over) <= set(read.fieldnames), name
            assert list(read), name
