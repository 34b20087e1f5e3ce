"""The cycle tier: latencies are the configured ones, lines are conserved, memory is flat, results repeat."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

import numpy as np
from cycle_worlds import GPU, HBM3
from speedsim.catalog import load_gpu, load_stack
from speedsim.dram import Dram
from speedsim.hardware import Gpu
from speedsim.kernels.demand import Grid, Tiles
from speedsim.machine.cycle_device import CycleDevice
from speedsim.machine.cycle_jobs import Use, job
from speedsim.machine.cycle_l2 import home
from speedsim.machine.cycle_organisation import organisation
from speedsim.machine.work import Work
from speedsim.units import InputError, NotCoveredError

STACK = load_stack("torch_graph").value
MIB = 2**20


def device(gpu: Gpu = GPU, dram: Dram = HBM3) -> CycleDevice:
    return CycleDevice(gpu, dram, STACK.kernels)


def one_line(at: int):
    return job(Grid(1, 1, 128), [Use(at * 128, 128)], 0)


def line_of_side(gpu: Gpu, side: int) -> int:
    cache = organisation(gpu, HBM3).cache
    return next(line for line in range(10_000) if home(cache, line)[0] == side)


@pytest.mark.parametrize(("side", "extra_ps"), [(0, 0), (1, 99_000)])
def test_a_hit_alone_takes_the_configured_latency(side, extra_ps):
    played = device()
    what = one_line(line_of_side(GPU, side))
    played.played(what)
    if side:
        played.empty()
        home_reader = job(Grid(2, 1, 128), [Use(0, 0), Use(line_of_side(GPU, side) * 128, 128)], 0)
        home_reader.access[0, [0, 1]] = line_of_side(GPU, side) * 4, line_of_side(GPU, side) * 4 + 4
        home_reader.access[0, [3, 4, 8, 11]] = 2, 0, 4, 4  # both CTAs read the line; only the second matters
        played.read(home_reader)
        played.organisation.cache.tag[:played.organisation.cache.slices] = -1  # the first side forgets its copy
    assert played.played(what).end_fs == GPU.l2.near_latency_ps * 1000 + extra_ps * 1000


def test_a_miss_alone_takes_the_configured_latency():
    assert device().played(one_line(line_of_side(GPU, 0))).end_fs == (141_600 + 123_000) * 1000


def test_every_byte_asked_for_arrives_once_and_what_misses_is_what_the_channels_read():
    played = device()
    what = job(Grid(40, 16, 8192), [Use(0, MIB)], 16_000)
    first, again = played.played(what), played.played(what)
    assert first.asked == again.asked == first.missed == MIB
    assert again.missed == 0
    state = played._state
    assert state is not None
    assert (state.dram.state[:, 0] >= 0).all()
    assert not state.slice[:, [1, 2]].any()
    assert state.wheel.state[2] <= len(state.channel)  # nothing but channels that would have woken


def test_no_channel_moves_more_than_its_rate_in_any_window():
    played = device()
    played.sample_every(1_000_000_000)  # a microsecond
    found = played.played(job(Grid(64, 16, 32_768), [Use(0, 24 * MIB)], 0))
    time, reads = played.samples("channel", 1)
    assert len(time) > 5
    moved = np.diff(reads, axis=0) * 32 / np.diff(time)[:, None] * 1e15
    per_channel = GPU.hbm.bandwidth_bytes_per_s / GPU.hbm.channels
    # A command of the window's edges may move its 128 bytes in the next.
    assert (moved <= per_channel + 2 * 128 / 1e-6).all()
    assert reads[-1].sum() * 32 <= found.missed


def test_the_same_kernel_takes_the_same_time_twice_and_the_other_way_round():
    work = Work("w", "gemm", "bf16", 2 * 512 * 4096, 4 * MIB, 4 * MIB, Grid(8, 64, 49_152))
    uses = [Use(0, 4 * MIB, tiles=Tiles(512, 64, 1))]
    one, two = device(), device()
    assert one.kernel(work, uses) == two.kernel(work, uses)
    one.empty()
    two.empty()
    assert one.kernel(work, uses) == two.kernel(work, uses)


def test_memory_does_not_grow_with_the_number_of_lines():
    played = device()
    sizes = []
    for size in (MIB, 16 * MIB):
        played.played(job(Grid(size // 65536, 16, 8192), [Use(0, size)], 0))
        assert played._state is not None
        sizes.append(len(played._state.wheel.node))
    assert sizes[0] == sizes[1]


def test_a_matrix_is_read_once_whatever_its_tiles_and_splits():
    for rows, columns, matrix, ctas, steps in ((512, 4096, Tiles(512, 64, 1), 8, 64),
                                               (500, 5120, Tiles(500, 128, 3), 12, 27)):
        played = device()
        size = rows * columns * 2
        assert played.played(job(Grid(ctas, steps, 65_536), [Use(0, size, tiles=matrix)], 0)).asked == size


def test_a_dirty_line_goes_back_to_memory_when_it_is_displaced():
    played = device()
    played.played(job(Grid(8, 1, 32_768), [Use(0, 128 * 1024, write=True)], 0))
    played.played(job(Grid(64, 16, 32_768), [Use(64 * MIB, 24 * MIB)], 0))
    assert played._state is not None
    assert played._state.total[7] * 32 == 128 * 1024


def test_a_tensor_to_keep_survives_what_a_normal_one_does_not():
    kept, normal = ({}, {})
    for policy, found in (("keep", kept), ("normal", normal)):
        played = device()
        mine = job(Grid(8, 16, 32_768), [Use(0, MIB, policy=policy)], 0)
        played.read(mine)
        played.read(job(Grid(64, 16, 32_768), [Use(64 * MIB, 24 * MIB)], 0))
        found["missed"] = played.played(mine).missed
    assert (kept["missed"], normal["missed"]) == (0, MIB)


@pytest.mark.parametrize(("part", "changes", "rule"), [
    ("l2", {"ways": 7}, "l2.ways=7 of 8 slices do not divide"),
    ("l2", {"slices": 9}, "l2.slices=9 do not divide over 2 sides"),
    ("hbm", {"channels": 0}, "hbm.channels=0: must be above 0"),
    ("hbm", {"channels": 12}, "hbm.channels=12 and l2.slices=8 do not divide"),
    ("l2", {"replacement": "best"}, "l2.replacement=best: must be one of lru, lru2"),
    ("hbm", {"miss_ps": 1000}, "the parts take longer than the configured latency"),
])
def test_an_organisation_that_cannot_be_is_refused_with_the_rule(part, changes, rule):
    gpu = replace(GPU, **{part: replace(getattr(GPU, part), **changes)})
    with pytest.raises(InputError, match=rule):
        organisation(gpu, HBM3)


def test_a_card_whose_organisation_no_one_states_is_not_covered():
    with pytest.raises(NotCoveredError, match=r"t4: tier cycle needs l2\.slices"):
        organisation(load_gpu("t4").value, HBM3)


def test_without_numba_the_tier_says_which_extra_it_needs():
    code = ("import sys; sys.modules['numba'] = None\n"
            "from speedsim.cli import main\n"
            "sys.exit(main(['kernel', 'linear', '--rows', '1', '--n', '64', '--k', '64', '--tier', 'cycle']))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "install the extra `fast`" in done.stderr
