"""Is the wheel whole: one package, its data inside, running outside the clone?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAVELS = ("sim", "validate", "workloads", "hw_configs", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone")
    for name in TRAVELS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, clone / name)
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(out), str(clone)], check=True)
    return next(out.glob("*.whl"))


def test_the_wheel_holds_one_import_package_and_its_data(wheel):
    files = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in files if ".dist-info/" not in name} == {"speedsim"}
    for needed in ("hw_configs/gpus/h200_sxm.yaml", "hw_configs/stacks/torch_graph.yaml",
                   "workloads/models/speed_2x6.yaml", "workloads/plans/eager.yaml", "py.typed",
                   "workloads/decoder.py", "validate/__init__.py", "report/templates/page.html"):
        assert f"speedsim/{needed}" in files
    for folder in ("sim", "workloads", "validate"):
        inside = {f"speedsim/{'' if folder == 'sim' else folder + '/'}{p.relative_to(ROOT / folder)}"
                  for p in (ROOT / folder).rglob("*.py")}
        assert inside <= set(files)


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_environment_outside_the_clone(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", str(wheel)], check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SPEEDSIM_PATH")}
    done = subprocess.run([str(python.parent / "speedsim"), "run"], cwd=elsewhere, env=environment, check=True,
                          capture_output=True, text=True)
    assert "autoregressive@speed_12l" in done.stdout
    modules = subprocess.run([str(python), "-c", "import importlib.util as u; print(u.find_spec('torch'))"],
                             cwd=elsewhere, env=environment, check=True, capture_output=True, text=True)
    assert modules.stdout.strip() == "None"
