"""One DRAM channel: against Ramulator 2.1 on the same streams, against its own timings, and what is refused."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

import dram_streams as streams
import numpy as np
from speedsim.catalog import load_dram
from speedsim.dram import Dram
from speedsim.machine import cycle_dram as dram
from speedsim.machine import cycle_queue as queue

SETS = {"HBM3": "hbm3_6400", "HBM2": "hbm2_2000"}
REFRESH = {"none": queue.NO_REFRESH, "allbank": queue.ALL_BANKS}
with (Path(__file__).parents[1] / "reference" / "ramulator2.csv").open() as lines:
    ROWS = list(csv.DictReader(line for line in lines if not line.startswith("#")))
SATURATED = [row for row in ROWS if row["mode"] == "saturated"]


def own_clock(dram_set: Dram) -> int:
    return round(1e15 / dram_set.clock_hz)


def timing(row: dict[str, str]) -> queue.Timing:
    one = load_dram(SETS[row["standard"]]).value
    return queue.timing(one, own_clock(one), closed=row["page_policy"] == "closed_ap", refresh=REFRESH[row["refresh"]],
                        reads=int(row["read_q"] or 32), writes=int(row["write_q"] or 32))


def name_of(row: dict[str, str]) -> str:
    return "-".join(row[k] for k in ("standard", "stream", "page_policy", "refresh", "read_q"))


@pytest.mark.parametrize("row", SATURATED, ids=name_of)
def test_a_full_queue_moves_the_bytes_and_opens_the_rows_that_ramulator_does(row):
    refreshed = row["refresh"] != "none"
    count = 100_000 if refreshed else 20_000
    clocks, activates = streams.saturated(timing(row), row["stream"], count)
    random = row["stream"].startswith(("rand", "rndbank")) or row["stream"].count(":") > 1
    assert count * 32 / clocks == pytest.approx(float(row["bytes_per_ck"]),
                                                rel=0.03 if refreshed else 0.06 if random else 0.02)
    assert activates / count == pytest.approx(int(row["ACT"]) / int(row["accesses"]), rel=0.02, abs=5 / count)


@pytest.mark.parametrize("row", [r for r in ROWS if r["mode"] == "unloaded"], ids=name_of)
def test_an_access_alone_takes_ramulators_latency_to_the_clock(row):
    waits = 0.5 if row["standard"] == "HBM3" else 1.0  # a request accepted before a tick starts at the next one there
    times = streams.unloaded(timing(row), row["stream"], 1000)[1:]
    assert times.mean() == pytest.approx(float(row["lat_mean_ck"]) - waits, abs=1)
    assert times.max() == float(row["lat_max_ck"]) - waits


@pytest.mark.parametrize(("name", "closed", "clocks"), [("hbm3_6400", True, 32 + 22), ("hbm2_2000", True, 15 + 16)])
def test_a_read_of_a_closed_bank_takes_activate_to_read_and_read_to_data(name, closed, clocks):
    one = load_dram(name).value
    t = queue.timing(one, own_clock(one), closed=closed, refresh=queue.NO_REFRESH)
    assert set(streams.unloaded(t, "rand", 50)) == {clocks}


def test_a_column_command_moves_its_bytes_and_none_comes_too_early():
    """Every pair of commands of a random stream keeps its distance; four activates at most in a window of faw."""
    one = load_dram("hbm3_6400").value
    t = queue.timing(one, own_clock(one), refresh=queue.NO_REFRESH)
    s = queue.channels(1, t)
    accesses = streams.stream("rand:1:3:1:16", 3000)
    columns, activates, given, now = [], [], 0, 0
    while len(columns) < 3000:
        while given < 3000 and queue.has_room(s, t, 0, accesses[0, given]):
            queue.put(s, 0, now, *accesses[:, given], 1, given)
            given += 1
        before = s.state[0].copy()
        now, _ = dram.step(s, t, 0, queue.FAR)
        if s.state[0, queue.N_ACT] > before[queue.N_ACT]:
            activates.append(now)
        if s.state[0, queue.LAST_COLUMN] > before[queue.LAST_COLUMN]:
            columns.append(now)
    assert np.diff(columns).min() >= t.ccd_s
    assert np.diff(activates).min() >= t.rrd_s
    assert (np.array(activates[4:]) - activates[:-4]).min() >= t.faw
    assert s.state[0, queue.N_READ] + s.state[0, queue.N_WRITE] == 3000


def test_refresh_of_one_bank_after_the_other_costs_less_than_of_all_at_once():
    one = load_dram("hbm3_6400").value
    clocks = [streams.saturated(queue.timing(one, own_clock(one), refresh=how), "seq_RoBaCoBg", 50_000)[0]
              for how in (queue.NO_REFRESH, queue.PER_BANK, queue.ALL_BANKS)]
    assert clocks[0] < clocks[1] < clocks[2]


def test_nanoseconds_stay_when_the_data_rate_changes():
    one = load_dram("hbm3_6400").value
    slow, fast = queue.timing(one, 764_000), queue.timing(one, 625_000)
    assert (slow.faw, fast.faw) == (2 * 20, 2 * 24)
    assert (slow.ccd_s, fast.ccd_s) == (4, 4)


@pytest.mark.parametrize(("changes", "rule"), [
    ({"rp_ps": 0}, "rp_ps=0 is not above 0"),
    ({"faw_ps": 1000}, "faw=1000 ps is below rrd_s=2500 ps"),
    ({"rc_ps": 1000}, "rc=1000 ps is below ras=28125 ps"),
    ({"ccd_l_clocks": 1}, "ccd_l=1 is below ccd_s=2"),
    ({"row_bytes": 1000}, "row=1000 is no multiple of access=32"),
])
def test_a_set_that_breaks_a_rule_is_refused_with_the_rule(changes, rule):
    with pytest.raises(ValueError, match=rule):
        replace(load_dram("hbm3_6400").value, **changes)


def test_a_row_cycle_below_its_parts_is_said_and_the_sum_holds():
    one = replace(load_dram("hbm3_6400").value, rc_ps=30_000)
    assert one.warnings == ("hbm3_6400: rc=30000 ps is below ras + rp = 44375 ps; the sum holds",)
    t = queue.timing(one, own_clock(one))
    assert t.rc == 2 * (45 + 26)
