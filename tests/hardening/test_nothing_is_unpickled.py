"""Does anything that reads a file run what is in it?"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = sorted(path for folder in ("sim", "validate", "workloads", "benchmarks", "docs")
              for path in (ROOT / folder).rglob("*.py"))

RUNS = {"eval", "exec", "compile", "__import__"}
"""Built-in functions that run text."""
UNPICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def called(node: ast.Call) -> str:
    """`torch.load` of a call, as it is written."""
    return ast.unparse(node.func)


def given(node: ast.Call, name: str) -> object:
    """The constant that a keyword is given; None where it is not."""
    for keyword in node.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def risks(text: str) -> list[str]:
    """Every call or import that could run what a file holds."""
    tree = ast.parse(text)
    unpickling = {name.asname or name.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                  for name in node.names if name.name.partition(".")[0] in UNPICKLES}
    found = [ast.unparse(node) for node in ast.walk(tree)
             if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in UNPICKLES
             and not all(name.name.endswith("Error") for name in node.names)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        if (name in RUNS or name.partition(".")[0] in unpickling
                or (name == "torch.load" and given(node, "weights_only") is not True)
                or (name in ("np.load", "numpy.load") and given(node, "allow_pickle") is True)
                or name.endswith((".read_pickle", ".to_pickle", "yaml.load", "yaml.unsafe_load", "os.system"))
                or given(node, "shell") is True or given(node, "trust_remote_code") is True):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_run_or_unpickled(path):
    assert risks(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", [
    "import pickle\npickle.load(f)", "import pickle as p\np.loads(b)", "from pickle import loads", "eval('1')",
    "exec(text)", "torch.load(f)", "torch.load(f, weights_only=False)", "np.load(f, allow_pickle=True)",
    "subprocess.run(c, shell=True)", "pd.read_pickle(f)", "yaml.load(f)",
])
def test_the_check_sees_what_it_is_for(text):
    assert risks(text)
