"""The two files that a trace is kept in: what may stand in them, how they are read, how they are written.

JSON lines, for hands and tools:
    {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}}
    {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    {"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}          count of these, positions first .. first+count-1
    {"end": true, "lines": 258, "sha256": "..."}                       over the lines before it; optional by hand
Parquet carries the same: columns sequence, position (int32) and exit_tokens (fixed_size_list<int32>[G]), checksums on
its pages, the header, the sequences and a sha256 in its metadata. Neither form can run code when it is read.

Whatever is wrong with a file is a TraceError that names the place. What is checked: every key and number, that positions
follow one another, the checksums, and the size before anything is unpacked. Without its optional last line, a JSON lines
file that was cut exactly between two sequences cannot be told from a whole one.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from .units import InputError

SCHEMA = "speedsim-trace/1"
ENDS = ("length", "eos")
"""Why a sequence ended: it reached its length limit, or its last token ends the text."""
LIMIT_BYTES = 2 << 30
"""Files that are larger, or larger once uncompressed, are refused."""
WHOLE = 2**31
"""Tokens, positions and ids are whole numbers from 0 to one less than this."""

_LINE_BYTES = 1_000_000
_MOST_REPETITIONS = 4096
_DEEPEST_SOURCE = 32
_ROW_GROUP = 64 * 1024
_COLUMNS = ("sequence", "position", "exit_tokens")
_KEYS = {
    "header": (("schema", "model", "repetitions"), ("source",)),
    "sequence": (("sequence", "first", "count", "end"), ("source_tokens",)),
    "position": (("position", "exit_tokens"), ("confidence", "proposers")),
    "last line": (("end", "lines", "sha256"), ()),
}
"""(needed, allowed) keys of each kind of line."""

Tokens = NDArray[np.int32]
Refuse = Callable[[str, str], "TraceError"]
"""(key, what is wrong) -> the error that also names the place."""


class Opening(NamedTuple):
    """What a file says of a sequence before its rows."""

    id: int
    first: int
    count: int
    end: str
    source_tokens: int


Told = list[tuple[Opening, Tokens]]
"""The sequences, each with its exit tokens [count, G]."""


class TraceError(InputError):
    """A trace is refused; the message is one line, `file:line:col: key: what is wrong`."""


class Content(NamedTuple):
    """A file that has been read."""

    head: dict[str, Any]
    """schema, model, repetitions, source."""
    told: Told
    sealed: bool
    """Whether it carries a checksum, which held."""


def digest(repetitions: int, told: Told) -> str:
    """sha256 over repetitions, every sequence's (first, count, end, source_tokens) and all exit tokens."""
    content = hashlib.sha256(f"{repetitions}\n".encode())
    for o, tokens in told:
        content.update(f"{o.first},{o.count},{o.end},{o.source_tokens}\n".encode())
        content.update(tokens.astype("<i4", copy=False).tobytes())
    return content.hexdigest()


def read(path: Path, limit_bytes: int) -> Content:
    """The whole file, checked."""
    with _opened(path, limit_bytes) as reader:
        return reader(path, limit_bytes)


def read_header(path: Path) -> dict[str, Any]:
    """The header alone, checked."""
    with _opened(path, LIMIT_BYTES) as reader:
        return _parquet_header(path) if reader is _read_parquet else _jsonl_header(path)


@contextmanager
def _opened(path: Path, limit_bytes: int) -> Iterator[Callable[[Path, int], Content]]:
    """The reader of the file's suffix; what goes wrong while it reads is a TraceError."""
    if path.suffix not in _READERS:
        raise TraceError(f"{path}: suffix {path.suffix!r}: a trace is a .jsonl or a .parquet file")
    try:
        if not path.is_file():
            raise TraceError(f"{path}: no such file")
        size = path.stat().st_size
        if size > limit_bytes:
            raise TraceError(f"{path}: {size} bytes, more than the limit of {limit_bytes}")
        yield _READERS[path.suffix]
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: cannot be read: {_one_line(error)}") from error


def _one_line(value: object, most: int = 120) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= most else text[:most] + "..."


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return _one_line(json.dumps(value), 60)


