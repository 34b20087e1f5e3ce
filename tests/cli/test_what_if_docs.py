"""Does everything in docs/what_if.md and in the example notebook run?"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from speedsim.cli import main

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.findall(r"^```([\w-]*)\n(.*?)^```$", (DOCS / "what_if.md").read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, body in BLOCKS if not kind for line in body.splitlines() if line.startswith("speedsim ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_runs(command, tmp_path, monkeypatch, capsys):
    if "--cluster" in command:
        pytest.importorskip("distributed", reason="extra cluster is not installed")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


def test_the_python_of_the_page_runs():
    (body,) = [body for kind, body in BLOCKS if kind == "python"]
    subprocess.run([sys.executable, "-c", body], check=True, capture_output=True)


def test_the_notebook_runs_from_top_to_bottom():
    cells = json.loads((DOCS / "example.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert code.count("sweep(") >= 1
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
