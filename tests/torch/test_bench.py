"""The micro-benchmarks and the campaign: sampling, the path on a CPU, and the GPU's paths on a stand-in card."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import itertools
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from speedsim.schedules.autoregressive import Autoregressive  # noqa: E402
from speedsim.schedules.speed import Speed  # noqa: E402
from speedsim.trace import synthetic  # noqa: E402
from speedsim.validate import cli, device_control, shapes, units  # noqa: E402
from speedsim.validate.attention import gather  # noqa: E402
from speedsim.validate.bench import arithmetic, caches, cuda, launch, memory, sampling  # noqa: E402
from speedsim.validate.bench import attention as bench_attention  # noqa: E402
from speedsim.validate.bench.experiment import FAILED, Bench, Experiment, run  # noqa: E402
from speedsim.validate.bench.numbers import RULES, numbers  # noqa: E402
from speedsim.validate.campaign import BENCH, PARTS, cases, counters, design, policy, profiles  # noqa: E402
from speedsim.validate.environment import environment  # noqa: E402
from speedsim.validate.play import Player  # noqa: E402
from speedsim.validate.records import read, read_folder  # noqa: E402
from speedsim.validate.refusal import NotMeasuredError  # noqa: E402

ROOT = Path(__file__).parents[2]
ALL = [*itertools.chain(*PARTS.values()), *BENCH]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def remarks_of(measured):
    return measured.table["remark"].astype(object).fillna("")


# ---------------------------------------------------------------------------------------------------------- sampling


def test_a_steady_point_takes_two_rounds_of_at_least_twenty_repeats():
    point = sampling.measure(lambda: 5.0)
    assert (point.median_us, point.mad_us, point.remark) == (5.0, 0.0, "")
    assert (point.rounds, point.repeats) == (2, 40)
    assert sampling.REPEATS >= 20


def test_rounds_that_differ_are_measured_again_until_two_agree():
    levels = itertools.chain([10.0] * 20, [11.0] * 20, itertools.repeat(12.0))
    point = sampling.measure(lambda: next(levels))
    assert (point.rounds, point.median_us, point.remark) == (4, 12.0, "")


def test_a_point_that_never_settles_is_kept_and_marked():
    drift = itertools.count(100, 3)
    assert sampling.measure(lambda: float(next(drift))).remark == "rounds differ"
    swing = itertools.cycle((10.0, 10.0, 11.0, 12.0))
    assert sampling.measure(lambda: next(swing)).remark == "noisy"


def test_the_median_ignores_what_a_mean_would_not():
    times = iter([1.0] * 39 + [1000.0])
    point = sampling.measure(lambda: next(times))
    assert (point.median_us, point.highest_us) == (1.0, 1000.0)


# -------------------------------------------------------------------------------------------------------- the runner


def counting(calls, fail=()):
    def measure(bench, point):
        calls.append(point["n"])
        if point["n"] in fail:
            raise NotMeasuredError("no such unit here") if point["n"] % 2 else ValueError("broken")
        return {"twice": 2 * point["n"], **bench.point(lambda: 1.0)}

    def points(bench):
        return ({"n": n} for n in range(4))

    return Experiment("counting", "a test", ("n",), ("twice",), points, measure, 1)


def test_a_run_goes_on_where_the_time_was_up(tmp_path):
    bench, where, calls = Bench("cpu", quick=True), environment("cpu"), []
    (first,) = run([counting(calls)], tmp_path, bench, where, minutes=1e-9) or (None,)
    assert first is None or not first.whole
    (second,) = run([counting(calls)], tmp_path, bench, where, minutes=1)
    assert second.whole
    assert sorted(calls) == [0, 1, 2, 3]
    run([counting(calls)], tmp_path, bench, where, minutes=1)
    assert len(calls) == 4, "what is on the disk is not measured again"
    assert read(tmp_path / "counting.csv").table["twice"].tolist() == [0, 2, 4, 6]


def test_what_cannot_be_measured_is_written_down_with_its_reason(tmp_path):
    bench, where, calls = Bench("cpu", quick=True), environment("cpu"), []
    (outcome,) = run([counting(calls, fail=(1, 2))], tmp_path, bench, where, minutes=1)
    assert (outcome.rows, outcome.not_measured) == (4, 2)
    remarks = remarks_of(read(tmp_path / "counting.csv")).tolist()
    assert remarks == ["", "not measured: no such unit here", f"{FAILED} ValueError: broken", ""]
    run([counting(calls)], tmp_path, bench, where, minutes=1, again=True)
    assert calls == [0, 1, 2, 3, 2], "only the broken point is measured once more"
    assert FAILED not in "".join(remarks_of(read(tmp_path / "counting.csv")))


# ---------------------------------------------------------------------------------------------- the path, end to end


@pytest.mark.parametrize("part", [1, 2, 4])
def test_a_part_of_the_campaign_runs_on_a_cpu(part, tmp_path):
    assert cli.main(["campaign", "--part", str(part), "--device", "cpu", "--quick", "--out", str(tmp_path)]) == 0
    found = read_folder(tmp_path)
    wanted = {e.name for e in PARTS[part] if "cpu" in e.devices}
    assert set(found) == wanted
    for measured in found.values():
        remarks = remarks_of(measured)
        assert not remarks.str.startswith(FAILED).any(), remarks.tolist()
        assert measured.table["median_us"].notna().any() or measured.name == "chase"


def test_replay_and_live_are_one_command_each(tmp_path, capsys):
    common = ["--device", "cpu", "--model", str(small_model(tmp_path)), "--tokens", "6", "--repeats", "1"]
    assert cli.main(["live", *common, "--control", "device", "--record", str(tmp_path / "own.jsonl")]) == 0
    assert cli.main(["replay", *common, "--trace", str(tmp_path / "own.jsonl")]) == 0
    assert '"source": "measured on ' in capsys.readouterr().out


def small_model(folder):
    model = dataclasses.replace(shapes.load("speed_2x6"), d_model=64, q_heads=1, kv_heads=1, ffn=128, vocab=97)
    shapes.write(model, folder / "small.json")
    return folder / "small.json"


def test_without_a_card_the_default_device_is_refused(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    assert cli.main(["campaign", "--part", "1"]) == 2
    assert "no CUDA device here; --device cpu" in capsys.readouterr().err


ALONE = """
import runpy, sys
sys.argv = ["validate", "environment", "--device", "cpu"]
HIDE
try:
    runpy.run_module("validate", run_name="__main__")
