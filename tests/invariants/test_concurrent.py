"""What holds when passes run at the same time: on several streams, by several models, on several devices."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.machine.build import sim_machine
from speedsim.machine.setting import Setting
from speedsim.plan import Plan
from speedsim.program import Cancel, Commit, Compact, Host, Issue, Move, Pass, Retire, Row, Wait
from speedsim.schedules.autoregressive import Autoregressive
from speedsim.schedules.speed import Speed
from speedsim.stack import Control
from speedsim.trace import synthetic
from speedsim.units import InputError, NotCoveredError
from worlds import WHOLE, simulate, speed_shape, tiny_gpu, tiny_stack

US = 1_000_000
FLIPS = [0.3, 0.15, 0.1, 0.05, 0.05]
TWO_SIDED = ((0.7, 1.0), (1.3, 0.0))
ONE_KERNEL = Plan(name="one", title="one matrix", embedding=(), attention=("linear:up",), ffn=(), exit=())
D, N = 500, 1000
BYTES = 2 * D * N + 2 * (D + N)
"""Of a pass of one row: 500 x 1000 weights and its activations, each of 2 bytes."""
ALONE = BYTES
"""Picoseconds of that at 1 TB/s."""


def one_kernel(d_model=D):
    return speed_shape(group_layers=1, repetitions=1, d_model=d_model, ffn=N, gated=False)


def item(number, token=None, **fields):
    token = number if token is None else token
    return Pass(number, (Row(token, 0, 0, 0, None),), **fields)


def machine(gpu=None, stack=None, model=None, plan=ONE_KERNEL, tier="roofline", record="kernels", launch="graph",
            control="host", **setting):
    how = Setting(stack or tiny_stack(), Control.parse(control), launch, None, frozenset((1,)), 9, concurrent=True,
                  **setting)
    return sim_machine(gpu or tiny_gpu(), how.stack, model or one_kernel(), plan, how, record, tier)


def spans(commands, **world):
    """{(start, end)} of the passes, in order of their starts, and what the program heard."""
    heard = []

    def program():
        for command in commands:
            heard.append((yield command))

    line = machine(**world).play(program())
    ran = [(start, start + line.patterns[p].duration_ps)
           for p, start in zip(line.occurrence_pattern, line.occurrence_ps, strict=True)]
    return ran, heard, line


def waits(*numbers, **how):
    return Wait(frozenset(numbers), **how)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["eager", "stream", "graph"]), st.sampled_from(["host", "lagged:1", "lagged:3", "device"]),
       st.integers(1, 3), st.integers(0, 99), st.booleans(), st.sampled_from(["roofline", "fluid"]),
       st.sampled_from([None, (4, 8), (1,)]))
def test_both_paths_play_one_stream_to_the_same_picosecond(launch, control, batch, seed, plain, tier, widths):
    gpu = tiny_gpu(capacity=60 * 2**20, curve=TWO_SIDED, node=1_270_000, start=2_600_000, stream=2_000_000)
    stack = tiny_stack(turnaround=10 * US, dispatch=5 * US, enqueue=1_300_000, graph=2_500_000, block=64,
                       launch=launch, control=control, widths=widths)
    trace = synthetic(FLIPS, 6, 9, sequences=3, seed=seed)
    one, many = (
        simulate(Autoregressive() if plain else Speed(), trace, gpu=gpu, stack=stack, batch=batch, strict=True,
                 record="kernels", tier=tier, concurrent=concurrent)
        for concurrent in (False, True)
    )
    assert many.counters == one.counters
    assert many.bound_ps == one.bound_ps
    assert many.decodes == one.decodes
    assert list(many.commits) == list(one.commits)
    assert many.occurrence_rows == one.occurrence_rows
    assert list(many.expand()) == list(one.expand())
    assert sum(many.bound_ps.values()) == many.decode_ps


def test_two_streams_with_room_for_both_take_as_long_as_the_longer():
    """Each is held by its own bytes in flight, a small part of the pipes."""
    gpu = replace(tiny_gpu(hbm=1e15, l2=1e16), hbm=replace(tiny_gpu(hbm=1e15).hbm, latency_ps=US))
    alone = [spans([Issue(item(0, model=m))], gpu=gpu, tier="fluid",
                   models={"small": (one_kernel(100), ONE_KERNEL)})[0][0][1] for m in ("target", "small")]
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, model="small", stream=1))], gpu=gpu, tier="fluid",
                      models={"small": (one_kernel(100), ONE_KERNEL)})
    assert alone[1] < alone[0]
    assert sorted(end for _, end in ran) == sorted(alone)


def test_two_streams_on_one_pipe_share_it_as_processor_sharing_says():
    """Equal claims: both at half the rate until the shorter has its bytes, then the longer alone."""
    other = {"small": (one_kernel(100), ONE_KERNEL)}
    short = 2 * 100 * N + 2 * (100 + N)
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, model="small", stream=1))], tier="fluid", models=other)
    ends = sorted(end for _, end in ran)
    assert ends[0] == pytest.approx(2 * short, abs=2)
    assert ends[1] == pytest.approx(short + BYTES, abs=2)


def test_two_streams_of_the_roofline_take_turns():
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, stream=1))])
    assert [end for _, end in ran] == [ALONE, 2 * ALONE]


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
def test_concurrency_changes_no_byte_and_no_flop(tier):
    """What is requested is the shapes'; without a cache so is what the memory delivers."""
    commands = [Issue(item(n, stream=n % s)) for s in (1, 3) for n in range(6)]
    one, three = (spans(commands[i:i + 6], tier=tier, model=speed_shape(), plan=WHOLE)[2].counters for i in (0, 6))
    one.launch_units = three.launch_units = 0
    assert one == three
    assert three.requested_bytes["weights"] == 6 * speed_shape().group_bytes


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
def test_memory_delivers_no_more_than_its_rate_on_any_number_of_streams(tier):
    for streams in (1, 2, 5):
        ran, _, line = spans([Issue(item(n, stream=n % streams)) for n in range(10)], tier=tier)
        assert sum(line.counters.hbm_bytes.values()) == 10 * BYTES
        assert max(end for _, end in ran) >= 10 * BYTES
        assert max(end for _, end in ran) <= 10 * BYTES + 20