def _near(given: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(given[:60], list(known), 1)
    return f" (did you mean {near[0]}?)" if near else ""


class _BadJsonError(ValueError):
    """(what stands in the line, what is wrong with it)."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise _BadJsonError(f'"{twice}"', "the key stands twice")
    return entry


def _constant(name: str) -> NoReturn:
    raise _BadJsonError(name, "is no number")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _fields(entry: dict[str, Any], kind: str, refuse: Refuse) -> None:
    """Refuse unknown and missing keys of a line of this kind."""
    needed, allowed = _KEYS[kind]
    for key in entry:
        if key not in needed and key not in allowed:
            missing = [k for k in needed + allowed if k not in entry]
            raise refuse(key, f"unknown key of a {kind}{_near(key, missing)}")
    for key in needed:
        if key not in entry:
            raise refuse(key, f"missing from the {kind}")


def _whole(entry: dict[str, Any], key: str, low: int, refuse: Refuse, below: int = WHOLE) -> int:
    value = entry[key]
    if type(value) is not int or not low <= value < below:
        raise refuse(key, f"{_shown(value)} is no whole number from {low} to {below - 1}")
    return value


def _heading(entry: dict[str, Any], refuse: Refuse) -> dict[str, Any]:
    """The header line's checked values."""
    if "schema" not in entry and not entry.keys() & {"model", "repetitions"}:
        raise refuse("schema", 'missing: the first line of a trace is {"schema": "' + SCHEMA + '", "model": ...}')
    _fields(entry, "header", refuse)
    if entry["schema"] != SCHEMA:
        raise refuse("schema", f"{_shown(entry['schema'])} is not known (did you mean {SCHEMA}?)")
    if type(entry["model"]) is not str or not entry["model"].strip():
        raise refuse("model", f"{_shown(entry['model'])} is no name")
    _whole(entry, "repetitions", 1, refuse, _MOST_REPETITIONS + 1)
    source = entry.get("source", {})
    if type(source) is not dict or not _plain(source, _DEEPEST_SOURCE):
        raise refuse("source", f"no object of finite values, {_DEEPEST_SOURCE} levels deep at most")
    return entry | {"source": source}


def _plain(value: Any, levels: int) -> bool:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return levels > 0 and all(_plain(v, levels - 1) for v in inner)
    return not isinstance(value, float) or math.isfinite(value)


def _opening(entry: dict[str, Any], refuse: Refuse, known: set[int]) -> Opening:
    """The checked (id, first, count, end, source_tokens) of a sequence line."""
    _fields(entry, "sequence", refuse)
    number = _whole(entry, "sequence", 0, refuse)
    if number in known:
        raise refuse("sequence", f"{number} was there before")
    known.add(number)
    first, count = _whole(entry, "first", 0, refuse), _whole(entry, "count", 1, refuse)
    if first + count > WHOLE:
        raise refuse("count", f"positions {first} .. {first + count - 1} do not fit 32 bits")
    if entry["end"] not in ENDS:
        near = _near(entry["end"], ENDS) if type(entry["end"]) is str else ""
        raise refuse("end", f"{_shown(entry['end'])} is neither length nor eos{near}")
    source_tokens = _whole(entry, "source_tokens", 0, refuse) if "source_tokens" in entry else 0
    return Opening(number, first, count, entry["end"], source_tokens)


class _Lines:
    """The lines of a file, one JSON object each; `hash` runs over the lines before the current one."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path, self.number, self.hash = path, 0, hashlib.sha256()
        self._stream, self._raw = stream, b""

    def take(self) -> dict[str, Any] | None:
        """The next line's object; None behind the last line."""
        self.hash.update(self._raw)
        self._raw = self._stream.readline(_LINE_BYTES + 1)
        if not self._raw:
            return None
        self.number += 1
        if len(self._raw) > _LINE_BYTES:
            raise self.refuse("", f"the line is longer than {_LINE_BYTES} bytes")
        try:
            entry = _DECODER.decode(self._raw.rstrip(b"\r\n").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise self.refuse("", "not UTF-8 text", error.start + 1) from None
        except json.JSONDecodeError as error:
            raise self.refuse("", f"not JSON: {error.msg}", error.pos + 1) from None
        except _BadJsonError as error:
            word, what = error.args
            raise self.refuse(word.strip('"'), what, self._raw.rfind(word.encode("utf-8", "replace")) + 1) from None
        except RecursionError:
            raise self.refuse("", "nested too deeply") from None
        except ValueError as error:
            raise self.refuse("", _one_line(error)) from None
        if type(entry) is not dict:
            raise self.refuse("", f"{_shown(entry)} is no object")
        return entry

    def refuse(self, key: str, what: str, column: int | None = None) -> TraceError:
        """The error that names this line and, where it stands in it, the key."""
        at = column or self._raw.find(f'"{key}"'.encode("utf-8", "replace")) + 1 or 1
        named = f"{_shown(key)[1:-1]}: " if key else ""
        return TraceError(f"{self.path}:{max(1, self.number)}:{at}: {named}{what}")


def _jsonl_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return _first_line(_Lines(path, stream))


def _first_line(lines: _Lines) -> dict[str, Any]:
    entry = lines.take()
    if entry is None:
        raise lines.refuse("", "the file is empty")
    return _heading(entry, lines.refuse)


def _read_jsonl(path: Path, _limit_bytes: int) -> Content:
    told: Told = []
    known: set[int] = set()
    sealed = False
    with path.open("rb") as stream:
        lines = _Lines(path, stream)
        head = _first_line(lines)
        while (entry := lines.take()) is not None:
            if sealed:
                raise lines.refuse("", "a line behind the one that ends the file")
            if entry.get("end") is True or entry.keys() & {"lines", "sha256"}:
                _seal(entry, lines)
                sealed = True
            elif "position" in entry and told:
                last = told[-1][0]
                raise lines.refuse("position", f"sequence {last.id} has its count of {last.count} positions already")
            else:
                opening = _opening(entry, lines.refuse, known)
                told.append((opening, _positions(lines, opening, head["repetitions"])))
        if not told:
            raise lines.refuse("sequence", "the file ends without one")
    return Content(head, told, sealed)


def _positions(lines: _Lines, opening: Opening, repetitions: int) -> Tokens:
    """The next lines' exit tokens, [count, repetitions]."""
    number, first, count, _, _ = opening
    plain, tokens = {"position", "exit_tokens"}, array("i")
    for position in range(first, first + count):
        entry = lines.take()
        if entry is None or entry.keys() & {"sequence", "lines", "sha256"}:
            raise lines.refuse("sequence", f"only {position - first} of the {count} positions of sequence {number}"
                               + (": the file is cut short" if entry is None else ""))
        if entry.keys() != plain:
            _fields(entry, "position", lines.refuse)
            _extras(entry, lines.refuse)
        if type(entry["position"]) is not int or entry["position"] != position:
            raise lines.refuse("position", f"{_shown(entry['position'])} where position {position} is next")
        exits = entry["exit_tokens"]
        if type(exits) is not list or len(exits) != repetitions:
            held = f"{len(exits)} predictions" if type(exits) is list else _shown(exits)
            raise lines.refuse("exit_tokens", f"{held} where the model has {repetitions} repetitions")
        for token in exits:
            if type(token) is not int or not 0 <= token < WHOLE:
                raise lines.refuse("exit_tokens", f"{_shown(token)} is no token: a whole number from 0 to {WHOLE - 1}")
        tokens.fromlist(exits)
    return np.frombuffer(tokens, dtype=np.intc).astype(np.int32).reshape(count, repetitions)


def _extras(entry: dict[str, Any], refuse: Refuse) -> None:
    if type(entry.get("confidence", [])) is not list:
        raise refuse("confidence", "no list")
    if type(entry.get("proposers", {})) is not dict:
        raise refuse("proposers", "no object")


def _seal(entry: dict[str, Any], lines: _Lines) -> None:
    """Check the last line against the lines before it."""
    _fields(entry, "last line", lines.refuse)
    if entry["end"] is not True:
        raise lines.refuse("end", f"{_shown(entry['end'])} is not true")
    if entry["lines"] != lines.number - 1:
        raise lines.refuse("lines", f"{_shown(entry['lines'])} said, {lines.number - 1} read: the file is damaged")
    if entry["sha256"] != lines.hash.hexdigest():
        raise lines.refuse("sha256", "the lines before say otherwise: the file is damaged or was edited by hand")


def _parquet_header(path: Path) -> dict[str, Any]:
    with _parquet(path) as file:
        return _manifest(path, file.schema_arrow.metadata or {})[0]


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """The open ParquetFile; whatever goes wrong in it is a TraceError."""
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError:
        raise TraceError(f"{path}: Parquet needs pyarrow; JSON lines need nothing") from None
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise TraceError(f"{path}: no readable Parquet trace: {_one_line(error)}") from error


def _read_parquet(path: Path, limit_bytes: int) -> Content:
    with _parquet(path) as file:
        head, openings, said = _manifest(path, file.schema_arrow.metadata or {})
        repetitions, rows = head["repetitions"], sum(o.count for o in openings)
        if not file.schema_arrow.equals(_schema(repetitions)):
            raise TraceError(f"{path}: columns: {_one_line(file.schema_arrow)} where the header says "
                             f"{_one_line(_schema(repetitions))}")
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


_READERS = {".jsonl": _read_jsonl, ".parquet": _read_parquet}


def _column(path: Path, column: Any) -> Tokens:
    """A column's values in a row, those of the fixed-size lists one after the other."""
    chunks = [chunk.flatten() if chunk.type.num_fields else chunk for chunk in column.chunks]
    if any(chunk.null_count for chunk in [*column.chunks, *chunks]):
        raise TraceError(f"{path}: a value is missing")
    return np.concatenate([np.empty(0, np.int32), *(chunk.to_numpy() for chunk in chunks)])


def _cut(path: Path, openings: list[Opening], repetitions: int, columns: list[Tokens]) -> Told:
    """The columns cut into sequences, compared with the manifest."""
    sequence, position, flat = columns
    tokens = flat.reshape(-1, repetitions)
    numbers = np.repeat([o.id for o in openings], [o.count for o in openings])
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
        entries = _DECODER.decode(sequences.decode())
        known: set[int] = set()
        openings = [_opening(entry, refuse, known) for entry in entries]
        return _heading(_DECODER.decode(head.decode()), refuse), openings, said.decode()
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise refuse("metadata", _one_line(error)) from None


def _manifest_seal(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\n".join(parts)).hexdigest().encode()


def _schema(repetitions: int, metadata: dict[bytes, bytes] | None = None) -> Any:
    import pyarrow as pa

    tokens = pa.list_(pa.field("element", pa.int32(), nullable=False), repetitions)
    kinds = zip(_COLUMNS, (pa.int32(), pa.int32(), tokens), strict=True)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds], metadata=metadata)


def jsonl(head: dict[str, Any], told: Told) -> bytes:
    """A .jsonl file, its checksum line included. TraceError where `head` could not be read back."""
    lines = [_line(_heading(head, _unwritable))]
    for opening, tokens in told:
        lines.append(_line(_opening_of(opening)))
        lines += [f'{{"position": {position}, "exit_tokens": {exits}}}\n'
                  for position, exits in enumerate(tokens.tolist(), opening.first)]
    content = "".join(lines).encode()
    return content + _line({"end": True, "lines": len(lines), "sha256": hashlib.sha256(content).hexdigest()}).encode()


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def _unwritable(key: str, what: str) -> TraceError:
    return TraceError(f"{key}: {what}: the trace cannot be written")


def _opening_of(o: Opening) -> dict[str, Any]:
    return {"sequence": o.id, "first": o.first, "count": o.count, "end": o.end, "source_tokens": o.source_tokens}


def parquet(head: dict[str, Any], told: Told) -> bytes:
    """A .parquet file (zstd, page checksums, row groups of 64k rows). TraceError where `head` could not be read back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    openings = [opening for opening, _ in told]
    parts = {
        "header": json.dumps(_heading(head, _unwritable), allow_nan=False).encode(),
        "sequences": json.dumps([_opening_of(o) for o in openings]).encode(),
        "digest": digest(head["repetitions"], told).encode(),
    }
    metadata = {f"speedsim.{key}".encode(): value for key, value in parts.items()}
    metadata[b"speedsim.sha256"] = _manifest_seal(*parts.values())
    schema = _schema(head["repetitions"], metadata)
    flat = np.concatenate([tokens.ravel() for _, tokens in told])
    sequence = np.repeat([o.id for o in openings], [o.count for o in openings]).astype(np.int32)
    position = np.concatenate([np.arange(o.first, o.first + o.count, dtype=np.int32) for o in openings])
    exits = pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field("exit_tokens").type)
    table = pa.Table.from_arrays([pa.array(sequence), pa.array(position), exits], schema=schema)
    stream = io.BytesIO()
    with pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)
    return stream.getvalue()
