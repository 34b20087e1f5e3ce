"""Does everything in the README do what it says?"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from speedsim.cli import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, body in BLOCKS if not kind for line in body.splitlines() if line.startswith("speedsim ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where all of them run, one after the other."""
    return tmp_path_factory.mktemp("reader")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(shlex.split(command)[1:]) == 0
    assert capsys.readouterr().out


def test_the_readme_shows_todays_answer(capsys):
    assert main(["run"]) == 0
    shown = README.split("<!-- demo -->\n```\n", 1)[1].split("```", 1)[0]
    assert shown == capsys.readouterr().out


def test_the_first_screen_shows_how_to_try_and_how_to_test():
    first = README.splitlines()[:25]
    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


def test_the_python_of_the_readme_runs():
    blocks = [body for kind, body in BLOCKS if kind == "python"]
    assert blocks
    for body in blocks:
        subprocess.run([sys.executable, "-c", body], check=True, capture_output=True)


def test_a_gpu_and_a_model_are_added_by_one_file_each(tmp_path, monkeypatch, capsys):
    yaml = [body for kind, body in BLOCKS if kind == "yaml"]
    for folder, body in (("hw_configs/gpus", yaml[0]), ("workloads/models", yaml[1])):
        name = re.search(r"^name: (\w+)$", body, re.MULTILINE)[1]
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{name}.yaml").write_text(body)
    monkeypatch.chdir(tmp_path)
    flips = "+".join(["0.1"] * 7)
    assert main(["run", "--gpu", "my_card", "--model", "my_model", "--synth", f"flips={flips},count=20"]) == 0
    assert "autoregressive@my_model~32l" in capsys.readouterr().out
    assert main(["list", "gpus"]) == 0
    assert "my_card" in capsys.readouterr().out


def test_the_picture_is_what_its_script_draws():
    import importlib.util

    spec = importlib.util.spec_from_file_location("pipeline", ROOT / "docs" / "pipeline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs" / "pipeline.svg").read_text() == module.draw()
