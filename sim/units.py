"""Quantities at the door: text with a unit in, plain numbers out; and the only place where a rate becomes a time.

A field's name ends in its unit, so the name says which dimension a text must have: `4917 GB/s` fills
`bandwidth_bytes_per_s`. Decimal prefixes (k, M, G) and binary ones (Ki, Mi, Gi) are different tables; only bytes have
binary ones, and 1 MiB is not 1 MB. Sizes and times are integers (bytes, picoseconds), everything else is a float.

    duration = ceil(amount / rate), in picoseconds

Ignored: bits, and units outside the tables; they are refused by name.
"""

from __future__ import annotations

import difflib
import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class InputError(Exception):
    """What the reader gave is wrong; the text is one line in the reader's terms."""


class NotCoveredError(Exception):
    """What was asked is sensible, but no data or no installed part covers it; the text is one line."""


class UnitError(InputError, ValueError):
    """A quantity cannot be read, or makes no sense."""


_UP = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DOWN = {"m": -3, "u": -6, "µ": -6, "μ": -6, "n": -9, "p": -12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_INT64_MAX = 2**63 - 1


def _decimal(spellings: tuple[str, ...], prefixes: dict[str, int], base: int = 0) -> dict[str, Fraction]:
    return {p + s: Fraction(10) ** (power + base) for s in spellings for p, power in prefixes.items()}


def _bytes(tail: str) -> dict[str, Fraction]:
    whole = {"B" + tail: Fraction(1), "byte" + tail: Fraction(1), "bytes" + tail: Fraction(1)}
    return whole | _decimal(("B" + tail,), _UP) | {p + "B" + tail: Fraction(f) for p, f in _BINARY.items()}


class _Dimension(NamedTuple):
    noun: str
    example: str
    whole: str
    """What the value is an integer of; empty for a float."""
    rate: bool
    """Whether something is divided by it, so that zero is refused."""
    units: dict[str, Fraction]


_DIMENSIONS = {
    "_bytes_per_s": _Dimension("a rate in bytes", "4917 GB/s", "", True, _bytes("/s")),
    "_flop_per_s": _Dimension("a rate in FLOP", "989.4 TFLOP/s", "", True,
                              _decimal(("FLOP/s", "FLOPS", "flop/s", "OP/s", "OPS"), _UP)),
    "_bytes": _Dimension("a size", "141 GB", "bytes", False, _bytes("")),
    "_hz": _Dimension("a clock rate", "1.98 GHz", "", True, _decimal(("Hz",), _UP)),
    "_ps": _Dimension("a time", "12.5 us", "picoseconds", False, _decimal(("s",), {"": 0} | _DOWN, base=12)),
    "_w": _Dimension("a power", "350 W", "", False, _decimal(("W",), _UP | _DOWN)),
    "_j": _Dimension("an energy", "15 pJ", "", False, _decimal(("J",), _UP | _DOWN)),
    "_usd": _Dimension("a price", "3.5 USD", "", False, {"USD": Fraction(1)}),
}
_PER = ("byte", "flop", "hour")
"""What an energy or a price may be quoted per, where the field's name says so too: per_hbm_byte_j takes pJ/byte."""

_QUANTITY = re.compile(
    r"([+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:e[+-]?\d{1,3})?)[ \t]*([^\d\s.+-]\S*)?", re.ASCII | re.IGNORECASE)
_ENDLESS = re.compile(r"[+-]?\.?(nan|inf|infinity)\b", re.IGNORECASE)


def suffix_of(name: str) -> str:
    """The unit at the end of a field's name, such as `_bytes_per_s`; empty where the name has none."""
    return next((suffix for suffix in _DIMENSIONS if name.endswith(suffix)), "")


def meaning_of(suffix: str) -> str:
    """What a unit at the end of a name measures: `a rate in bytes`."""
    return _DIMENSIONS[suffix].noun


def example_of(suffix: str) -> str:
    """A quantity in such a unit: `4917 GB/s`."""
    return _DIMENSIONS[suffix].example


def stem_of(name: str) -> str:
    """A field's name without its unit: the key in a file."""
    return name.removesuffix(suffix_of(name))


def parse(value: object, name: str) -> int | float:
    """The number that a text such as `4.8 TB/s` means in the unit of `name`, a field's name or a bare suffix.

    Integer for `_bytes` (bytes) and `_ps` (picoseconds), float for rates, watts, joules and dollars. Only a price may
    be a bare number. Raises UnitError for a wrong dimension, an unknown unit, a missing one, and for what is not
    finite, negative, or zero where it is a rate.
    """
    suffix = suffix_of(name)
    if not suffix:
        raise UnitError(f"{name} has no unit")
    dimension = _DIMENSIONS[suffix]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnitError(f"{dimension.noun} expected, such as {dimension.example!r}, got {_shown(value)}")
    shown = str(value).strip()
    if _ENDLESS.match(shown):
        raise UnitError(f"{shown} is not a finite number")
    match = _QUANTITY.fullmatch(shown)
    if match is None:
        raise UnitError(f"{dimension.noun} expected, such as {dimension.example!r}, got {_shown(value)}")
    number, unit = match[1], match[2] or ""
    if not unit and suffix != "_usd":
        raise UnitError(f"{shown} has no unit; write it as in {dimension.example!r}")
    factor = _factor(unit, name, dimension, shown) if unit else Fraction(1)
    return _checked(Fraction(number) * factor, factor, dimension, shown)


def _factor(unit: str, name: str, dimension: _Dimension, shown: str) -> Fraction:
    units = dimension.units
    if dimension.noun in ("an energy", "a price"):
        words = name.strip("_").split("_")
        named = [w for w in _PER if w in words or len(words) == 1]
        units = units | {f"{u}/{word}": factor for u, factor in units.items() for word in named}
    if unit in units:
        return units[unit]
    for other in _DIMENSIONS.values():
        if unit in other.units:
            raise UnitError(f"{dimension.noun} expected, got {other.noun} ({shown})")
    if unit in ("KB", "KB/s"):
        raise UnitError(f"unit {unit!r} is unknown: kB is 1000 bytes, KiB is 1024")
    if re.fullmatch(r"[kMGTP]?i?b(it)?s?(/s|ps)?", unit):
        raise UnitError(f"unit {unit!r} counts bits; write bytes")
    near = difflib.get_close_matches(unit, units, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"write it as in {dimension.example!r}"
    raise UnitError(f"unit {_shown(unit)} is unknown for {dimension.noun} ({hint})")


def _checked(amount: Fraction, factor: Fraction, dimension: _Dimension, shown: str) -> int | float:
    if amount < 0:
        raise UnitError(f"{shown} is negative")
    if not dimension.whole:
        try:
            result = float(amount)
        except OverflowError:
            raise UnitError(f"{shown} is too large") from None
        if dimension.rate and result == 0:
            raise UnitError(f"{shown} is zero; {dimension.noun} must be above it")
        return result
    if amount > _INT64_MAX:
        raise UnitError(f"{shown} is too large")
    # 4.7 MiB is a rounded figure and becomes the nearest byte; half a byte is a mistake.
    if amount.denominator != 1 and (factor == 1 or round(amount) == 0):
        raise UnitError(f"{shown} is not a whole number of {dimension.whole}")
    return round(amount)


def _shown(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@overload
def duration_ps(amount: float, rate_per_s: float) -> int: ...
@overload
def duration_ps(amount: NDArray[Any], rate_per_s: float | NDArray[Any]) -> NDArray[np.int64]: ...
@overload
def duration_ps(amount: float, rate_per_s: NDArray[Any]) -> NDArray[np.int64]: ...
def duration_ps(amount: Any, rate_per_s: Any) -> Any:
    """Picoseconds that `amount` (bytes, FLOP, cycles) takes at a rate per second, rounded up.

    Nothing takes no time, anything else at least 1 ps. A quotient within 1e-6 ps and a few roundings above a whole
    number is that number, so that 4,917 GB at 4,917 GB/s are 1 s to the picosecond. Scalars give an int, numpy arrays
    an int64 array of the same values. Raises UnitError for a negative amount, a rate that is not above 0, and a time
    beyond int64.
    """
    if not isinstance(amount, int | float) or not isinstance(rate_per_s, int | float):
        return _durations_ps(amount, rate_per_s)
    try:
        # The conversions are numpy's: an int becomes a double before it is divided.
        exact = float(amount) / float(rate_per_s) * 1e12 if rate_per_s > 0 else math.nan
        result = math.ceil(exact - (1e-6 + exact * 2**-50))
    except (OverflowError, ValueError):
        raise UnitError(f"no time: amount {amount!r} at {rate_per_s!r} per second") from None
    if amount < 0 or result > _INT64_MAX or not math.isfinite(rate_per_s):
        raise UnitError(f"no time: amount {amount!r} at {rate_per_s!r} per second")
    return max(result, 1) if amount else 0


def _durations_ps(amount: Any, rate_per_s: Any) -> Any:
    import numpy as np

    amounts, rates = np.asarray(amount, dtype=np.float64), np.asarray(rate_per_s, dtype=np.float64)
    if not (np.all(rates > 0) and np.all(np.isfinite(rates)) and np.all(amounts >= 0)):
        raise UnitError("no time: amounts must be 0 or more, rates above 0 per second and finite")
    with np.errstate(over="ignore", invalid="ignore"):
        exact = amounts / rates * 1e12
        rounded = np.ceil(exact - (1e-6 + exact * 2**-50))
    if not np.all(rounded < 2.0**63):
        raise UnitError("no time: beyond 2**63 ps")
    result = np.where(amounts > 0, np.maximum(rounded, 1), 0).astype(np.int64)
    return int(result) if result.ndim == 0 else result


_SHOWN_AS = {"_bytes_per_s": "B/s", "_flop_per_s": "FLOP/s", "_hz": "Hz", "_ps": "s", "_w": "W", "_j": "J"}
_STEPS_UP = {p: 10.0**power for p, power in _UP.items()}
_STEPS_DOWN = {p: float(f"1e{_DOWN[p]}") for p in ("p", "n", "u", "m")}
_STEPS_BINARY = {"": 1.0} | {p: float(f) for p, f in _BINARY.items()}


def human(value: float, name: str) -> str:
    """A value in the unit of `name` (a field's name or a bare suffix) as people write it: three digits and a prefix.

    Bytes take decimal prefixes where three digits say the number exactly, binary ones elsewhere: 141 GB, 60 MiB.
    Without a unit the number stands alone.
    """
    suffix = suffix_of(name)
    if suffix == "_bytes":
        number, prefix = _scaled(value, _STEPS_UP, 1000)
        if float(number) * _STEPS_UP[prefix] != value:
            number, prefix = _scaled(value, _STEPS_BINARY, 1024)
        return f"{number} {prefix}B"
    if suffix == "_usd":
        return f"{value:.2f} USD"
    if not suffix:
        return f"{value:.6g}"
    steps = _STEPS_DOWN | ({"": 1.0} if suffix == "_ps" else _STEPS_UP)
    number, prefix = _scaled(value / 1e12 if suffix == "_ps" else value, steps, 1000)
    return f"{number} {prefix}{_SHOWN_AS[suffix]}"


def _scaled(value: float, steps: dict[str, float], limit: int) -> tuple[str, str]:
    """The number in three digits and the smallest prefix with which it stays below `limit`; 0 has no prefix."""
    text = ""
    for prefix in steps if value else ("",):
        scaled = value / steps[prefix]
        text = f"{scaled:.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"
        if abs(float(text)) < limit:
            return text, prefix
    return text, next(reversed(steps))
