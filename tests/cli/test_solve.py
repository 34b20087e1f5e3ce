"""Does the inverse question agree with asking every value?"""

from __future__ import annotations

import json

import numpy as np
import pytest
from speedsim import Scenario
from speedsim.cli import main
from speedsim.sweeps.run import sweep
from speedsim.whatifs.inverse import solve

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=20,sequences=2,seed=5"
ASKED = Scenario(synth=SYNTH)


@pytest.mark.parametrize(("target", "key", "range_"), [
    ("time_per_token=320us", "hbm.bandwidth", "0.6TB/s:1.6TB/s:0.01TB/s"),
    ("gain=1.6", "stack.host.turnaround", "20us:200us:0.2us"),
    ("time_per_token=230us", "launch.node_gap", "0.5us:3us:0.005us"),
])
def test_a_solution_agrees_with_a_dense_sweep_to_a_thousandth(target, key, range_):
    found = solve(target, key, ASKED)
    dense = sweep([f"{key}={range_}"], ASKED)
    x = dense[next(name for name in dense.columns if name.startswith(f"{key}_"))].to_numpy()
    off = dense[found.figure].to_numpy() - found.target
    (at,) = np.nonzero(off[:-1] * off[1:] < 0)
    assert len(at) == 1
    between = x[at[0]] + (x[at[0] + 1] - x[at[0]]) * off[at[0]] / (off[at[0]] - off[at[0] + 1])
    assert found.values == pytest.approx((between,), rel=1e-3)


def test_the_solution_put_back_meets_the_target():
    found = solve("time_per_token=320us", "hbm.bandwidth", ASKED)
    again = sweep([f"hbm.bandwidth={found.texts[0]}"], ASKED)
    assert again["time_per_token_us"][0] == pytest.approx(320, rel=1e-4)


def test_of_whole_numbers_the_neighbours_are_told():
    found = solve("gain=1.5", "schedule.max_in_flight", ASKED)
    gain = found.table.set_index("value")["gain.speedup"]
    low, high = found.values
    assert high == low + 1
    assert gain[low] < 1.5 < gain[high]


def test_break_even_acceptance_is_where_the_gain_is_one():
    (share,) = solve("gain=1", "acceptance", ASKED, ("0.05", "0.999")).values
    assert 0.05 < share < 0.9
    flip = 1 - share ** (1 / 5)
    text = f"flips={'+'.join([str(flip)] * 5)},count=20,sequences=2"
    assert sweep([f"synth={text}"], Scenario())["gain.speedup"][0] == pytest.approx(1, abs=0.2)


def test_where_there_is_no_value_it_says_what_is_in_the_way(capsys):
    assert main(["solve", "--synth", SYNTH, "--target", "time_per_token=20us", "--vary", "hbm.bandwidth"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("no value of hbm.bandwidth: from 4.92 GB/s to 4.92 PB/s time_per_token_us lies between ")
    assert "where the time is latency" in said


def test_the_answer_is_plain_json(capsys):
    assert main(["solve", "--synth", SYNTH, "--target", "gain=1.6", "--vary", "stack.host.turnaround", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["key"] == "stack.host.turnaround"
    assert len(told["values"]) == 1


@pytest.mark.parametrize(("arguments", "said"), [
    (["--target", "time_per_tokn=2", "--vary", "hbm.bandwidth"], "'time_per_tokn' is no figure"),
    (["--target", "time_per_token=2", "--vary", "hbm.bandwidth"], "has no unit"),
    (["--target", "gain", "--vary", "hbm.bandwidth"], "write FIGURE=VALUE"),
    (["--target", "gain=1", "--vary", "hbm.bandwith"], "is no number that can be varied"),
    (["--target", "gain=1", "--vary", "gpu"], "is no number that can be varied"),
    (["--target", "gain=1", "--vary", "hbm.bandwidth", "--between", "5TB/s:1TB/s"], "is not below"),
    (["--target", "gain=1", "--vary", "hbm.bandwidth", "--between", "5TB/s"], "write LOW:HIGH"),
])
def test_a_mistake_is_told_in_one_line(capsys, arguments, said):
    assert main(["solve", "--synth", SYNTH, *arguments]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1
