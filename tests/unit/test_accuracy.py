"""Is docs/accuracy.md written where its marks are, and only there?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from speedsim.units import InputError
from speedsim.validate import accuracy
from speedsim.validate.accuracy_picture import picture

DOCUMENT = Path(__file__).parents[2] / "docs" / "accuracy.md"


def test_every_part_has_its_place_in_the_document():
    held = DOCUMENT.read_text()
    for name in accuracy.PARTS:
        assert held.count(f"<!-- {name} -->") == held.count(f"<!-- /{name} -->") == 1, name


def test_a_part_is_written_between_its_marks_and_nothing_else_changes(tmp_path):
    path = tmp_path / "doc.md"
    path.write_text("by hand\n<!-- a -->\nold\nold\n<!-- /a -->\nby hand\n<!-- b -->\nkept\n<!-- /b -->\n")
    accuracy.put(path, "a", r"new \1")
    assert path.read_text() == "by hand\n<!-- a -->\nnew \\1\n<!-- /a -->\nby hand\n<!-- b -->\nkept\n<!-- /b -->\n"
    with pytest.raises(InputError, match="no <!-- c -->"):
        accuracy.put(path, "c", "text")


def test_an_unknown_part_is_refused():
    with pytest.raises(InputError, match="no part; there are linear-scores"):
        accuracy.main(["--only", "linear-score"])


def test_a_table_has_a_head_and_a_line_for_each():
    assert accuracy.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_a_picture_has_a_panel_for_each_gpu_and_every_row_in_a_square():
    drawn = picture({"one": (np.array([1e-9, 1.0, 1.0, 1e9]), np.array([0.1, 1.0, 1.0, 9.0])),
                     "two": (np.array([1.0]), np.array([1.0]))})
    assert drawn.count("<g transform") == 2
    assert drawn.count("v4h-4z") == 3 + 1
    assert "nan" not in drawn
