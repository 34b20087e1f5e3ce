"""Does a sweep say the same as single runs, whoever computes it and however often it is killed?"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from speedsim import Scenario
from speedsim.cli import main
from speedsim.result import answer, document
from speedsim.sweeps.engines import processes, serial
from speedsim.sweeps.run import planned, run_in

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=20,sequences=2,seed=5"
AXES = ["gpu=h100_sxm,l40s", "hbm.bandwidth=1TB/s:3TB/s:1TB/s", "schedule.max_in_flight=2:3", "launch.node_gap=1us,2us"]


def rows_of(path):
    return pq.read_table(path, page_checksum_verification=True).to_pylist()


def swept(folder, over, *, engine=serial, link=(), **fields):
    return run_in(folder, planned(over, Scenario(synth=SYNTH, **fields), link), engine)


@pytest.mark.parametrize("fields", [
    {}, {"tier": "roofline"}, {"launch": "eager", "batch": 2}, {"control": "device"},
    {"sets": (("energy.limit", "120W"), ("energy.window", "1us"))},  # a board that is slowed down is played
], ids=str)
def test_a_row_is_the_run_with_its_values(tmp_path, fields):
    rows = rows_of(swept(tmp_path / "out", AXES, **fields))
    assert len(rows) == 24
    assert [row["hbm.bandwidth"] for row in rows[:12:4]] == ["1TB/s", "2TB/s", "3TB/s"]
    for row in (rows[0], rows[7], rows[16]):
        sets = tuple((key, str(row[key])) for key in ("hbm.bandwidth", "schedule.max_in_flight", "launch.node_gap"))
        whole = fields | {"sets": (*fields.get("sets", ()), *sets)}
        told = document(answer(Scenario(gpu=row["gpu"], synth=SYNTH, record="summary", **whole)))
        one = told["schedules"][told["schedule"]["name"]]
        assert row["refused"] is None
        for name in ("time_per_token_us", "tokens_per_s", "total_us", "end_to_end_us", "passes", "committed_tokens",
                     "kernels_per_token", "l2_hit_fraction", "mbu", "mfu"):
            assert row[name] == pytest.approx(one[name], rel=1e-12), name
        for bound, value in one["time_by_bound_us"].items():
            assert row[f"time_by_bound_us.{bound}"] == pytest.approx(value, rel=1e-12)
        for kind, value in one["bytes_per_token"]["hbm"].items():
            assert row[f"bytes_per_token.hbm.{kind}"] == pytest.approx(value, rel=1e-12)
        for name, value in told["gain"].items():
            assert row[f"gain.{name}"] == pytest.approx(value, rel=1e-12), name
        for key, value in told["gain_over"].items():
            assert row[f"gain_over.{key}"] == pytest.approx(value, rel=1e-12)
        interval = told["intervals"]["gain.speedup"]
        assert (row["gain.low"], row["gain.high"]) == pytest.approx((interval["low"], interval["high"]), rel=1e-12)
        assert row["hbm.bandwidth_bytes_per_s"] == float(row["hbm.bandwidth"].removesuffix("TB/s")) * 1e12


def test_neither_engine_nor_workers_nor_order_change_a_byte(tmp_path):
    def backwards(points, work):
        return serial(points, work[::-1])

    tables = {swept(tmp_path / name, AXES, engine=engine).read_bytes() for name, engine in (
        ("serial", serial), ("two", processes(2)), ("three", processes(3)), ("backwards", backwards))}
    assert len(tables) == 1


def test_linked_axes_go_together(tmp_path):
    rows = rows_of(swept(tmp_path / "out", ["gpu=h100_sxm,l40s", "batch=1,2", "launch.node_gap=1us,2us,3us"],
                         link=["gpu,batch"]))
    assert [(row["gpu"], row["batch"]) for row in rows] == [("h100_sxm", 1)] * 3 + [("l40s", 2)] * 3


def test_a_combination_that_no_data_cover_is_a_row_that_says_so(tmp_path):
    rows = rows_of(swept(tmp_path / "out", ["gpu=h200_sxm,l40s", "launch=graph,graph+pdl"]))
    assert [row["refused"] is None for row in rows] == [True, True, True, False]
    assert "no figure for it" in rows[3]["refused"]
    assert rows[3]["gain.speedup"] is None


KILLED = """
import sys
from pathlib import Path
from speedsim import Scenario
from speedsim.sweeps.run import planned, run_in
from speedsim.sweeps.engines import processes
points = planned(["schedule.max_in_flight=1:4", "l2.capacity=20MiB:60MiB:10MiB"], Scenario(synth=sys.argv[2]))
print("begins", flush=True)
run_in(Path(sys.argv[1]), points, processes(2))
"""


def test_killed_at_any_moment_it_ends_with_the_same_table(tmp_path):
    moments = random.Random(4)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "killed"), SYNTH]
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "begins\n"
            time.sleep(moments.uniform(0, 0.5))
            os.kill(child.pid, signal.SIGKILL)
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run([*command[:3], str(tmp_path / "whole"), SYNTH], check=True, capture_output=True)
    assert (tmp_path / "killed" / "table.parquet").read_bytes() == (tmp_path / "whole" / "table.parquet").read_bytes()
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [".journal", "inputs.json", "table.parquet"]


def test_what_was_computed_is_not_computed_again(tmp_path):
    computed = []

    def interrupted(points, work):
        for number, content in serial(points, work):
            computed.append(number)
            yield number, content
            if len(computed) == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path / "out", AXES, engine=interrupted)
    with_rest = swept(tmp_path / "out", AXES, engine=interrupted)
    assert computed == [0, 1, 2, 3]
    assert with_rest.read_bytes() == swept(tmp_path / "whole", AXES).read_bytes()


def test_other_inputs_or_other_code_do_not_go_on(tmp_path, capsys, monkeypatch):
    arguments = ["sweep", "--synth", SYNTH, "--out", str(tmp_path / "out"), "--engine", "serial"]
    assert main([*arguments, "--over", "gpu=l40s"]) == 0
    before = (tmp_path / "out" / "table.parquet").read_bytes()
    assert main([*arguments, "--over", "gpu=l40s,h200_sxm"]) == 2
    assert "holds another sweep: axes, " in capsys.readouterr().err
    assert main([*arguments, "--over", "gpu=l40s", "--batch", "2"]) == 2
    monkeypatch.setattr("speedsim.sweeps.run.code_hash", lambda: "other")
    assert main([*arguments, "--over", "gpu=l40s"]) == 2
    assert "code differ" in capsys.readouterr().err
    assert (tmp_path / "out" / "table.parquet").read_bytes() == before


def test_the_screen_shows_each_axis_the_best_point_and_the_worst(tmp_path, capsys):
    assert main(["sweep", "--synth", SYNTH, "--out", str(tmp_path / "out"), "--over", "gpu=l40s,h200_sxm",
                 "--over", "hbm.bandwidth=1TB/s:20TB/s:1TB/s", "--workers", "2"]) == 0
    out, err = capsys.readouterr()
    assert "40 points, 0 of them refused: predicted" in out
    assert "gpu=h200_sxm " in out
    assert "(20 values, 12 shown)" in out
    assert "\nbest " in out
    assert "40 of 40 points" in err
    told = json.loads((tmp_path / "out" / "inputs.json").read_text())
    assert told["points"] == 40
    assert told["descriptions"]["gpu l40s"]["inputs"]["sm"]["count"]["value"] == 142


@pytest.mark.parametrize(("arguments", "said"), [
    (["--over", "hbm.bandwith=1TB/s,2TB/s"], "--over hbm.bandwith=1TB/s: hbm.bandwith: unknown key (did you mean band"),
    (["--over", "bacth=1,2"], "'bacth' is no option of run (did you mean batch?)"),
    (["--over", "gpus=l4"], "'gpus' is no option of run (did you mean gpu?)"),
    (["--over", "gpu=h200_sxm,h300_sxm"], "gpu 'h300_sxm' is unknown"),
    (["--over", "hbm.bandwidth=8TB/s:2TB/s:1TB/s"], "an empty range: 2 is below 8"),
    (["--over", "gpu="], "gpu: there is no value"),
    (["--over", "hbm.bandwidth=1TB/s,0TB/s"], "is zero"),
    (["--over", "hbm.bandwidth=1TB/s,5us,2TB/s"], "a rate in bytes expected, got a time (5us)"),
    (["--over", "hbm.read_fraction=0.5:1.5:0.5"], "read_fraction=1.5 is not above 0 and at most 1"),
    (["--over", "schedule.max_in_flight=0:3"], "max_in_flight=0 is below 1"),
    (["--over", "batch=1:4:0"], "a step is above 0"),
    (["--over", "batch=1,2", "--over", "batch=4"], "batch is an axis already"),
    (["--over", "batch=1,2", "--set", "run.batch=3"], "given twice"),
    (["--over", "batch=1,2", "--over", "gpu=l4", "--link", "gpu,batch"], "gpu has 1, batch has 2"),
    (["--over", "batch=1,2", "--link", "gpu,batch"], "'gpu' is no axis"),
    (["--over", "batch=1:10000000:1"], "more than 1,000,000 values"),
    (["--over", "batch=1:100000", "--over", "prompt=1:100000"], "at most 10,000,000 at a time"),
    (["--over", "batch=1,2", "--workers", "0"], "--workers 0: must be 1 or more"),
], ids=lambda case: case[1] if isinstance(case, list) else "")
def test_a_mistake_is_told_before_anything_runs(tmp_path, capsys, arguments, said):
    assert main(["sweep", "--synth", SYNTH, "--out", str(tmp_path / "out"), *arguments]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["sweep", "--synth", SYNTH, "--over", "batch=1,2", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "file/out: cannot be written" in capsys.readouterr().err


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from speedsim.cli import main
sys.exit(main(sys.argv[2:]))
"""


