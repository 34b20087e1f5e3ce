"""The table of a sweep: blocks as bytes, and all of them as one Parquet file, one row a point, in the points' order.

The file depends on the figures alone: neither on who computed them nor in which order they came. It is written slice by
slice, so that memory does not grow with the number of points.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..reading.numbers_of import number, placed, unit_of
from .axes import Axis
from .figures import COUNTS, Column
from .grid import Grid

SLICE = 131_072
"""Rows written at a time."""
BLOCKS_KEPT = 16
"""Blocks that are kept unpacked at a time."""
Content = Callable[[int], bytes]
"""The content of a block by its number."""


def packed(columns: Mapping[str, Column], rows: int) -> bytes:
    """A block's columns as bytes."""
    arrays = [pa.array(np.broadcast_to(np.asarray(column, dtype=_numpy(name)), rows), type=_type(name),
                       from_pandas=True) for name, column in columns.items()]
    batch = pa.record_batch(arrays, names=list(columns))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def unpacked(content: bytes) -> Any:
    """The record batch of a block."""
    return pa.ipc.open_stream(content).read_next_batch()


def _type(name: str) -> Any:
    """The Arrow type of a column."""
    if name == "refused":
        return pa.string()
    return pa.bool_() if name == "memory.fits" else pa.int64() if name in COUNTS else pa.float64()


def _numpy(name: str) -> Any:
    return object if name == "refused" else bool if name == "memory.fits" else np.int64 if name in COUNTS else float


def write(stream: IO[bytes], grid: Grid, content: Content) -> None:
    """Write the table as Parquet."""
    with pq.ParquetWriter(stream, schema(grid, content), compression="zstd", write_page_checksum=True) as writer:
        for batch in slices(grid, content):
            writer.write_table(batch)


def slices(grid: Grid, content: Content) -> Iterator[Any]:
    """The table in parts, in order."""
    shape = schema(grid, content)
    blocks = grid.blocks()
    ends = [(int(points.min()), int(points.max())) for points in map(grid.points, blocks)]
    kept: OrderedDict[int, tuple[NDArray[np.int64], Any]] = OrderedDict()
    for first in range(0, grid.size, SLICE):
        stop = min(first + SLICE, grid.size)
        columns = dict(_coordinates(grid, first, stop))
        figures = {name: _Filling(name, stop - first) for name in shape.names if name not in columns}
        for place, (lowest, highest) in enumerate(ends):
            if highest < first or lowest >= stop:
                continue
            if place not in kept:
                kept[place] = (grid.points(blocks[place]), unpacked(content(place)))
                if len(kept) > BLOCKS_KEPT:
                    kept.popitem(last=False)
            points, batch = kept[place]
            inside = (points >= first) & (points < stop)
            for name in batch.schema.names:
                figures[name].fill(points[inside] - first, batch.column(name), inside)
        yield pa.table([columns[name] if name in columns else figures[name].array for name in shape.names],
                       schema=shape)


class _Filling:
    """A column that blocks fill in any order; null where none does."""

    def __init__(self, name: str, rows: int) -> None:
        self._type = _type(name)
        self._values = np.zeros(rows, dtype=_numpy(name))
        self._missing = np.ones(rows, dtype=bool)

    def fill(self, at: NDArray[np.int64], column: Any, inside: NDArray[np.bool_]) -> None:
        """Put a block's values where they belong."""
        missing = np.asarray(column.is_null())
        if self._type == pa.float64():
            values = column.to_numpy(zero_copy_only=False)
        else:
            values = np.asarray(column.to_pylist(), dtype=object)
            values[missing] = 0
        self._values[at] = values[inside]
        self._missing[at] = missing[inside]

    @property
    def array(self) -> Any:
        """The column."""
        return pa.array(self._values, type=self._type, mask=self._missing)


def schema(grid: Grid, content: Content) -> Any:
    """Names and types: the coordinates, then the figures in the order in which the blocks first have them."""
    names: dict[str, Any] = {name: array.type for name, array in _coordinates(grid, 0, 1)}
    names["refused"] = _type("refused")
    for place, block in enumerate(grid.blocks()):
        if block.first == 0:  # the blocks of a group have equal columns
            names |= {name: _type(name) for name in unpacked(content(place)).schema.names if name not in names}
    return pa.schema(list(names.items()))


def _coordinates(grid: Grid, first: int, stop: int) -> Iterator[tuple[str, Any]]:
    """Where each point lies: the axis as it was asked, and in plain numbers where it has a unit."""
    at = np.unravel_index(np.arange(first, stop), grid.shape)
    for dimension, members in enumerate(grid.dimensions):
        for place in members:
            one = grid.axes[place]
            plain, index = one.plain_numbers, at[dimension]
            if plain is not None:
                yield one.key, pa.array(np.array(plain)[index])
                continue
            yield one.key, pa.array(list(one.texts)).take(pa.array(index))
            for name, values in unit_axes(one).items():
                yield name, pa.array(np.array(values)[index])


def unit_axes(axis: Axis) -> dict[str, list[float]]:
    """The axis in the unit of its field, under a name that ends in it: hbm.bandwidth_bytes_per_s; empty without one."""
    place = placed(axis.key)
    if place is None or not unit_of(place[1]):
        return {}
    return {f"{axis.key}{unit_of(place[1])}": [number(text, place[1]) for text in axis.texts]}
