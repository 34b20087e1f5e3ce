"""Are published speed-ups predicted from their acceptance alone, and counted only where all facts were published?"""

from __future__ import annotations

import json

import pytest
from speedsim.cli import main
from speedsim.suites.published import Row, read
from speedsim.units import InputError

HEAD = ",".join(Row._fields)
TWO = f"""{HEAD}
Copy,copying,h200_sxm,torch_graph,llama_3_2_1b,copying:k=4,64,length:2.0,1.8,Somewhere
Copy again,copying,h200_sxm,torch_graph,llama_3_2_1b,copying:k=4,64,0.5,1.8,"Elsewhere, assumed"
"""


def answer(capsys, *arguments):
    assert main(["suite", "published", *arguments, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_gain_follows_from_the_acceptance_length(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text(TWO)
    first, second = answer(capsys, "--rows", str(table))["rows"]
    assert first["acceptance_length"] == first["null"] == 2.0
    assert 1.0 < first["predicted_speedup"] < 2.0  # a round costs a little more than a plain step
    assert first["error"] == pytest.approx(first["predicted_speedup"] / 1.8 - 1)
    assert first["counts"]
    assert not second["counts"]


def test_rows_that_lean_on_an_assumption_count_in_no_figure(tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text(TWO)
    summary = answer(capsys, "--rows", str(table))["summary"]
    assert summary["rows"] == summary["mechanisms"] == 1


def test_the_shipped_table_is_whole():
    from speedsim.registry import find

    rows = list(read(find("suites", "published").with_name("published.csv")))
    assert len({row.mechanism for row in rows if row.counts}) >= 6
    assert all(row.speedup > 1 for row in rows)


@pytest.mark.parametrize(("content", "words"), [
    ("", "the first line names"), ("a,b\n", "the first line names"), (f"{HEAD}\n1,2\n", ":2: '1,2' is no row"),
    (f"{HEAD}\na,b,c,d,e,f,many,0.5,2,s\n", ":2:"),
])
def test_a_damaged_table_is_refused_with_its_line(tmp_path, content, words):
    file = tmp_path / "t.csv"
    file.write_text(content)
    with pytest.raises(InputError, match=words):
        list(read(file))