def test_a_full_disk_is_told_and_loses_nothing(tmp_path):
    """A limit on the size of files stands for the end of the disk."""
    command = ["sweep", "--synth", SYNTH, "--engine", "serial", "--over", "schedule.max_in_flight=1:6",
               "--over", "l2.capacity=20MiB,40MiB", "--out", str(tmp_path / "full")]
    done = subprocess.run([sys.executable, "-c", FULL, "90000", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "full" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "full" / "table.parquet").exists()
    assert main(command) == 0
    assert main([*command[:-1], str(tmp_path / "whole")]) == 0
    assert (tmp_path / "full" / "table.parquet").read_bytes() == (tmp_path / "whole" / "table.parquet").read_bytes()


def test_two_sweeps_do_not_write_in_one_folder(tmp_path, capsys):
    from speedsim.sweeps.journal import Journal

    points = planned(["batch=1,2"], Scenario(synth=SYNTH))
    from speedsim.sweeps.run import identity, inputs

    journal = Journal(tmp_path / "out", identity(inputs(points)))
    journal.add(0, 1, b"")
    assert main(["sweep", "--synth", SYNTH, "--over", "batch=1,2", "--out", str(tmp_path / "out")]) == 2
    assert "another sweep is writing there" in capsys.readouterr().err
    journal.close()


def test_a_damaged_journal_is_refused(tmp_path, capsys):
    arguments = ["sweep", "--synth", SYNTH, "--over", "batch=1,2", "--engine", "serial", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    (tmp_path / "out" / ".journal" / "journal.sqlite").write_bytes(b"no journal" * 1000)
    assert main(arguments) == 2
    assert "is no journal of a sweep, or damaged" in capsys.readouterr().err


def test_a_worker_that_dies_is_told(tmp_path):
    from speedsim.sweeps.points import Points
    from speedsim.units import InputError

    class Deadly(Points):
        def block(self, block):
            os._exit(9)

    points = planned(["batch=1,2"], Scenario(synth=SYNTH))
    with pytest.raises(InputError, match="a worker process ended by itself"):
        list(processes(1)(Deadly(points.grid, points.shelf), list(enumerate(points.grid.blocks()))))