except SystemExit as end:
    assert not end.code
files = {}
for module in set(sys.modules.values()):
    path = str(getattr(module, "__file__", None))
    if path.startswith("ROOT/") and not path.startswith("ROOT/."):
        files.setdefault(path, []).append(module.__name__)
assert any(path.endswith("sim/units.py") for path in files), sorted(files)
assert not [names for names in files.values() if len(names) > 1], files
"""
HIDE = """
import importlib.machinery
sys.meta_path = [f for f in sys.meta_path if "editable" not in str(f)]
sys.path = [p for p in sys.path if "speedsim" not in p]
"""


@pytest.mark.parametrize("hide", ["", HIDE], ids=["as it is", "not installed"])
def test_the_module_runs_in_a_bare_clone_and_loads_nothing_twice(hide):
    code = ALONE.replace("HIDE", hide).replace("ROOT", str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120,
                          check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert '"card"' in done.stdout


# ------------------------------------------------------------------------------------------------------ a stand-in card


class Event:
    def __init__(self, enable_timing=False):
        self.at = 0.0

    def record(self):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return (other.at - self.at) * 1e3


class Stream:
    cuda_stream = 0

    def wait_stream(self, other):
        pass

    def synchronize(self):
        pass


class Graph:
    """Runs what it captured; like a capture, it also runs it before."""

    def __init__(self, work, pool=None, stream=None):
        self.replay = work
        for _ in range(3):
            work()

    def pool(self):
        return (0, 0)


class Kernels:
    """Takes every call that the library would take, by the number of its arguments."""

    def call(self, name, *arguments, on_stream=True):
        assert len(arguments) + on_stream == len(cuda.SIGNATURES[name]), name
        if name == "clock_spin":
            arguments[3].fill_(2), arguments[4].fill_(1)
        return 0

    def chain_graph(self, nodes, blocks, threads, dependent, data):
        return ctypes.c_void_p()


def without_triton(name, device):
    if name == "indirect":
        raise ImportError
    return gather


@pytest.fixture
def stand_in(monkeypatch):
    """Makes the harness take the CPU for a card."""
    monkeypatch.setattr(Bench, "cuda", True)
    for module in (units, launch, caches, arithmetic, policy, device_control):
        monkeypatch.setattr(module, "capture", Graph)
    for module in (launch, caches, memory, arithmetic, policy):
        monkeypatch.setattr(module, "kernels", Kernels)
    for name, value in {
        "Event": Event, "Stream": Stream, "synchronize": lambda *_: None, "empty_cache": lambda: None,
        "current_stream": lambda *_: Stream(), "get_device_capability": lambda *_: (9, 0),
        "stream": lambda _: contextlib.nullcontext(),
        "get_device_properties": lambda *_: SimpleNamespace(multi_processor_count=4),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    zeros = torch.zeros

    def unpinned(*size, pin_memory=False, **how):
        return zeros(*size, **how)

    monkeypatch.setattr(torch, "zeros", unpinned)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(bench_attention, "backend", without_triton)
    monkeypatch.setattr(profiles, "kernel_names", lambda work: (work(), [("gemm", 1.0)])[1])
    tiny = dataclasses.replace(shapes.load("speed_2x6"), d_model=64, q_heads=1, kv_heads=1, ffn=128, vocab=97)
    kept = ("group_layers", "repetitions", "default_trace")
    monkeypatch.setattr(cases, "load", lambda name: dataclasses.replace(
        tiny, name=name, **{field: getattr(shapes.load(name), field) for field in kept}))


@pytest.mark.parametrize("experiment", {e.name: e for e in ALL}.values(), ids=lambda e: e.name)
def test_every_experiment_takes_its_gpu_path_on_a_stand_in_card(experiment, stand_in, tmp_path):
    where = environment("cpu")
    (outcome,) = run([experiment], tmp_path, Bench("cpu", quick=True), where, minutes=5)
    table = read(tmp_path / f"{experiment.name}.csv").table
    assert outcome.whole
    assert len(table) > 0
    remarks = remarks_of(read(tmp_path / f"{experiment.name}.csv"))
    assert not remarks.str.startswith(FAILED).any(), remarks.tolist()


@pytest.mark.parametrize("experiment", {e.name: e for e in ALL}.values(), ids=lambda e: e.name)
def test_no_two_points_of_an_experiment_have_one_name(experiment, stand_in):
    points = [tuple(point[k] for k in experiment.keys) for point in experiment.points(Bench("cpu"))]
    assert len(points) == len(set(points)) > 0


def test_part_one_is_expected_to_end_within_its_eight_minutes():
    assert sum(e.seconds for e in PARTS[1]) <= 8 * 60
    assert sum(e.seconds for e in PARTS[2]) <= 8 * 60


@pytest.mark.parametrize("schedule", [Speed(), Autoregressive(), Speed(exits=(1, 3))], ids=str)
def test_captured_units_run_the_rows_and_say_the_words_of_eager_ones(schedule, monkeypatch):
    """Capturing runs a unit over rows that nobody reads; what comes after must not notice."""
    decoder = shapes.random_decoder(shapes.Shape(32, 4, 2, 8, 64, 61, 2, 3), seed=2, stir=3.0)
    prompts, texts = {0: [5, 9, 2]}, [device_control.Text(0, 2, 12, 3)]
    eager = Player(decoder, 64, source="test", launch="eager")
    captured = Player(decoder, 64, source="test", launch="graph", widths=(2, 3))
    monkeypatch.setattr(units, "capture", Graph)
    captured.units.launch = "graph"
    lines = [player.live(schedule, texts, prompts) for player in (eager, captured, captured)]
    assert captured.units.captured > 0
    assert lines[0].occurrence_rows == lines[1].occurrence_rows == lines[2].occurrence_rows
    assert any("graphs were captured during the run" in note for note in lines[1].notes)
    assert not any("graphs were captured during the run" in note for note in lines[2].notes)


@pytest.mark.parametrize("schedule", [Speed(), Autoregressive()], ids=str)
def test_the_device_loop_keeps_ahead_and_drops_what_ran_behind_the_end(schedule, stand_in, monkeypatch):
    decoder = shapes.random_decoder(shapes.Shape(32, 4, 2, 8, 64, 61, 2, 3), seed=2, stir=3.0)
    facts = synthetic([0.3, 0.2], 3, 9, 2, seed=1, first=4).sequences
    here = Player(decoder, 64, source="test", control="device").replay(schedule, facts)
    monkeypatch.setattr(device_control.DeviceLoop, "_drive_here", device_control.DeviceLoop._drive_ahead)
    ahead = Player(decoder, 64, source="test", control="device").replay(schedule, facts)
    assert ahead.occurrence_rows == here.occurrence_rows
    assert ahead.counters == here.counters
    assert list(ahead.commit_ps) == sorted(ahead.commit_ps)


def test_a_captured_device_step_starts_from_the_state_that_capturing_found(stand_in):
    decoder = shapes.random_decoder(shapes.Shape(32, 4, 2, 8, 64, 61, 2, 3), seed=2, stir=3.0)
    text, runs = device_control.Text(0, 2, 12, 3), []
    for captures in (False, True):
        stage = device_control.Stage(decoder, 8, 1, 64)
        stage.prefill(0, torch.tensor([5, 9, 2]))
        loop = device_control.DeviceLoop(stage, Speed(), "graph", 100)
        loop._capture = captures
        loop._drive_here = loop._drive_ahead
        runs.append([loop.run(text, 2).sweeps for _ in range(2)])
    assert runs[0][0] == runs[0][1] == runs[1][0] == runs[1][1]
    assert sum(len(sweep.rows) for sweep in runs[0][0]) > 30


def test_the_timer_reads_events_on_a_card(stand_in):
    sample = sampling.timer("cuda", lambda: time.sleep(0.001), inner=2)
    assert 900 < sample() < 50_000


# ------------------------------------------------------------------------------------------- CUDA source, counters


def test_the_kernels_compile_and_export_every_function_that_is_called(tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is absent")
    library = ctypes.CDLL(str(cuda.build("90", tmp_path)))
    for name in cuda.SIGNATURES:
        assert getattr(library, name)


def test_a_missing_compiler_is_a_reason_and_no_crash(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(NotMeasuredError, match="nvcc is absent"):
        cuda.build("90", tmp_path)


def test_counters_are_summed_over_a_passes_kernels_in_bytes():
    text = '\n'.join([
        "==PROF== Connected", '"ID","Kernel Name","dram__bytes_read.sum","lts__t_sectors_op_read.sum"',
        '"","","Mbyte","sector"', '"0","gemm","1.5","1,000"', '"1","add","0.5","24"',
    ])
    assert counters.parse(text) == {"kernels": 2.0, "hbm_read_bytes": 2e6, "l2_sectors": 1024.0}
    with pytest.raises(NotMeasuredError, match="printed no table"):
        counters.parse("==ERROR== no permission")


# ----------------------------------------------------------------------------------------------------- the design


def test_the_committed_design_is_what_its_seed_makes():
    assert design.FILE.read_text() == design.text(design.make())


def test_sixty_points_are_held_out_at_least_five_in_each_regime():
    points = design.read()
    assert (len(points), sum(p.held_out for p in points)) == (150, 60)
    for name in design.REGIMES:
        assert sum(p.held_out for p in points if p.regime == name) >= 5
    assert {p.model for p in points} == set(design.MODELS)
    assert all(1 <= p.rows <= 64 and 64 <= p.context <= 8192 for p in points)
    assert {p.launch for p in points} == {"eager", "graph"}


def test_the_regime_is_the_largest_closed_form():
    terms = {"host": 0.0, "launch": 1.0, "weights": 3.0, "kv": 2.0, "flop": 1.5, "unique_bytes": 1e9}
    assert design.regime(terms) == "weights"
    assert design.regime(terms | {"host": 4.0}) == "host"
    assert design.regime(terms | {"kv": 5.0}) == "kv"
    assert design.regime(terms | {"launch": 9.0}) == "launch"
    assert design.regime(terms | {"launch": 9.0, "unique_bytes": 2e7}) == "l2"


def test_a_number_names_the_table_it_came_from():
    known = {e.name for e in BENCH}
    assert {table for _, table, _, _, _ in RULES} <= known
    assert numbers({}) == []
