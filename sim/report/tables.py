"""A sweep as it lies on the disk: its axes and columns, from inputs.json and table.parquet beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..units import InputError
from .documents import load

SWEEP = "speedsim-sweep/1"
MOST_POINTS = 200_000

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a sweep: an axis, or linked ones that go together."""

    name: str
    texts: tuple[str, ...]
    """What the reader asked for, value by value."""
    numbers: tuple[float, ...] | None
    """The same as numbers where they are numbers."""
    at: NDArray[np.int64]
    """Which value each point has."""


@dataclass(frozen=True, slots=True)
class Table:
    """A sweep's points."""

    inputs: Mapping[str, Any]
    axes: tuple[Axis, ...]
    columns: Mapping[str, Column]
    """Numbers by name, NaN where a point was refused."""
    refused: tuple[str | None, ...]

    def column(self, name: str) -> Column:
        """A column; all NaN where the sweep has none of this name."""
        found = self.columns.get(name)
        return np.full(len(self.refused), np.nan) if found is None else found


def sweep(folder: Path) -> Table:
    """The sweep of a folder. Raises InputError naming the file that is missing or damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    inputs, path = load(folder / "inputs.json"), folder / "table.parquet"
    if inputs["schema"] != SWEEP:
        raise InputError(f"{folder / 'inputs.json'}: {inputs['schema']!r} is not {SWEEP}")
    try:
        found = pq.read_table(path, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        reason = "the sweep has not ended" if isinstance(error, FileNotFoundError) else "damaged, or no table"
        raise InputError(f"{path}: {reason}") from None
    if found.num_rows > MOST_POINTS:
        raise InputError(f"{path}: {found.num_rows:,} points; a page shows at most {MOST_POINTS:,}")
    columns = {name: _numbers(found[name]) for name in found.column_names if _numeric(found.schema.field(name).type)}
    axes = tuple(_axis(members, inputs, found) for members in inputs["dimensions"])
    return Table(inputs, axes, columns, tuple(found["refused"].to_pylist()))


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind))


def _numbers(column: Any) -> Column:
    return np.array([np.nan if value is None else float(value) for value in column.to_pylist()])


def _axis(members: list[str], inputs: Mapping[str, Any], found: Any) -> Axis:
    told = {axis["key"]: axis for axis in inputs["axes"]}
    rows = list(zip(*(map(str, found[key].to_pylist()) for key in members), strict=True))
    values = list(zip(*(map(str, told[key]["values"]) for key in members), strict=True))
    place = {value: number for number, value in enumerate(values)}
    at = np.array([place[row] for row in rows], dtype=np.int64)
    texts = tuple(" · ".join(value) for value in values)
    return Axis(", ".join(members), texts, _as_numbers(told[members[0]]) if len(members) == 1 else None, at)


def _as_numbers(axis: Mapping[str, Any]) -> tuple[float, ...] | None:
    """The axis's values in the unit of its field, or as bare numbers."""
    given = next((values for key, values in axis.items() if key not in ("key", "values")), axis["values"])
    try:
        return tuple(float(value) for value in given)
    except (TypeError, ValueError):
        return None
