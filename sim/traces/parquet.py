"""A trace as Parquet: three columns with checksummed pages; header, sequences and digests in the file's metadata.

    sequence, position: int32;  exit_tokens: fixed_size_list<int32>[G]        zstd, row groups of 64k rows
    speedsim.header, speedsim.sequences: JSON as in the lines of the plain form;  speedsim.digest: of the content
    speedsim.sha256: over these three, because nothing else protects metadata

Pages whose checksum fails do not load; rows are compared with the metadata and the digest; the size that the footer
tells is compared with a limit before anything is unpacked.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .files import (
    DECODER,
    Content,
    Opening,
    Tokens,
    Told,
    TraceError,
    digest,
    heading,
    one_line,
    opening,
    unwritable,
)

_ROW_GROUP = 64 * 1024
_COLUMNS = ("sequence", "position", "exit_tokens")


def read_header(path: Path) -> dict[str, Any]:
    """The header in the file's metadata, checked."""
    with _parquet(path) as file:
        return _manifest(path, file.schema_arrow.metadata or {})[0]


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """The open ParquetFile; whatever goes wrong in it is a TraceError."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise TraceError(f"{path}: Parquet needs pyarrow; JSON lines need nothing") from None
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise TraceError(f"{path}: no readable Parquet trace: {one_line(error)}") from error


def read(path: Path, limit_bytes: int) -> Content:
    """The whole file, checked. TraceError, before anything is unpacked, where it would exceed `limit_bytes`."""
    with _parquet(path) as file:
        head, openings, said = _manifest(path, file.schema_arrow.metadata or {})
        repetitions, rows = head["repetitions"], sum(o.count for o in openings)
        if not file.schema_arrow.equals(_schema(repetitions)):
            raise TraceError(f"{path}: columns: {one_line(file.schema_arrow)} where the header says "
                             f"{one_line(_schema(repetitions))}")
        groups = (file.metadata.row_group(g).total_byte_size for g in range(file.metadata.num_row_groups))
        size = max(sum(groups), file.metadata.num_rows * 4 * (repetitions + 2))
        if size > limit_bytes:
            raise TraceError(f"{path}: {size} bytes uncompressed, more than the limit of {limit_bytes}")
        if file.metadata.num_rows != rows:
            raise TraceError(f"{path}: {file.metadata.num_rows} rows where the sequences count {rows}")
        table = file.read(use_threads=False)
        columns = [_column(path, table[name]) for name in _COLUMNS]
    told = _cut(path, openings, repetitions, columns)
    if digest(repetitions, told) != said:
        raise TraceError(f"{path}: sha256: the rows say otherwise: the file is damaged")
    return Content(head, told, True)


def _column(path: Path, column: Any) -> Tokens:
    """A column's values in a row, those of the fixed-size lists one after the other."""
    chunks = [chunk.flatten() if chunk.type.num_fields else chunk for chunk in column.chunks]
    if any(chunk.null_count for chunk in [*column.chunks, *chunks]):
        raise TraceError(f"{path}: a value is missing")
    return np.concatenate([np.empty(0, np.int32), *(np.from_dlpack(chunk) for chunk in chunks)])


def _cut(path: Path, openings: list[Opening], repetitions: int, columns: list[Tokens]) -> Told:
    """The columns cut into sequences, compared with the manifest."""
    sequence, position, flat = columns
    tokens = flat.reshape(-1, repetitions)
    numbers = np.repeat([o.sequence for o in openings], [o.count for o in openings])
    places = np.concatenate([np.arange(o.first, o.first + o.count) for o in openings])
    if not np.array_equal(sequence, numbers) or not np.array_equal(position, places):
        raise TraceError(f"{path}: position: rows are not first .. first+count-1 of each sequence in turn")
    if (tokens < 0).any():
        raise TraceError(f"{path}: exit_tokens: {tokens.min()} is no token")
    return list(zip(openings, np.split(tokens, np.cumsum([o.count for o in openings])[:-1]), strict=True))


def _manifest(path: Path, metadata: dict[bytes, bytes]) -> tuple[dict[str, Any], list[Opening], str]:
    """(header, openings, digest of the content) of a Parquet file's metadata."""
    def refuse(key: str, what: str) -> TraceError:
        return TraceError(f"{path}: {key}: {what}")

    parts = {key: metadata.get(f"speedsim.{key}".encode()) for key in ("header", "sequences", "digest", "sha256")}
    head, sequences, said, seal = parts.values()
    if head is None or sequences is None or said is None or seal is None:
        lacking = ", ".join(f"speedsim.{key}" for key, value in parts.items() if value is None)
        raise refuse("metadata", f"no trace: it lacks {lacking}")
    if _manifest_seal(head, sequences, said) != seal:
        raise refuse("sha256", "the metadata says otherwise: the file is damaged")
    try:
        entries = DECODER.decode(sequences.decode())
        known: set[int] = set()
        openings = [opening(entry, refuse, known) for entry in entries]
        return heading(DECODER.decode(head.decode()), refuse), openings, said.decode()
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise refuse("metadata", one_line(error)) from None


def _manifest_seal(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\n".join(parts)).hexdigest().encode()


def _schema(repetitions: int, metadata: dict[bytes, bytes] | None = None) -> Any:
    import pyarrow as pa

    tokens = pa.list_(pa.field("element", pa.int32(), nullable=False), repetitions)
    kinds = zip(_COLUMNS, (pa.int32(), pa.int32(), tokens), strict=True)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds], metadata=metadata)


def written(head: dict[str, Any], told: Told) -> bytes:
    """A .parquet file: zstd, page checksums, row groups of 64k rows. TraceError where `head` could not be read back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    openings = [opened for opened, _ in told]
    parts = {
        "header": json.dumps(heading(head, unwritable), allow_nan=False).encode(),
        "sequences": json.dumps([o.line for o in openings]).encode(),
        "digest": digest(head["repetitions"], told).encode(),
    }
    metadata = {f"speedsim.{key}".encode(): value for key, value in parts.items()}
    metadata[b"speedsim.sha256"] = _manifest_seal(*parts.values())
    schema = _schema(head["repetitions"], metadata)
    flat = np.concatenate([tokens.ravel() for _, tokens in told])
    sequence = np.repeat([o.sequence for o in openings], [o.count for o in openings]).astype(np.int32)
    position = np.concatenate([np.arange(o.first, o.first + o.count, dtype=np.int32) for o in openings])
    exits = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field("exit_tokens").type)
    table = pa.Table.from_arrays([pa.array(sequence), pa.array(position), exits], schema=schema)
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
    return stream.getvalue()
