"""Is a run that was walked through once the same, on every machine, as the run that the machine plays?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from speedsim import Scenario
from speedsim.machine.grid import Chip, Machines, Pace, times
from speedsim.scenario import play, resolve, sides, tallied
from speedsim.units import NotCoveredError

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=24,sequences=3,seed=5"
CASES = [
    {}, {"tier": "roofline"}, {"launch": "eager"}, {"launch": "stream", "batch": 2}, {"launch": "persistent"},
    {"launch": "graph+pdl", "schedule": "speed:exits=3"}, {"schedule": "speed:repetitions_per_pass=2", "batch": 3},
    {"stack": "vllm_0_24", "control": "host", "batch": 3}, {"launch": "eager", "schedule": "speed:exits=6"},
    {"l2": "keep=group,stream=head"}, {"trace": "end", "synth": None},
]


def machines_of(side, count=3):
    """So many machines: the side's own first, then one with another chip, then one with another pace."""
    gpu, stack = side.gpu.value, side.stack.value
    wide = replace(gpu, hbm=replace(gpu.hbm, bandwidth_bytes_per_s=gpu.hbm.bandwidth_bytes_per_s * 1.7))
    slow = replace(gpu.launch, node_gap_ps=3_000_000, stream_gap_ps=4_100_000)
    host = replace(stack.host, turnaround_ps=33_000_001, dispatch_ps=9_999_999)
    both = Machines([Chip(gpu, stack.kernels), Chip(wide, stack.kernels)],
                    [Pace(gpu.launch, stack.host), Pace(slow, host)], np.array([0, 1, 0]), np.array([0, 0, 1]))
    return both, [
        side, replace(side, gpu=replace(side.gpu, value=wide)),
        replace(side, gpu=replace(side.gpu, value=replace(gpu, launch=slow)),
                stack=replace(side.stack, value=replace(stack, host=host))),
    ]


@pytest.fixture
def ended(tmp_path):
    """A trace whose sequences end by themselves."""
    from speedsim.trace import synthetic, write

    made = synthetic([0.3, 0.1, 0.1, 0.0, 0.1], 6, 14, sequences=2, seed=3)
    path = tmp_path / "ended.jsonl"
    write(replace(made, sequences=tuple(replace(s, end="eos") for s in made.sequences), digest=""), path)
    return str(path)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_grid_gives_the_picoseconds_of_the_run(case, ended):
    fields = {"synth": SYNTH} | case | ({"trace": ended} if case.get("trace") else {})
    mine = resolve(Scenario(record="summary", **fields))
    for side in sides(mine).values():
        tally = tallied(side)
        machines, alone = machines_of(side)
        found = times(tally, mine.scenario.tier, machines)
        for column, one in enumerate(alone):
            line = play(one)
            rows = found.rows_ps[:, column].tolist()
            count = tally.sequences
            assert rows[:count] == [d.end_ps - d.start_ps for d in line.decodes]
            assert rows[count] == line.decode_ps
            prefill = dict(zip(tally.prompts, rows[count + 1:], strict=True))
            assert [prefill[one.trace.sequences[0].first]] * count == [d.prefill_ps for d in line.decodes]
            assert {bound: int(time[column]) for bound, time in found.bound_ps.items()} == line.bound_ps
            assert tally.line.counters == line.counters


def test_what_a_grid_may_change_changes_nothing_that_was_tallied():
    """Rates, clocks, set-up times and prices leave the kernels and the kinds of unit as they were."""
    base = tallied(resolve(Scenario(synth=SYNTH)))
    for key, value in (("hbm.bandwidth", "9TB/s"), ("hbm.latency", "1us"), ("hbm.read_fraction", "0.5"),
                       ("l2.bandwidth", "1TB/s"), ("l2.near_latency", "1us"), ("sm.clock", "1GHz"),
                       ("sm.peak.bf16", "1TFLOP/s"), ("energy.static", "600W"), ("energy.limit", "300W"),
                       ("stack.kernels.gemm.fixed.hopper", "5us"), ("stack.kernels.gemm.step_cycles.hopper", "999"),
                       ("launch.node_gap", "9us"), ("stack.host.turnaround", "99us"), ("price_per_hour", "9 USD")):
        changed = tallied(resolve(Scenario(synth=SYNTH, sets=((key, value),))))
        assert changed.works == base.works, key
        assert changed.kinds == base.kinds, key
        assert (changed.often == base.often).all(), key


def test_a_run_that_is_no_sum_of_its_parts_is_refused():
    for control in ("lagged:2", "device"):
        with pytest.raises(NotCoveredError, match="host control"):
            tallied(resolve(Scenario(synth=SYNTH, control=control)))
