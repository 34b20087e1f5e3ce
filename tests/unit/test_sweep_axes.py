"""Does an axis take the values that its text means, and does a grid put them in order?"""

from __future__ import annotations

import numpy as np
import pytest
from speedsim import Scenario
from speedsim.hardware import Gpu
from speedsim.reading.numbers_of import changed, every, key_of, located, number, text_of
from speedsim.scenario import resolve
from speedsim.shelf import Shelf
from speedsim.stack import Stack
from speedsim.sweeps.axes import axes, axis, linked
from speedsim.sweeps.grid import Block, grid

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=10"


@pytest.mark.parametrize(("text", "values"), [
    ("schedule.max_in_flight=1:4", ["1", "2", "3", "4"]),
    ("hbm.bandwidth=2TB/s:3TB/s:0.25TB/s", ["2TB/s", "2.25TB/s", "2.5TB/s", "2.75TB/s", "3TB/s"]),
    ("hbm.bandwidth=2:3:0.5 TB/s", ["2TB/s", "2.5TB/s", "3TB/s"]),
    ("batch=1:12:5", ["1", "6", "11", "12"]),
    ("batch=1:20:*3", ["1", "3", "9", "20"]),
    ("batch=1,4:6,9", ["1", "4", "5", "6", "9"]),
    ("l2.capacity=25MiB,50MiB", ["25MiB", "50MiB"]),
    ("hbm.read_fraction=0.1:0.3:0.1", ["0.1", "0.2", "0.3"]),
    ("stack.control=lagged:2,host", ["lagged:2", "host"]),
    ("schedule=speed:exits=1+3,first_exit=1,autoregressive", ["speed:exits=1+3,first_exit=1", "autoregressive"]),
    ("synth=flips=0.1+0.2,count=9;flips=0.3", ["flips=0.1+0.2,count=9", "flips=0.3"]),
])
def test_an_axis_takes_its_values(text, values):
    assert list(axis(text).texts) == values


def test_steps_are_exact_decimals():
    values = axis("hbm.bandwidth=0.1TB/s:30TB/s:0.1TB/s").texts
    assert len(values) == 300
    assert values[2] == "0.3TB/s"


def test_the_last_axis_runs_fastest_and_linked_axes_are_one():
    found = axes(["gpu=l4,l40s", "launch.node_gap=1us,2us,3us", "batch=1,2"])
    dimensions = linked(found, ["gpu,batch"])
    assert dimensions == ((0, 2), (1,))
    made = grid(Scenario(synth=SYNTH), found, dimensions, Shelf())
    assert made.shape == (2, 3)
    assert made.groups == 2
    points = np.concatenate([made.points(block) for block in made.blocks()])
    assert points.tolist() == [0, 1, 2, 3, 4, 5]
    scenario = made.scenario_at({0: 1, 1: 2})
    assert (scenario.gpu, scenario.batch, scenario.sets) == ("l40s", 2, (("launch.node_gap", "3us"),))


def test_blocks_cover_every_point_once_wherever_the_numbers_stand():
    found = axes(["hbm.bandwidth=1TB/s:5TB/s:0.1TB/s", "schedule.max_in_flight=1:3", "launch.node_gap=1us,2us"])
    made = grid(Scenario(synth=SYNTH), found, linked(found, []), Shelf())
    assert made.groups == 3
    points = np.concatenate([made.points(block) for block in made.blocks()])
    assert sorted(points.tolist()) == list(range(made.size))
    assert made.points(Block(0, 0, 3)).tolist() == [0, 1, 6]


def test_every_number_is_found_where_its_key_says():
    gpu = resolve(Scenario(synth=SYNTH)).gpu.value
    for path, value in every(gpu):
        if path[-1] not in ("line_bytes",):
            assert located(Gpu, key_of("gpu", path)) == path, path
        assert number(text_of(value, path), path) == pytest.approx(value, rel=1e-11)
    assert located(Stack, "kernels.gemm.fixed.hopper") == ("kernels", "gemm", "fixed_ps", "hopper")
    assert located(Gpu, "hbm") is located(Gpu, "hbm.technology") is located(Gpu, "no.such") is None
    assert changed(gpu, ("sm", "peak_flop_per_s", "bf16"), 1.0).sm.peak_flop_per_s["bf16"] == 1.0