def test_the_cache_is_one_for_all_models_and_streams_of_a_device():
    """Read again on another stream a model's weights are there; the other model's are not, though alike."""
    gpu = tiny_gpu(capacity=10 * BYTES)
    twin = {"twin": (one_kernel(), ONE_KERNEL)}
    program = [Issue(item(0)), Issue(item(1, stream=1)), Issue(item(2, model="twin", stream=2)), waits(0, 1, 2)]
    _, _, line = spans(program, gpu=gpu, models=twin)
    assert line.counters.hbm_bytes["weights"] == 2 * (2 * D * N)
    apart = [Issue(item(0)), Issue(item(1, device=1)), waits(0, 1)]
    _, _, line = spans(apart, gpu=gpu, devices=2)
    assert line.counters.hbm_bytes["weights"] == 2 * (2 * D * N)


def test_a_pass_starts_behind_those_it_comes_after():
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, device=1, after=(0,))), Issue(item(2, device=1, stream=1))],
                      devices=2)
    assert ran == [(0, ALONE), (0, ALONE), (ALONE, 2 * ALONE)]


def test_a_pass_behind_another_stream_is_launched_as_behind_its_own():
    gpu = tiny_gpu(stream=2 * US, node=US, start=3 * US)
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, stream=1, after=(0,)))], gpu=gpu)
    assert ran[1][0] == ran[0][1] + 2 * US


def test_a_wait_for_any_is_answered_with_those_that_have_ended():
    program = [Issue(item(0)), Issue(item(1, model="small", device=1)), Issue(item(2, device=1, stream=1)),
               waits(0, 1, 2, any=True), waits(0, 1, 2)]
    _, heard, _ = spans(program, devices=2, models={"small": (one_kernel(100), ONE_KERNEL)})
    assert heard[3] == {1}
    assert heard[4] == {0, 1, 2}


