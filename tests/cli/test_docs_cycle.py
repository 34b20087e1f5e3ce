"""Does docs/cycle.md do what it says?"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

from speedsim.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "cycle.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", [line for body in BLOCKS for line in body.splitlines()
                                     if line.startswith("speedsim ")])
def test_a_command_runs(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


def test_a_probe_is_a_table_of_counters_over_time(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    monkeypatch.chdir(tmp_path)
    assert main(["kernel", "linear", "--rows", "1", "--n", "1024", "--k", "1024", "--cold", "--tier", "cycle",
                 "--probe", "probe.parquet"]) == 0
    table = pq.read_table("probe.parquet").to_pydict()
    assert set(table["part"]) == {"slice", "channel", "sm"}
    reads = [v for part, name, v in zip(table["part"], table["counter"], table["value"], strict=True)
             if (part, name) == ("channel", "reads")]
    assert max(reads) > 0


def test_only_the_cycle_tier_is_exact_or_probed(capsys):
    assert main(["run", "--exact"]) == 2
    assert "only the tier cycle samples kernels" in capsys.readouterr().err
    assert main(["kernel", "linear", "--rows", "1", "--n", "64", "--k", "64", "--probe", "x.parquet"]) == 2
    assert "only the tier cycle has counters" in capsys.readouterr().err
