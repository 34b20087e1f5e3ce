"""Does everything in the documentation do what it says, page by page, in a new user's folder?

A block with a title is a file that the reader writes; `speedsim` lines and Python blocks are run in order; `sh` and
`text` blocks are not (what they need is not everywhere: a card, a cluster, a new environment).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from speedsim.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OWN = ("schedules.md", "traces.md", "speed_paper.md", "score.md")
"""Pages that have tests of their own."""
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if page.name not in OWN]
BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_can_be_followed_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for kind, title, body in BLOCK.findall(page.read_text()):
        if title:
            (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title).write_text(body)
        elif kind == "python":
            if "speedsim.sweeps.run" in body and find_spec("pandas") is None:
                continue
            done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
        elif not kind:
            for line in body.splitlines():
                if "--tier cycle" in line and find_spec("numba") is None:
                    continue
                if line.startswith("speedsim "):
                    assert main(shlex.split(line)[1:]) == 0, f"{line}: {capsys.readouterr().err}"
    capsys.readouterr()


def test_every_picture_of_a_page_is_drawn():
    for page in PAGES:
        for picture in re.findall(r"\(pictures/(\w+)\.svg\)", page.read_text()):
            assert f'"{picture}"' in (DOCS / "pictures.py").read_text() or picture.startswith("strip_")


def test_the_reference_names_every_key_and_every_verb():
    import importlib.util

    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    keys, commands = hooks.keys(), hooks.commands()
    assert "| `hbm.bandwidth` | a rate in bytes, such as 4917 GB/s" in keys
    assert "## gpu" in keys
    for verb in ("run", "report", "explore", "sweep"):
        assert f"\n## {verb}\n" in commands


def test_the_site_is_built_without_a_warning(tmp_path):
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("needs mkdocs and its theme (extra docs)")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "tutorial.html").is_file()
    assert (tmp_path / "pictures" / "depth.svg").read_text().startswith("<svg")
    assert "--set stack.host.turnaround=0us" in (tmp_path / "assumptions.html").read_text()
