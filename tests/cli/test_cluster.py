"""Does a dask cluster compute the same table, and does nothing get lost when it dies? Real schedulers and workers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from speedsim import Scenario
from speedsim.cli import main
from speedsim.sweeps.engines import cluster, serial
from speedsim.sweeps.run import planned, run_in
from speedsim.units import InputError

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=20,sequences=2,seed=5"
AXES = ["gpu=h100_sxm,l40s", "schedule.max_in_flight=2:3", "launch.node_gap=1us,2us"]


def points():
    return planned(AXES, Scenario(synth=SYNTH))


def test_without_dask_the_extra_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "distributed", None)
    out = ["--out", str(tmp_path / "out")]
    assert main(["sweep", "--synth", SYNTH, "--over", "batch=1,2", "--cluster", "local", *out]) == 3
    assert "pip install 'speedsim[cluster]'" in capsys.readouterr().err


@pytest.fixture
def dask():
    return pytest.importorskip("distributed", reason="extra cluster is not installed")


@pytest.fixture
def scheduler(dask, tmp_path):
    """A scheduler and a worker as processes of their own; the worker runs where no description lies."""
    place = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", "--no-show",
               "--scheduler-file", str(place)]
    boss = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    worker = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(place),
                               "--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--no-nanny"],
                              cwd=tmp_path, stderr=subprocess.DEVNULL)
    with dask.Client(scheduler_file=str(place), timeout=60) as client:
        client.wait_for_workers(1, timeout=60)
        address = client.scheduler.address
    yield address, boss
    for process in (worker, boss):
        process.kill()
        process.wait()


def test_a_cluster_of_this_machine_computes_the_same_bytes(dask, tmp_path):
    """With more blocks than the workers are given at a time."""
    there = run_in(tmp_path / "there", points(), cluster("local", 1))
    assert there.read_bytes() == run_in(tmp_path / "here", points(), serial).read_bytes()


def test_workers_elsewhere_need_no_file_of_ours(scheduler, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "hw_configs" / "gpus"
    folder.mkdir(parents=True)
    (folder / "my_card.yaml").write_text(
        "extends: h200_sxm\nname: my_card\ntitle: mine\nhbm:\n  bandwidth: {value: 9.8 TB/s, kind: what_if}\n")
    monkeypatch.chdir(tmp_path / "mine")
    asked = planned(["gpu=my_card,h200_sxm"], Scenario(synth=SYNTH))
    there = run_in(tmp_path / "there", asked, cluster(scheduler[0], 1))
    assert there.read_bytes() == run_in(tmp_path / "here", asked, serial).read_bytes()


def test_a_scheduler_that_dies_is_told_and_what_was_computed_is_kept(scheduler, tmp_path):
    address, boss = scheduler

    def dying(found, work):
        for count, one in enumerate(cluster(address, 1)(found, work)):
            yield one
            if not count:
                boss.kill()

    with pytest.raises(InputError, match="the scheduler is gone; what was computed is kept"):
        run_in(tmp_path / "out", points(), dying)
    again = []

    def counted(found, work):
        again.extend(work)
        return serial(found, work)

    table = run_in(tmp_path / "out", points(), counted)
    assert len(again) < len(points().grid.blocks())
    assert table.read_bytes() == run_in(tmp_path / "here", points(), serial).read_bytes()


def test_a_scheduler_that_is_not_there_is_told(dask, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("speedsim.sweeps.engines.CONNECT_S", 1)
    assert main(["sweep", "--synth", SYNTH, "--over", "batch=1,2", "--out", str(tmp_path / "o"),
                 "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert "no scheduler answers" in capsys.readouterr().err.splitlines()[-1]
