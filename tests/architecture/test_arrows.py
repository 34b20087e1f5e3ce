"""Does every file import only from its own row of the house or above, and know no more than it may?"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SIM = ROOT / "sim"
ROWS = [
    {"units", "program", "timeline", "registry", "files"},
    {"reading", "config", "dram", "hardware", "stack", "model", "plan", "trace", "huggingface",
     "catalog", "shelf", "validated", "compared"},
    {"oracle", "batch", "schedules", "kernels", "schedule_names"},
    {"machine"},
    {"scenario", "further", "sampling", "text", "changes"},
    {"one_cache", "one_kernel", "one_pass", "check_me", "many_kernels", "metrics", "memory", "result", "comparison",
     "show", "timeline_files", "report", "schema", "uncertainty", "energy", "knee", "intervals", "transfer", "suites",
     "sweeps", "whatifs"},
    {"cli", "verbs", "parsing", "screen", "scenario_options", "__main__", "__init__"},
]
DOORS = {"traces": "trace"}
"""Rooms whose door is a file of its own: both are one part."""
ROW = {name: number for number, names in enumerate(ROWS) for name in names}


def part_of(path: Path) -> str:
    inside = path.relative_to(SIM)
    part = inside.parts[0] if len(inside.parts) > 1 else inside.stem
    return DOORS.get(part, part)


def imports(path: Path) -> set[str]:
    """Parts of sim, and top packages, that a file imports; imports for type checkers only are left out."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner) for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = ["speedsim", *path.relative_to(SIM).parts[:-1]]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), f"{path}: import *"
            base = package[: len(package) - node.level + 1] if node.level else []
            whole = [*base, *(node.module.split(".") if node.module else [])]
            if whole == ["speedsim"]:
                found |= {f"speedsim.{alias.name}" for alias in node.names if (SIM / f"{alias.name}.py").exists()}
            else:
                found.add(f"speedsim.{whole[1]}" if whole[0] == "speedsim" else whole[0])
    return found


FILES = sorted(SIM.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SIM)))
def test_a_file_imports_only_from_its_row_or_above(path):
    mine = ROW[part_of(path)]
    for name in imports(path):
        if name.startswith("speedsim."):
            other = DOORS.get(name.split(".")[1], name.split(".")[1])
            assert ROW[other] <= mine, f"{path.name} (row {mine}) imports {other} (row {ROW[other]})"


FORBIDDEN = {
    "schedules": {"simpy", "numpy", "speedsim.hardware", "speedsim.stack", "speedsim.kernels", "speedsim.machine",
                  "speedsim.timeline", "speedsim.oracle", "speedsim.trace"},
    "kernels": {"simpy", "speedsim.machine", "speedsim.program"},
    "machine": {"speedsim.schedules", "speedsim.trace", "speedsim.oracle", "speedsim.batch"},
    "metrics": {"speedsim.machine", "speedsim.validate", "speedsim.hardware"},
    "report": {"speedsim.machine", "speedsim.validate", "simpy"},
    "program": {"numpy", "simpy", "speedsim.hardware"},
}
"""The four ignorances: a schedule does not know time, a kernel model what else runs, a machine why, a reader who."""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SIM)))
def test_a_file_knows_no_more_than_it_may(path):
    found = imports(path)
    assert not found & FORBIDDEN.get(part_of(path), set())
    assert not found & {"torch", "validate", "workloads", "speedsim.validate", "speedsim.workloads"}
    assert "simpy" not in found or part_of(path) == "machine"
    assert not found & {"jinja2", "plotly"} or part_of(path) == "report"


def test_the_program_needs_the_standard_library_alone():
    assert imports(SIM / "program.py") - {"speedsim.timeline"} <= set(sys.stdlib_module_names)


def test_imports_go_round_in_no_circle():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        tree = ast.parse(path.read_text())
        top = {ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom) and node.level}
        names = {part_of(SIM / f"{line.split()[1].lstrip('.').split('.')[0]}.py") for line in top
                 if line.split()[1].lstrip(".")}
        graph.setdefault(part_of(path), set()).update(names & ROW.keys() - {part_of(path)})
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in graph.get(name, ()):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


BARE = """
import sys
for name in ("simpy", "pydantic", "pyarrow", "plotly", "ruamel", "ruamel.yaml"):
    sys.modules[name] = None
from speedsim import batch, model, oracle, program, timeline, trace
from speedsim.reading import plain
from speedsim.schedules import autoregressive, speed
made = trace.synthetic([0.3, 0.1], 3, 20)
facts = {s.id: s for s in made.sequences}
watching = oracle.TraceOracle(facts)
ids = program.Ids()
each = ((s.id, speed.Speed().program(watching, program.Text(s.id, s.first, s.count, 3), ids)) for s in facts.values())
commits = 0
run = program.watched(batch.in_lock_step(each, 1, ids), watching)
command = next(run)
try:
    while True:
        commits += isinstance(command, program.Commit)
        command = run.send(command.passes if isinstance(command, program.Wait) else program.NOTHING)
except StopIteration:
    print(commits)
"""


def test_a_schedule_runs_where_only_numpy_is_installed():
    done = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "20", done.stderr


def test_help_imports_nothing_heavy():
    code = ("import sys; from speedsim import cli\n"
            "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
            "heavy = {'numpy', 'simpy', 'pydantic', 'ruamel', 'pyarrow', 'pandas', 'plotly', 'torch'}\n"
            "heavy &= set(sys.modules)\n"
            "print('HEAVY', sorted(heavy), len(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()[-1].split(" ", 1)[1]
    assert words.startswith("[]"), words
    assert int(words.split()[-1]) < 200


def test_no_module_loads_twice_in_a_bare_clone(tmp_path):
    code = ("import runpy, sys\n"
            f"sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})]\n"
            "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
            f"runpy.run_path({str(SIM / '__main__.py')!r})['register']()\n"
            "import speedsim.scenario, speedsim.workloads, speedsim.validate\n"
            "files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, '__file__', None)"
            f" and m.__file__.startswith({str(ROOT)!r})]\n"
            "assert len(files) > 5 and len(files) == len(set(files)), files\n"
            "print('once')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.strip() == "once", done.stderr


def test_rooms_are_small():
    long = {str(p.relative_to(ROOT)): n for p in FILES if (n := len(p.read_text().splitlines())) > 320}
    assert not long, f"a new noun, not a longer file: {long}"
