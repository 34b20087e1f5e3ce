"""What-ifs whose answer is known: how far the prediction was off, for those that are asked and cannot be checked.

Each file of hw_configs/validated is one comparison of a prediction with published measurements. So far they are of
single kernels; no what-if of a whole decode has been measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .config import load
from .registry import find, names


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """One comparison; `name` is its file's."""

    name: str
    title: str
    touches: tuple[str, ...]
    """Parts of the GPU in which the two sides differ: sm, l2, hbm, launch."""
    rows: int
    """Kernels compared."""
    error_percent: float
    """Mean absolute error of the predicted gain."""
    bias_percent: float = field(metadata={"signed": True})


def nearest(keys: Iterable[str]) -> Validated | None:
    """The comparison that differs in the same parts of the GPU as the keys of --set; None where none shares one."""
    parts = {key.removeprefix("gpu.").partition(".")[0] for key in keys}
    known = [load(Validated, find("validated", name)).value for name in names("validated")]
    shared = [one for one in known if parts & set(one.touches)]
    return min(shared, key=lambda one: (len(parts - set(one.touches)), len(one.touches), one.name), default=None)


def quoted(keys: Iterable[str]) -> str:
    """The nearest comparison in a sentence."""
    near = nearest(keys)
    if near is None:
        return "no what-if of this kind has been validated on a measurement"
    return (f"nearest validated what-if: {near.title}; the gain of {near.rows:,} single kernels was predicted to "
            f"{near.error_percent:g} % (bias {near.bias_percent:+g} %); no what-if of a whole decode has been measured")
