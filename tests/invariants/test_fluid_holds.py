"""What holds for the fluid device, whatever the kernels."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim import load_gpu, load_stack
from speedsim.kernels.demand import Grid
from speedsim.machine import fluid
from speedsim.machine.fluid import FluidDevice
from speedsim.machine.load import Loads
from speedsim.machine.roofline import RooflineDevice
from speedsim.machine.work import Work, alone
from speedsim.units import duration_ps
from worlds import tiny_gpu, tiny_stack

US = 1_000_000
SMS = 20


def gpu(*, near=0, far=0, sms=SMS, clock=1e9, **rates):
    """20 SMs, 1 TB/s HBM, 10 TB/s L2, 100 TFLOP/s; latencies in picoseconds."""
    plain = tiny_gpu(**rates)
    return replace(plain, sm=replace(plain.sm, count=sms, clock_hz=clock), l2=replace(plain.l2, near_latency_ps=near),
                   hbm=replace(plain.hbm, latency_ps=far))


def library(fixed=0, cycles=0.0):
    """Linear layers with so much set-up and so many cycles a step."""
    kernels = tiny_stack().kernels
    return replace(kernels, gemm=replace(kernels.gemm, fixed_ps={"default": fixed}, step_cycles={"default": cycles}))


def work(hbm=0, issued=None, flop=0, ctas=SMS, steps=1, inflight=32_768, per_sm=1, name="k", family="gemm"):
    """A kernel; every byte goes through the L2."""
    return Work(name, family, "bf16", flop, hbm if issued is None else issued, hbm,
                Grid(ctas, steps, inflight, per_sm))


@st.composite
def works(draw, most_ctas=150):
    issued = draw(st.integers(0, 10**8))
    hbm = draw(st.sampled_from([0, issued])) if draw(st.booleans()) else draw(st.integers(0, issued))
    flop = draw(st.one_of(st.just(0), st.integers(0, 10**10)))
    return work(hbm, issued, flop, draw(st.integers(1, most_ctas)), draw(st.integers(1, 40)),
                draw(st.integers(256, 10**5)), draw(st.integers(1, 4)),
                family=draw(st.sampled_from(["gemm", "elementwise"])))


@st.composite
def devices(draw):
    """(GPU, library): latencies, loops and set-ups of any size or none."""
    some = st.one_of(st.just(0), st.integers(1, 10**6))
    near = draw(some)
    return (gpu(near=near, far=near + draw(some), hbm=draw(st.sampled_from([1e12, 4e12])),
                l2=draw(st.sampled_from([4e12, 1e13]))),
            library(draw(some), draw(st.one_of(st.just(0.0), st.floats(1, 1000)))))


@st.composite
def programs(draw, most=6):
    """Kernels by their time of start."""
    now, starts = 0, []
    for number in range(draw(st.integers(1, most))):
        starts.append((now, draw(works(most_ctas=60))._replace(name=str(number))))
        now += draw(st.one_of(st.just(0), st.integers(0, 3 * 10**7)))
    return starts


def play(device, starts, between=()):
    """{name: (end, Timed)}; `between` are moments at which the device is only looked at."""
    ended = {}
    moments = sorted([(now, 1, item) for now, item in starts] + [(now, 0, None) for now in between],
                     key=lambda m: m[:2])
    for now, _, item in moments:
        while (end := device.next_end()) is not None and end <= now:
            ended |= {t.work.name: (end, t) for t in device.advance(end)}
        ended |= {t.work.name: (now, t) for t in device.advance(now)}
        if item is not None:
            device.start(item, now)
    while (end := device.next_end()) is not None:
        ended |= {t.work.name: (end, t) for t in device.advance(end)}
    return ended


def waves(item, sms=SMS):
    """CTAs of each wave of a kernel that is alone."""
    places, ctas = sms * item.grid.per_sm, item.grid.ctas
    return [places] * (ctas // places) + ([ctas % places] if ctas % places else [])


# The limit of bandwidth alone


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**9), st.integers(1, 200), st.integers(1, 50), st.booleans())
def test_without_latency_and_loops_a_kernel_takes_its_bytes_over_the_rate(size, ctas, steps, hit):
    item = work(0 if hit else size, size, ctas=ctas, steps=steps)
    expected = duration_ps(size, 1e13 if hit else 1e12)
    assert expected - 1 <= alone(FluidDevice(gpu(), library()), item).duration_ps <= expected + len(waves(item)) - 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**12), st.integers(1, 5))
def test_without_bytes_a_kernel_takes_its_flop_over_the_peak(flop, count):
    expected = duration_ps(flop, 1e14)
    taken = alone(FluidDevice(gpu(), library()), work(flop=flop, ctas=SMS * count)).duration_ps
    assert expected - 1 <= taken <= expected + count - 1


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10**8), st.integers(1, 10**8), st.integers(1, SMS // 2), st.integers(1, SMS // 2))
def test_two_kernels_share_a_pipe_by_their_ctas(a, b, m, n):
    """Processor sharing: the one that is served faster for its size ends first, the other takes the rest alone."""
    ended = play(FluidDevice(gpu(), library()), [(0, work(a, ctas=m, name="a")), (0, work(b, ctas=n, name="b"))])
    first = min(a / m, b / n) * (m + n)
    ends = sorted(end for end, _ in ended.values())
    assert ends == pytest.approx([first, a + b], abs=2)
    assert min(ended, key=lambda name: ended[name][0]) == ("a" if a / m < b / n else "b") or ends[1] - ends[0] <= 2


def test_a_full_pipe_serves_kernels_by_what_they_keep_in_flight():
    ended = play(FluidDevice(gpu(), library()), [(0, work(3 * US, ctas=5, inflight=3000, name="deep")),
                                                 (0, work(3 * US, ctas=5, inflight=1000, name="shallow"))])
    assert (ended["deep"][0], ended["shallow"][0]) == (4 * US, 6 * US)


def test_a_kernel_that_starts_later_takes_its_share_from_then_on():
    """8 bytes a start: alone 4 of them, then both at half the rate, then the second alone."""
    ended = play(FluidDevice(gpu(), library()),
                 [(0, work(8 * US, ctas=5, name="a")), (4 * US, work(8 * US, ctas=5, name="b"))])
    assert ended["a"][0] == 12 * US
    assert ended["b"][0] == 16 * US


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 10**7)), min_size=1, max_size=8))
def test_a_shared_pipe_is_never_idle_while_there_is_work(jobs):
    """Whoever shares it, the pipe is done when one server in order would be."""
    jobs = sorted(jobs)
    ended = play(FluidDevice(gpu(), library()),
                 [(now, work(size, ctas=2, name=str(i))) for i, (now, size) in enumerate(jobs)])
    done = 0
    for now, size in jobs:
        done = max(done, now) + size
    assert max(end for end, _ in ended.values()) == pytest.approx(done, abs=2 * len(jobs))


def test_a_kernel_that_hits_takes_what_the_one_that_misses_leaves_of_the_l2():
    """10 bytes a picosecond of L2, 1 of HBM: whoever misses takes 1, whoever hits the other 9."""
    ended = play(FluidDevice(gpu(), library()),
                 [(0, work(2 * US, ctas=9, name="miss")), (0, work(0, 9 * US, ctas=9, name="hit"))])
    assert ended["hit"][0] == US
    assert ended["miss"][0] == 2 * US


# Between the roofline and the sum of everything


@settings(max_examples=60, deadline=None)
@given(devices(), works())
def test_a_kernel_takes_at_least_the_roofline_and_at_most_the_sum_of_its_parts(device, item):
    card, kernels = device
    taken = alone(FluidDevice(card, kernels), item).duration_ps
    assert taken >= alone(RooflineDevice(card), item).duration_ps - 1
    loads = Loads(card, kernels)
    load, (hbm, l2, _) = loads.of(item), loads.widths
    cycles = 1000 * kernels.gemm.step_cycles["default"] if item.family == "gemm" else 0
    total = load.fixed_ps + load.latency_ps + (item.hbm_bytes / hbm + item.issued_bytes / l2) * 1e12
    for ctas in waves(item):
        total += item.grid.steps * cycles + load.amount / load.in_flight * 1e12
        total += ctas / item.grid.ctas * item.flop / 1e14 * SMS / min(ctas, SMS) * 1e12
        total += 1
    assert taken <= total + 1


@settings(max_examples=60, deadline=None)
@given(devices(), programs())
def test_no_pipe_ever_carries_more_than_its_width(device, starts):
    card, kernels = device
    limit = Loads(card, kernels).widths
    seen = []

    class Watched(fluid._State):
        def pass_time(self, now):
            if now > self.now:
                seen.append([sum(w.rate * w.flow.uses[pipe] for w in self.waves) for pipe in range(3)])
            super().pass_time(now)

        def copy(self):
            plain = super().copy()
            return Watched(plain.now, plain.free, plain.setting_up, plain.queue, plain.waves)

    on = FluidDevice(card, kernels)
    on._state = Watched(0, float(SMS), [], [], [])
    ended = play(on, starts)
    assert len(ended) == len(starts)
    assert seen or all(t.duration_ps == 0 for _, t in ended.values())
    for rates in seen:
        assert all(rate <= width * (1 + 1e-9) for rate, width in zip(rates, limit, strict=True))


@settings(max_examples=60, deadline=None)
@given(devices(), programs())
def test_no_pipe_delivers_more_than_its_width_in_any_span_of_time(device, starts):
    """From outside: what began and ended within a span went through the pipes within it."""
    card, kernels = device
    hbm, l2, _ = Loads(card, kernels).widths
    ended = play(FluidDevice(card, kernels), starts)
    began = {item.name: now for now, item in starts}
    events = 1 + sum(len(waves(item)) + 2 for _, item in starts) ** 2
    for begin in began.values():
        for end, _ in ended.values():
            inside = [t.work for name, (e, t) in ended.items() if begin <= began[name] and e <= end]
            assert sum(w.hbm_bytes for w in inside) <= hbm * max(0, end - begin + events) / 1e12
            assert sum(w.issued_bytes for w in inside) <= l2 * max(0, end - begin + events) / 1e12


# More of anything


@settings(max_examples=60, deadline=None)
@given(devices(), works(), st.sampled_from(["hbm", "l2", "flop", "clock", "latency", "cache"]),
       st.floats(1.01, 10))
def test_more_of_anything_never_slows_a_kernel_that_is_alone(device, item, part, factor):
    card, kernels = device
    better, less = card, item
    if part == "hbm":
        better = replace(card, hbm=replace(card.hbm, bandwidth_bytes_per_s=card.hbm.bandwidth_bytes_per_s * factor))
    elif part == "l2":
        better = replace(card, l2=replace(card.l2, bandwidth_bytes_per_s=card.l2.bandwidth_bytes_per_s * factor))
    elif part == "clock":
        better = replace(card, sm=replace(card.sm, clock_hz=card.sm.clock_hz * factor))
    elif part == "flop":
        better = replace(card, sm=replace(card.sm, peak_flop_per_s={"bf16": 1e14 * factor}))
    elif part == "latency":
        better = replace(card, hbm=replace(card.hbm, latency_ps=card.l2.near_latency_ps))
    else:
        less = item._replace(hbm_bytes=int(item.hbm_bytes / factor))
    before, after = alone(FluidDevice(card, kernels), item), alone(FluidDevice(better, kernels), less)
    assert after.duration_ps <= before.duration_ps


@settings(max_examples=60, deadline=None)
@given(devices(), works(), st.integers(2, 5))
def test_a_multiple_of_the_sms_never_slows_a_kernel_that_is_alone(device, item, factor):
    """Whole waves are joined, and a joined wave takes at most what its parts took one after the other."""
    card, kernels = device
    more = replace(card, sm=replace(card.sm, count=SMS * factor, peak_flop_per_s={"bf16": 1e14 * factor}))
    after = alone(FluidDevice(more, kernels), item).duration_ps
    assert after <= alone(FluidDevice(card, kernels), item).duration_ps + len(waves(item))


def test_a_few_more_sms_can_slow_a_kernel_down():
    """20 CTAs of 5 us on 10 SMs are two even waves, on 19 a full one and a lonely CTA, on 20 one. 20 MB at 1 TB/s."""
    item = work(20 * US, ctas=20, steps=5)
    even, lonely, one = (
        alone(FluidDevice(gpu(sms=sms), library(cycles=1000)), item).duration_ps for sms in (10, 19, 20)
    )
    assert one < even < lonely < 25 * US


def test_more_bandwidth_can_slow_concurrent_kernels_down():
    """A list-scheduling anomaly: on the faster memory the first kernel ends early enough for the second's CTAs to take
    its places, and the third, which the memory holds, starts behind them instead of beside them."""
    starts = [(0, work(8 * US, ctas=15, name="a")), (3 * US, work(0, 100 * US, ctas=30, name="b")),
              (6 * US, work(7 * US, ctas=5, name="c"))]
    times = [max(end for end, _ in play(FluidDevice(gpu(hbm=rate), library()), starts).values())
             for rate in (1e12, 1.25e12, 2e12)]
    assert times == pytest.approx([17 * US, 18.667 * US, 14.167 * US], rel=1e-4)


# Units, parts and who asked


def slowed(device, factor):
    """The same card and library with every time longer by a factor."""
    card, kernels = device
    gemm, hbm, l2 = kernels.gemm, card.hbm, card.l2
    card = replace(
        card,
        hbm=replace(hbm, bandwidth_bytes_per_s=hbm.bandwidth_bytes_per_s / factor, latency_ps=hbm.latency_ps * factor),
        l2=replace(l2, bandwidth_bytes_per_s=l2.bandwidth_bytes_per_s / factor,
                   near_latency_ps=l2.near_latency_ps * factor),
        sm=replace(card.sm, clock_hz=card.sm.clock_hz / factor, peak_flop_per_s={"bf16": 1e14 / factor}),
    )
    return card, replace(kernels, gemm=replace(gemm, fixed_ps={"default": gemm.fixed_ps["default"] * factor}))


@settings(max_examples=60, deadline=None)
@given(devices(), works(), st.integers(2, 7))
def test_a_kernels_time_scales_when_every_time_does(device, item, factor):
    one, two = (alone(FluidDevice(*d), item).duration_ps for d in (device, slowed(device, factor)))
    assert abs(two - factor * one) <= factor * len(waves(item))


@settings(max_examples=60, deadline=None)
@given(devices(), st.lists(st.tuples(st.integers(0, 10**7), works(most_ctas=5)), min_size=1, max_size=4),
       st.integers(2, 7))
def test_times_of_concurrent_kernels_scale_when_every_time_does(device, starts, factor):
    """Kernels that need not wait for places: an order that hangs on a picosecond is no matter of scale."""
    starts = [(now, item._replace(name=str(n))) for n, (now, item) in enumerate(sorted(starts))]
    one = play(FluidDevice(*device), starts)
    two = play(FluidDevice(*slowed(device, factor)), [(now * factor, item) for now, item in starts])
    for name, (end, _) in one.items():
        assert abs(two[name][0] - factor * end) <= factor * 4 * len(starts)


@settings(max_examples=60, deadline=None)
@given(devices(), programs())
def test_the_parts_of_a_kernels_time_add_up_to_it(device, starts):
    card, kernels = device
    began = {item.name: now for now, item in starts}
    for name, (end, timed) in play(FluidDevice(card, kernels), starts).items():
        assert timed.duration_ps == end - began[name]
        assert sum(part for _, part in timed.parts) == timed.duration_ps
        assert all(part > 0 for _, part in timed.parts)
        assert {why for why, _ in timed.parts} <= {"wait", "latency", "hbm", "l2", "flop"}
        assert timed.prologue_ps <= timed.duration_ps


@settings(max_examples=60, deadline=None)
@given(devices(), programs(), st.lists(st.integers(0, 10**8), max_size=30))
def test_how_often_one_looks_changes_nothing(device, starts, looks):
    card, kernels = device
    assert play(FluidDevice(card, kernels), starts) == play(FluidDevice(card, kernels), starts, looks)


def test_a_device_that_has_run_dry_is_as_new():
    device = FluidDevice(gpu(near=1000, far=2000), library(fixed=5, cycles=3.0))
    item = work(10**6, ctas=33, steps=7, per_sm=3)
    assert [alone(device, item) for _ in range(3)] == [alone(FluidDevice(gpu(near=1000, far=2000),
                                                                         library(fixed=5, cycles=3.0)), item)] * 3


def test_an_end_that_was_not_fetched_is_a_mistake():
    device = FluidDevice(gpu())
    device.start(work(1000), 0)
    with pytest.raises(ValueError, match="advance"):
        device.start(work(1000), 5000)


# Places


def test_a_second_kernel_waits_for_places():
    """15 of 20 places are taken: the second starts 5 of its 10 CTAs, the others when the first ends. HBM: 1 B/ps.

    0-8 us: 6 : 2 bytes; then the second's first 5 CTAs have 3 left and share with its last 5, that have 5, until 14 us.
    """
    ended = play(FluidDevice(gpu(), library()),
                 [(0, work(6 * US, ctas=15, name="a")), (0, work(10 * US, ctas=10, name="b"))])
    assert ended["a"][0] == 8 * US
    assert ended["b"][0] == 16 * US
    assert dict(ended["b"][1].parts) == {"hbm": 16 * US}


def test_a_kernel_without_any_place_waits_in_order():
    """All places are taken until 5 us; the third would fit beside the second."""
    ended = play(FluidDevice(gpu(), library()),
                 [(0, work(5 * US, ctas=20, name="a")), (US, work(6 * US, ctas=20, name="b")),
                  (2 * US, work(1 * US, ctas=1, name="c"))])
    assert [ended[name][0] for name in "abc"] == [5 * US, 11 * US, 12 * US]
    assert dict(ended["b"][1].parts) == {"wait": 4 * US, "hbm": 6 * US}
    assert dict(ended["c"][1].parts) == {"wait": 9 * US, "hbm": 1 * US}


def test_a_tail_of_few_ctas_is_slow_for_its_bytes():
    """21 CTAs of 1 MB: 20 at 1 TB/s, and one that its 100 kB in flight over 1 us hold at 0.1 TB/s."""
    timed = alone(FluidDevice(gpu(far=US), library()), work(21 * US, ctas=21, inflight=100_000))
    assert timed.duration_ps == (1 + 20 + 10) * US
    assert dict(timed.parts) == {"hbm": 20 * US, "latency": 11 * US}


def test_ctas_that_fit_on_an_sm_together_need_fewer_waves():
    item = work(40 * US, ctas=40, inflight=100_000)
    two, one = (alone(FluidDevice(gpu(far=4 * US), library()), replace_grid(item, n)).duration_ps for n in (1, 2))
    assert two == (4 + 2 * 40) * US
    assert one == (4 + 40) * US


def replace_grid(item, per_sm):
    return item._replace(grid=item.grid._replace(per_sm=per_sm))


def test_a_steps_own_loop_and_its_bytes_overlap_but_not_wholly():
    """s + mu exp(-s / mu): the loop alone, the bytes alone, and e^-1 more than either where they are equal."""
    for cycles, size, factor in ((1000, 1, 1.0), (0, 20 * US, 1.0), (1000, 20 * US, 1 + math.exp(-1))):
        item = work(size, ctas=20, steps=20)
        taken = alone(FluidDevice(gpu(), library(cycles=float(cycles))), item).duration_ps
        assert taken == pytest.approx(20 * US * factor, rel=1e-4)


def test_what_a_loop_keeps_a_kernel_from_taking_goes_to_the_others():
    """Its loop holds the first at 0.1 TB/s of the 1 TB/s; the second has the rest, not its half."""
    ended = play(FluidDevice(gpu(), library(cycles=1000.0)),
                 [(0, work(2 * US, ctas=10, steps=20, name="slow")),
                  (0, work(9 * US, ctas=10, name="fast", family="elementwise"))])
    assert ended["fast"][0] == 10 * US
    assert ended["slow"][0] == pytest.approx(20 * US, rel=0.01)


def test_a_few_sms_have_only_their_own_tensor_cores():
    """100 TFLOP/s on 20 SMs: 5 CTAs reach a quarter."""
    timed = alone(FluidDevice(gpu(), library()), work(8, flop=25 * 10**6, ctas=5))
    assert timed.duration_ps == US
    assert timed.bound == "flop"


def test_the_gap_between_small_kernels_already_holds_their_latency():
    """Only a kernel that misses waits longer than the small kernels between which the gap was measured."""
    card = gpu(near=100_000, far=300_000)
    assert alone(FluidDevice(card, library()), work(0, 10, family="elementwise")).duration_ps < 100_000
    missing = alone(FluidDevice(card, library()), work(10, family="elementwise"))
    assert dict(missing.parts) == {"latency": 200_000, "hbm": 10}
    assert alone(FluidDevice(card, library()), work(0, 10)).duration_ps > 100_000


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 40), st.integers(1, 3), st.integers(0, 10**8), st.integers(0, 10**8),
       st.integers(0, 10**10), st.sampled_from(["gemm", "attention", "elementwise"]))
def test_a_kernel_alone_takes_the_shorter_way_to_the_same_picosecond(ctas, steps, per_sm, issued, missed, flop, family):
    gpu, kernels = load_gpu("h200_sxm").value, load_stack("torch_graph").value.kernels
    work = Work("k", family, "bf16", flop, max(issued, missed), missed, Grid(ctas, steps, 32768, per_sm))
    device = FluidDevice(gpu, kernels)
    device.start(work, 0)
    end = device.next_end()
    assert device.advance(end) == [FluidDevice(gpu, kernels).alone(work)]
