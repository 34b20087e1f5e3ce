"""Does docs/schedules.md hold? Its example is a schedule that keeps the contract, and its commands run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from contract import CLAUSES, strictly
from speedsim import registry
from speedsim.cli import main
from worlds import sequence

PAGE = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
EXAMPLE = PAGE.split("<!-- schedule -->\n```python\n", 1)[1].split("\n```", 1)[0] + "\n"
COMMANDS = re.findall(r"^speedsim .*$", PAGE, re.MULTILINE)


@pytest.fixture
def ahead(tmp_path, monkeypatch):
    """The example, found by its name as if it lay in sim/schedules."""
    module = ModuleType("speedsim.schedules.ahead")
    module.__package__ = "speedsim.schedules"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(EXAMPLE, module.__dict__)
    (tmp_path / "ahead.py").write_text(EXAMPLE)
    folders = registry.folders
    monkeypatch.setattr(registry, "folders",
                        lambda kind: [*folders(kind), tmp_path] if kind == "schedules" else folders(kind))
    return module.SCHEDULE


def test_the_example_is_short():
    assert len([line for line in EXAMPLE.splitlines() if line]) < 60


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("repetitions", [1, 4])
def test_the_example_keeps_the_contract(ahead, repetitions, clause):
    clause(ahead(draft="tiny"), repetitions)


def test_independent_acceptance_gives_the_closed_form(ahead):
    count, a, k = 20_000, 0.7, 4
    verifications = strictly(ahead("tiny", k), sequence([[0]] * count), a).sweeps
    expected = (1 - a ** (k + 1)) / (1 - a)
    square = sum((2 * j + 1) * a**j for j in range(k + 1))
    error = ((square - expected**2) / verifications) ** 0.5
    assert abs(count / verifications - expected) < 4 * error


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(ahead, command, capsys):
    assert main([*shlex.split(command)[1:], "--tokens", "100"]) == 0
    assert capsys.readouterr().out