def test_a_cancelled_pass_runs_only_if_it_has_started():
    late = tiny_stack(work={"think": ALONE // 2})
    program = [Issue(item(0)), Issue(item(1)), Host("think"), Cancel(0), Cancel(1), waits(0, 1), Issue(item(2)),
               waits(2)]
    ran, heard, line = spans(program, stack=late)
    assert ran == [(0, ALONE), (ALONE, 2 * ALONE)]
    assert heard[5] == {0}
    assert line.counters.passes == 2


def test_what_waits_for_a_dropped_pass_waits_no_more():
    late = tiny_stack(work={"think": 100})
    program = [Issue(item(0)), Issue(item(1, after=(0,))), Issue(item(2, device=1, after=(1,))), Host("think"),
               Cancel(1), waits(1), waits(2)]
    ran, heard, _ = spans(program, stack=late, devices=2)
    assert ran == [(0, ALONE), (100, 100 + ALONE)]
    assert heard[5:] == [frozenset(), {2}]


def test_a_pass_that_was_cancelled_before_its_launch_costs_nothing():
    ran, _, line = spans([Issue(item(0)), Issue(item(1, stream=1)), Cancel(1)], stack=tiny_stack(graph=US))
    assert len(ran) == 1
    assert line.counters.launch_units == 1


def test_two_devices_run_in_parallel():
    ran, _, _ = spans([Issue(item(0)), Issue(item(1, device=1))], devices=2)
    assert ran == [(0, ALONE), (0, ALONE)]


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
def test_a_move_takes_latency_and_bytes_over_the_rate(tier):
    gpu = tiny_gpu(peer=1e9, latency=7 * US)
    ran, _, line = spans([Issue(item(0)), Move((0,), 1), Issue(item(1, token=0, device=1))], gpu=gpu, devices=2,
                         tier=tier)
    carried = 7 * US + 2 * D * 1000
    end = ran[0][1]
    assert ran[1][0] == end + carried
    assert [(s.track, s.start_ps, s.duration_ps, s.bytes_requested) for s in line.between] == [
        ("link", end, carried, 2 * D)]


def test_two_moves_on_one_road_queue_and_the_other_direction_is_free():
    gpu = tiny_gpu(peer=1e9, latency=7 * US)
    carried = 7 * US + 2 * D * 1000
    there = [Issue(item(0)), Issue(item(1, device=1)), waits(0, 1)]
    _, _, line = spans([*there, Move((0,), 1), Move((1,), 0)], gpu=gpu, devices=2)
    assert [s.start_ps for s in line.between] == [ALONE, ALONE]
    _, _, line = spans([Issue(item(0)), Issue(item(1)), waits(0, 1), Move((0,), 1), Move((1,), 1)], gpu=gpu, devices=2)
    assert [s.start_ps for s in line.between] == [2 * ALONE, 2 * ALONE + carried]


def test_a_gpu_without_a_figure_for_its_link_moves_nothing():
    with pytest.raises(NotCoveredError, match="tiny: its file has no latency for a link"):
        spans([Issue(item(0)), Move((0,), 1)], gpu=tiny_gpu(peer=1e9), devices=2)


def test_host_work_is_priced_and_runs_beside_the_device():
    stack = tiny_stack(work={"look": 10})
    ran, _, line = spans([Issue(item(0)), Host("look", 7), Issue(item(1))], stack=stack)
    assert ran == [(0, ALONE), (ALONE, 2 * ALONE)]
    assert [(s.track, s.duration_ps) for s in line.between] == [("host", 70)]
    with pytest.raises(NotCoveredError, match="no price for host work 'dream'"):
        spans([Host("dream")], stack=stack)


def test_compacting_reads_and_writes_keys_and_values_of_all_layers():
    model = speed_shape()
    _, _, line = spans([Issue(item(0)), Compact(0, (5, 6, 7))], model=model, plan=WHOLE)
    before = spans([Issue(item(0))], model=model, plan=WHOLE)[2]
    size = 2 * 3 * model.layers * model.kv_bytes
    assert line.counters.hbm_bytes["kv"] - before.counters.hbm_bytes["kv"] == size
    assert line.counters.kernels == before.counters.kernels + 1
    (copy,) = line.between
    assert copy.duration_ps == size  # at 1 TB/s


def pipelined(streams, tokens=6):
    """Two streams and a second model that decode one sequence together."""
    number = 0
    for token in range(tokens):
        rows = (Row(token, 0, token, 0, None),)
        yield Issue(Pass(number, rows, (token,), model="small", stream=streams[0]))
        yield Issue(Pass(number + 1, rows, (token,), stream=streams[1], after=(number,)))
        yield Issue(Pass(number + 2, rows, (), stream=streams[2]))
        yield waits(number + 1)
        yield Commit(token)
        number += 3
    yield Retire(0)


@pytest.mark.parametrize("tier", ["roofline", "fluid"])
@pytest.mark.parametrize("launch", ["graph", "eager"])
def test_the_numbers_of_streams_mean_nothing_and_every_run_is_the_same(tier, launch):
    gpu = tiny_gpu(capacity=20 * 2**20, node=US, stream=2 * US, start=3 * US)
    stack = tiny_stack(turnaround=10 * US, graph=US, dispatch=2 * US)
    small = {"small": (speed_shape(group_layers=1, repetitions=1), WHOLE)}
    lines = [machine(gpu, stack, speed_shape(), WHOLE, tier, launch=launch, models=small).play(pipelined(streams))
             for streams in ((0, 1, 2), (2, 0, 1), (7, 1, 4), (0, 1, 2))]
    for line in lines:
        assert line.bound_ps == lines[0].bound_ps
        assert line.counters == lines[0].counters
        assert line.decodes == lines[0].decodes
        assert line.occurrence_ps == lines[0].occurrence_ps
        assert sum(line.bound_ps.values()) == line.decode_ps
    assert lines[0].document() == lines[3].document()
    assert lines[0].bound_ps["host"] >= 6 * 10 * US


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.sampled_from(["roofline", "fluid"]), st.sampled_from(["graph", "eager", "stream"]),
       st.integers(0, 20), st.sampled_from(["host", "device", "lagged:2"]))
def test_time_by_bound_adds_up_on_several_streams_and_devices(streams, tier, launch, gap, control):
    gpu = tiny_gpu(node=gap * US, stream=gap * US, start=3 * US, peer=1e9, latency=5 * US)
    stack = tiny_stack(turnaround=4 * US, graph=US, dispatch=US, enqueue=US)

    def program():
        for token in range(4):
            rows = (Row(token, 0, token, 0, None),)
            yield Issue(Pass(3 * token, rows, stream=token % streams))
            yield Move((token,), 1)
            yield Issue(Pass(3 * token + 1, rows, device=1, stream=1))
            yield Issue(Pass(3 * token + 2, rows, stream=5))
            yield waits(3 * token + 1)
            yield Commit(token)
        yield Retire(0)

    line = machine(gpu, stack, tier=tier, launch=launch, devices=2, control=control).play(program())
    assert sum(line.bound_ps.values()) == line.decode_ps
    assert line.counters.committed_tokens == 4


def test_time_that_a_transfer_holds_everything_up_is_waiting():
    gpu = tiny_gpu(peer=1e9, latency=7 * US)

    def program():
        yield Issue(item(0))
        yield Move((0,), 1)
        yield Issue(item(1, token=0, device=1))
        yield waits(1)
        yield Commit(0)
        yield Retire(0)

    line = machine(gpu, devices=2).play(program())
    assert line.bound_ps["wait"] == 7 * US + 2 * D * 1000
    assert line.bound_ps["hbm"] == 2 * ALONE


@pytest.mark.parametrize(("commands", "said"), [
    ([Issue(item(0, after=(3,)))], "names pass 3, which it has not issued"),
    ([waits(3)], "names pass 3, which it has not issued"),
    ([Issue(item(0)), Issue(item(0))], "pass 0 is issued twice"),
    ([Issue(item(0, model="draft"))], "pass 0 is of model 'draft'; the setting has target"),
    ([Issue(item(0, device=1))], "pass 0 is for device 1; there are 1"),
    ([Move((4,), 0)], "token 4 has been in no pass"),
    ([Compact(3, (1,))], "sequence 3 has had no pass"),
])
def test_a_program_that_makes_no_sense_is_refused_by_what_is_wrong(commands, said):
    with pytest.raises(InputError, match=said):
        spans(commands)


@pytest.mark.parametrize(("commands", "said"), [
    ([Issue(item(0)), Cancel(0)], "Cancel needs control host, not device"),
    ([Issue(item(0)), Issue(item(1)), waits(0, 1, any=True)], r"Wait\(any=True\) needs control host"),
    ([Host("look")], "Host needs control host"),
])
def test_what_the_device_cannot_decide_needs_the_host(commands, said):
    with pytest.raises(NotCoveredError, match=said):
        spans(commands, control="device")


def test_the_path_for_one_stream_refuses_more_and_names_the_other():
    how = Setting(tiny_stack(), Control("host"), "graph", None, frozenset((1,)))
    for command in (Issue(item(0, stream=1)), Issue(item(0, device=1)), Compact(0, (0,)),
                    Cancel(0), Move((0,), 1), waits(0, 1, any=True)):
        alone = sim_machine(tiny_gpu(), how.stack, one_kernel(), ONE_KERNEL, how)
        with pytest.raises(NotCoveredError, match="concurrent=True"):
            alone.play(iter_of(command))


def test_a_model_that_the_setting_does_not_have_is_refused_on_either_path():
    for concurrent in (False, True):
        how = Setting(tiny_stack(), Control("host"), "graph", None, frozenset((1,)), concurrent=concurrent)
        machine = sim_machine(tiny_gpu(), how.stack, one_kernel(), ONE_KERNEL, how)
        with pytest.raises(InputError, match="of model 'draft'; the setting has target"):
            machine.play(iter_of(Issue(item(0, model="draft"))))


def iter_of(command):
    yield command


def test_a_persistent_kernel_has_the_gpu_to_itself():
    with pytest.raises(NotCoveredError, match="persistent"):
        spans([], launch="persistent")
