"""Quantities: what is read, what is refused, and that a rate becomes a time the same way everywhere."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speedsim.units import InputError, UnitError, duration_ps, human, parse, stem_of, suffix_of


@pytest.mark.parametrize(("text", "name", "value"), [
    ("4917 GB/s", "bandwidth_bytes_per_s", 4.917e12),
    ("4.8 TB/s", "_bytes_per_s", 4.8e12),
    ("50 MiB", "capacity_bytes", 50 * 1024 * 1024),
    ("141 GB", "capacity_bytes", 141_000_000_000),
    ("128 B", "line_bytes", 128),
    ("1.98 GHz", "clock_hz", 1.98e9),
    ("989.4 TFLOP/s", "peak_flop_per_s", 989.4e12),
    ("1.979 PFLOPS", "peak_flop_per_s", 1.979e15),
    ("1979 TOPS", "peak_flop_per_s", 1.979e15),
    ("12.5 us", "turnaround_ps", 12_500_000),
    ("350 ns", "latency_ps", 350_000),
    ("12 µs", "latency_ps", 12_000_000),
    ("1 s", "_ps", 10**12),
    ("350W", "limit_w", 350.0),
    ("62 pJ/byte", "per_hbm_byte_j", 62e-12),
    ("15 pJ", "per_flop_j", 15e-12),
    ("3.5 USD", "price_per_hour_usd", 3.5),
    ("3.5 USD/hour", "price_per_hour_usd", 3.5),
    (3.5, "price_per_hour_usd", 3.5),
    ("1e3 GB/s", "_bytes_per_s", 1e12),
])
def test_a_text_with_a_unit_is_the_number_in_the_unit_of_the_name(text: object, name: str, value: float) -> None:
    assert parse(text, name) == value


def test_sizes_and_times_are_integers_and_everything_else_a_float() -> None:
    kinds = {name: type(parse(text, name)) for name, text in (
        ("_bytes", "1 kB"), ("_ps", "1 ns"), ("_hz", "1 Hz"), ("_bytes_per_s", "1 B/s"), ("_w", "1 W"), ("_usd", "1"))}
    assert kinds == {"_bytes": int, "_ps": int, "_hz": float, "_bytes_per_s": float, "_w": float, "_usd": float}


def test_a_rounded_figure_becomes_the_nearest_byte() -> None:
    assert parse("4.7 MiB", "_bytes") == round(4.7 * 2**20)


@pytest.mark.parametrize(("value", "name", "told"), [
    ("4917 GB/s", "turnaround_ps", "a time expected, got a rate in bytes (4917 GB/s)"),
    ("15 J", "limit_w", "a power expected, got an energy (15 J)"),
    ("5 GBps", "_bytes_per_s", "unit 'GBps' is unknown for a rate in bytes (did you mean GB/s?)"),
    ("12 Gb/s", "_bytes_per_s", "unit 'Gb/s' counts bits; write bytes"),
    ("228 KB", "_bytes", "unit 'KB' is unknown: kB is 1000 bytes, KiB is 1024"),
    (5, "turnaround_ps", "5 has no unit; write it as in '12.5 us'"),
    ("0", "turnaround_ps", "0 has no unit; write it as in '12.5 us'"),
    (math.nan, "_ps", "nan is not a finite number"),
    ("inf GB/s", "_bytes_per_s", "inf GB/s is not a finite number"),
    ("-5 us", "_ps", "-5 us is negative"),
    ("0 GB/s", "_bytes_per_s", "0 GB/s is zero; a rate in bytes must be above it"),
    ("1e999 B/s", "_bytes_per_s", "1e999 B/s is too large"),
    ("1e30 B", "_bytes", "1e30 B is too large"),
    ("1.5 B", "_bytes", "1.5 B is not a whole number of bytes"),
    ("0.0001 ns", "_ps", "0.0001 ns is not a whole number of picoseconds"),
    ("62 pJ/flop", "per_hbm_byte_j", "unit 'pJ/flop' is unknown for an energy (write it as in '15 pJ')"),
    ("fast", "_ps", "a time expected, such as '12.5 us', got 'fast'"),
    ("4,917 GB/s", "_bytes_per_s", "a rate in bytes expected, such as '4917 GB/s', got '4,917 GB/s'"),
    (True, "_bytes", "a size expected, such as '141 GB', got true"),
    (None, "_bytes", "a size expected, such as '141 GB', got null"),
])
def test_what_is_no_such_quantity_is_refused_in_the_readers_terms(value: object, name: str, told: str) -> None:
    with pytest.raises(UnitError) as error:
        parse(value, name)
    assert str(error.value) == told
    assert isinstance(error.value, InputError)


@given(st.text(max_size=80), st.sampled_from(["_bytes", "_bytes_per_s", "_flop_per_s", "_hz", "_ps", "_w", "_usd"]))
def test_any_text_is_a_finite_number_or_a_unit_error(text: str, name: str) -> None:
    try:
        value = parse(text, name)
    except UnitError:
        return
    assert math.isfinite(value)
    assert value >= 0


def test_the_suffix_is_the_unit_and_the_stem_the_key() -> None:
    names = ("bandwidth_bytes_per_s", "peak_flop_per_s", "capacity_bytes", "per_hbm_byte_j", "count")
    assert [suffix_of(name) for name in names] == ["_bytes_per_s", "_flop_per_s", "_bytes", "_j", ""]
    assert [stem_of(name) for name in names] == ["bandwidth", "peak", "capacity", "per_hbm_byte", "count"]


def test_a_second_of_bytes_takes_a_second_to_the_picosecond() -> None:
    assert duration_ps(4_917_000_000_000, 4.917e12) == 10**12


def test_a_duration_is_rounded_up_and_nothing_takes_no_time() -> None:
    assert [duration_ps(amount, 3e12) for amount in (0, 1, 2, 3, 4)] == [0, 1, 1, 1, 2]
    assert duration_ps(1, 1e30) == 1


@pytest.mark.parametrize(("amount", "rate"), [
    (-1, 1.0), (1, 0.0), (1, -1.0), (1, math.inf), (1, math.nan), (math.nan, 1.0), (math.inf, 1.0), (1e30, 1.0),
    (10**400, 1.0),
])
def test_a_duration_that_makes_no_sense_is_refused(amount: float, rate: float) -> None:
    with pytest.raises(UnitError):
        duration_ps(amount, rate)
    if amount != 10**400:
        with pytest.raises(UnitError):
            duration_ps(np.array([amount, 1.0]), rate)


@settings(max_examples=300)
@example(amount=4_917_000_000_000, rate=4.917e12)
@given(amount=st.integers(0, 2**62), rate=st.floats(1e6, 1e16))
def test_arrays_give_what_scalars_give(amount: int, rate: float) -> None:
    amounts = np.array([amount, amount // 3, 0], dtype=np.int64)
    try:
        expected = [duration_ps(int(a), rate) for a in amounts]
    except UnitError:
        with pytest.raises(UnitError):
            duration_ps(amounts, rate)
        return
    result = duration_ps(amounts, np.full(3, rate))
    assert result.dtype == np.int64
    assert result.tolist() == expected == duration_ps(amounts, rate).tolist()
    assert duration_ps(amounts[0], rate) == expected[0]


@settings(max_examples=300)
@given(amount=st.integers(1, 10**12), rate=st.floats(1e9, 1e16))
def test_a_duration_is_the_quotient_rounded_up_but_for_a_millionth_of_a_picosecond(amount: int, rate: float) -> None:
    exact = Fraction(amount) / Fraction(rate) * 10**12
    slack = Fraction(2, 10**6) + exact / 2**49
    assert exact - slack <= duration_ps(amount, rate) < exact + 1 + slack


@pytest.mark.parametrize(("value", "name", "text"), [
    (62914560, "_bytes", "60 MiB"), (141_000_000_000, "capacity_bytes", "141 GB"), (128, "_bytes", "128 B"),
    (4.917e12, "_bytes_per_s", "4.92 TB/s"), (999.9e9, "_bytes_per_s", "1 TB/s"),
    (989.4e12, "_flop_per_s", "989 TFLOP/s"),
    (1_270_000, "_ps", "1.27 us"), (0, "_ps", "0 s"), (10**12, "_ps", "1 s"), (1.98e9, "clock_hz", "1.98 GHz"),
    (15e-12, "per_flop_j", "15 pJ"), (700.0, "_w", "700 W"), (4.5, "_usd", "4.50 USD"), (132, "count", "132"),
])
def test_a_value_is_shown_with_three_digits_and_a_prefix(value: float, name: str, text: str) -> None:
    assert human(value, name) == text
