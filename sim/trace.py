"""What a decoder's exits predicted, position by position, and the two files that it is kept in.

    row p:  input token p  ->  exit e = 1 .. G predicts token p + 1;   the last exit's prediction is the text

A trace is the facts behind a run. Positions before a sequence's `first` are its prompt. The settle repetition r of a
position is the repetition at which its prediction last changed (1: the first exit was right and never moved), and
SPEED (arXiv:2310.12072) decodes n tokens in G + r_1 + ... + r_(n-1) passes, where plain decoding takes n G.

What a trace ignores: predictions from wrong text, which a live run also makes and throws away.

JSON lines, for hands and tools:
    {"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {...}}
    {"sequence": 0, "first": 64, "count": 256, "end": "length", "source_tokens": 0}
    {"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}          count of these, positions first .. first+count-1
    {"end": true, "lines": 258, "sha256": "..."}                       over the lines before it; optional by hand
Parquet carries the same: columns sequence, position (int32) and exit_tokens (fixed_size_list<int32>[G]), checksums on
its pages, the header, the sequences and a sha256 in its metadata. Neither form can run code when it is read.
Whatever is wrong with a file is refused with a TraceError that names the place.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from .units import InputError

SCHEMA = "speedsim-trace/1"
ENDS = ("length", "eos")
"""Why a sequence ended: it reached its length limit, or its last token ends the text."""
LIMIT_BYTES = 2 << 30
"""Files that are larger, or larger once uncompressed, are refused."""

_LINE_BYTES = 1_000_000
_WHOLE = 2**31
_MOST_REPETITIONS = 4096
_DEEPEST_SOURCE = 32
_ROW_GROUP = 64 * 1024
_SYNTHETIC = ("flips", "count", "sequences", "first", "seed", "vocabulary")
_COLUMNS = ("sequence", "position", "exit_tokens")
_KEYS = {
    "header": (("schema", "model", "repetitions"), ("source",)),
    "sequence": (("sequence", "first", "count", "end"), ("source_tokens",)),
    "position": (("position", "exit_tokens"), ("confidence", "proposers")),
    "last line": (("end", "lines", "sha256"), ()),
}
"""(needed, allowed) keys of each kind of line."""

T = TypeVar("T")
Tokens = NDArray[np.int32]
Flips = list[float] | tuple[float, ...]
Opening = tuple[int, int, int, str, int]
"""(id, first, count, end, source_tokens) of a sequence."""
Refuse = Callable[[str, str], "TraceError"]
"""(key, what is wrong) -> the error that also names the place."""


class TraceError(InputError):
    """A trace is refused; the message is one line, `file:line:col: key: what is wrong`."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """A decoded sequence: its predictions at every exit."""

    id: int
    first: int
    """Position of the first row; the prompt stands before it."""
    count: int
    """Rows: positions first .. first+count-1."""
    end: str
    """One of ENDS."""
    source_tokens: int
    """Length of what cross-attention reads; 0 without it."""
    exit_tokens: Tokens
    """[count, G]: exit_tokens[index][e-1] is what exit e predicts from position first + index on the committed text."""

    def __post_init__(self) -> None:
        given = np.asarray(self.exit_tokens)
        if given.ndim != 2 or len(given) != self.count or self.count < 1 or self.end not in ENDS:
            raise TraceError(f"sequence {self.id}: exit_tokens {given.shape} with count {self.count}, end {self.end!r}")
        if given.dtype.kind not in "iu" or not 0 <= given.min() <= given.max() < _WHOLE:
            raise TraceError(f"sequence {self.id}: exit_tokens are not all whole numbers from 0 to {_WHOLE - 1}")
        tokens = np.array(given, dtype=np.int32, order="C")
        tokens.setflags(write=False)
        object.__setattr__(self, "exit_tokens", tokens)

    @property
    def text(self) -> Tokens:
        """[count]: the committed tokens, those behind positions first .. first+count-1."""
        text: Tokens = self.exit_tokens[:, -1]
        return text


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Sequences of one model, in file order. Two traces with one digest say the same, whatever file they came from."""

    name: str
    """The file's name without its suffix."""
    model: str
    repetitions: int
    """G: exits per position."""
    source: dict[str, Any]
    """Where it came from, in plain JSON values."""
    sequences: tuple[Sequence, ...]
    digest: str = ""
    """sha256 over repetitions, every sequence's (first, count, end, source_tokens) and all exit tokens."""

    def __post_init__(self) -> None:
        if not self.sequences or len({s.id for s in self.sequences}) != len(self.sequences):
            raise TraceError(f"{self.name}: no sequences, or two of one id")
        if any(s.exit_tokens.shape[1] != self.repetitions for s in self.sequences):
            raise TraceError(f"{self.name}: a sequence has not {self.repetitions} exits a position")
        if not self.digest:
            object.__setattr__(self, "digest", _digest(self.repetitions, self.sequences))

    @property
    def tokens(self) -> int:
        """Positions of all sequences."""
        return sum(s.count for s in self.sequences)


def _digest(repetitions: int, sequences: tuple[Sequence, ...]) -> str:
    content = hashlib.sha256(f"{repetitions}\n".encode())
    for s in sequences:
        content.update(f"{s.first},{s.count},{s.end},{s.source_tokens}\n".encode())
        content.update(s.exit_tokens.astype("<i4", copy=False).tobytes())
    return content.hexdigest()


# -------------------------------------------------------------------------------------------------------------- reading


def load(path: str | Path, limit_bytes: int = LIMIT_BYTES) -> Trace:
    """The trace in a .jsonl or .parquet file; TraceError where anything is wrong with it."""
    return _load(Path(path), limit_bytes)[0]


def check(path: str | Path, limit_bytes: int = LIMIT_BYTES) -> dict[str, Any]:
    """Read a file as `load` does and tell what is in it. `sealed`: it carries a checksum, which held."""
    trace, sealed = _load(Path(path), limit_bytes)
    ends = Counter(s.end for s in trace.sequences)
    return {
        "name": trace.name, "schema": SCHEMA, "model": trace.model, "repetitions": trace.repetitions,
        "sequences": len(trace.sequences), "tokens": trace.tokens, "ends": {end: ends[end] for end in ENDS},
        "first": _span([s.first for s in trace.sequences]), "count": _span([s.count for s in trace.sequences]),
        "highest_token": max(int(s.exit_tokens.max()) for s in trace.sequences),
        "sealed": sealed, "digest": trace.digest,
    }


def header(path: str | Path) -> dict[str, Any]:
    """The header of a .jsonl or .parquet file, without reading the rest: schema, model, repetitions, source."""
    path = Path(path)
    return _opened(path, {".jsonl": _jsonl_header, ".parquet": _parquet_header}, LIMIT_BYTES)


def _span(values: list[int]) -> dict[str, int]:
    return {"lowest": min(values), "highest": max(values)}


def _load(path: Path, limit_bytes: int) -> tuple[Trace, bool]:
    head, sequences, sealed = _opened(path, {".jsonl": _read_jsonl, ".parquet": _read_parquet}, limit_bytes)
    return Trace(path.stem, head["model"], head["repetitions"], head["source"], tuple(sequences)), sealed


def _opened(path: Path, readers: dict[str, Callable[[Path, int], T]], limit_bytes: int) -> T:
    """What the reader of the file's suffix makes of it."""
    if path.suffix not in readers:
        raise TraceError(f"{path}: suffix {path.suffix!r}: a trace is a .jsonl or a .parquet file")
    try:
        if not path.is_file():
            raise TraceError(f"{path}: no such file")
        size = path.stat().st_size
        if size > limit_bytes:
            raise TraceError(f"{path}: {size} bytes, more than the limit of {limit_bytes}")
        return readers[path.suffix](path, limit_bytes)
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


def _whole(entry: dict[str, Any], key: str, low: int, refuse: Refuse, below: int = _WHOLE) -> int:
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
    if first + count > _WHOLE:
        raise refuse("count", f"positions {first} .. {first + count - 1} do not fit 32 bits")
    if entry["end"] not in ENDS:
        near = _near(entry["end"], ENDS) if type(entry["end"]) is str else ""
        raise refuse("end", f"{_shown(entry['end'])} is neither length nor eos{near}")
    source_tokens = _whole(entry, "source_tokens", 0, refuse) if "source_tokens" in entry else 0
    return number, first, count, entry["end"], source_tokens


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


def _jsonl_header(path: Path, _limit_bytes: int) -> dict[str, Any]:
    with path.open("rb") as stream:
        return _first_line(_Lines(path, stream))


def _first_line(lines: _Lines) -> dict[str, Any]:
    entry = lines.take()
    if entry is None:
        raise lines.refuse("", "the file is empty")
    return _heading(entry, lines.refuse)


def _read_jsonl(path: Path, _limit_bytes: int) -> tuple[dict[str, Any], list[Sequence], bool]:
    """(header, sequences, whether a checksum was there and held)."""
    sequences: list[Sequence] = []
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
            elif "position" in entry and sequences:
                last = sequences[-1]
                raise lines.refuse("position", f"sequence {last.id} has its count of {last.count} positions already")
            else:
                number, first, count, end, source_tokens = _opening(entry, lines.refuse, known)
                tokens = _positions(lines, number, first, count, head["repetitions"])
                sequences.append(Sequence(number, first, count, end, source_tokens, tokens))
        if not sequences:
            raise lines.refuse("sequence", "the file ends without one")
    return head, sequences, sealed


def _positions(lines: _Lines, number: int, first: int, count: int, repetitions: int) -> Tokens:
    """The next `count` lines' exit tokens, [count, repetitions]."""
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
            if type(token) is not int or not 0 <= token < _WHOLE:
                raise lines.refuse("exit_tokens", f"{_shown(token)} is no token: a whole number from 0 to {_WHOLE - 1}")
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


def _parquet_header(path: Path, _limit_bytes: int) -> dict[str, Any]:
    with _parquet(path) as file:
        return _manifest(path, file.schema_arrow.metadata or {})[0]


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    """The open ParquetFile; whatever goes wrong in it is a TraceError."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise TraceError(f"{path}: no readable Parquet trace: {_one_line(error)}") from error


def _read_parquet(path: Path, limit_bytes: int) -> tuple[dict[str, Any], list[Sequence], bool]:
    """(header, sequences, True); everything is compared with the checksums in the file's metadata."""
    with _parquet(path) as file:
        head, openings, digest = _manifest(path, file.schema_arrow.metadata or {})
        repetitions, rows = head["repetitions"], sum(count for _, _, count, _, _ in openings)
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
    return head, _cut(path, openings, digest, repetitions, columns), True


def _column(path: Path, column: Any) -> Tokens:
    """A column's values in a row, those of the fixed-size lists one after the other."""
    chunks = [chunk.flatten() if chunk.type.num_fields else chunk for chunk in column.chunks]
    if any(chunk.null_count for chunk in [*column.chunks, *chunks]):
        raise TraceError(f"{path}: a value is missing")
    return np.concatenate([np.empty(0, np.int32), *(chunk.to_numpy() for chunk in chunks)])


def _cut(path: Path, openings: list[Opening], digest: str, repetitions: int,
         columns: list[Tokens]) -> list[Sequence]:
    """The columns cut into sequences, compared with the manifest."""
    sequence, position, flat = columns
    tokens = flat.reshape(-1, repetitions)
    numbers = np.repeat([o[0] for o in openings], [o[2] for o in openings])
    places = np.concatenate([np.arange(first, first + count) for _, first, count, _, _ in openings])
    if not np.array_equal(sequence, numbers) or not np.array_equal(position, places):
        raise TraceError(f"{path}: position: rows are not first .. first+count-1 of each sequence in turn")
    if (tokens < 0).any():
        raise TraceError(f"{path}: exit_tokens: {tokens.min()} is no token")
    starts = np.cumsum([0, *(o[2] for o in openings)])
    sequences = [Sequence(*opening, tokens[start:start + opening[2]])
                 for opening, start in zip(openings, starts, strict=False)]
    if _digest(repetitions, tuple(sequences)) != digest:
        raise TraceError(f"{path}: sha256: the rows say otherwise: the file is damaged")
    return sequences


def _manifest(path: Path, metadata: dict[bytes, bytes]
              ) -> tuple[dict[str, Any], list[Opening], str]:
    """(header, each sequence's opening, digest of the content) of a Parquet file's metadata."""
    def refuse(key: str, what: str) -> TraceError:
        return TraceError(f"{path}: {key}: {what}")

    parts = {key: metadata.get(f"speedsim.{key}".encode()) for key in ("header", "sequences", "digest", "sha256")}
    head, sequences, digest, seal = parts.values()
    if head is None or sequences is None or digest is None or seal is None:
        lacking = ", ".join(f"speedsim.{key}" for key, value in parts.items() if value is None)
        raise refuse("metadata", f"no trace: it lacks {lacking}")
    if _manifest_seal(head, sequences, digest) != seal:
        raise refuse("sha256", "the metadata says otherwise: the file is damaged")
    try:
        entries = _DECODER.decode(sequences.decode())
        known: set[int] = set()
        openings = [_opening(entry, refuse, known) for entry in entries]
        return _heading(_DECODER.decode(head.decode()), refuse), openings, digest.decode()
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise refuse("metadata", _one_line(error)) from None


def _manifest_seal(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\n".join(parts)).hexdigest().encode()


def _schema(repetitions: int, metadata: dict[bytes, bytes] | None = None) -> Any:
    import pyarrow as pa

    tokens = pa.list_(pa.field("element", pa.int32(), nullable=False), repetitions)
    kinds = zip(_COLUMNS, (pa.int32(), pa.int32(), tokens), strict=True)
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds], metadata=metadata)


# -------------------------------------------------------------------------------------------------------------- writing


def write_jsonl(trace: Trace, path: str | Path) -> None:
    """Write JSON lines, the checksum line included; the file appears whole or not at all."""
    content, lines = hashlib.sha256(), 0
    with _whole_file(Path(path)) as stream:
        for line in _jsonl(trace):
            raw = line.encode()
            content.update(raw)
            stream.write(raw)
            lines += raw.count(b"\n")
        stream.write(_line({"end": True, "lines": lines, "sha256": content.hexdigest()}).encode())


def _jsonl(trace: Trace) -> Iterator[str]:
    yield _line(_header_of(trace))
    for s in trace.sequences:
        yield _line(_opening_of(s))
        yield "".join(f'{{"position": {position}, "exit_tokens": {exits}}}\n'
                      for position, exits in enumerate(s.exit_tokens.tolist(), s.first))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False) + "\n"


def _header_of(trace: Trace) -> dict[str, Any]:
    """The header of a trace, checked: what is written can be read."""
    head = {"schema": SCHEMA, "model": trace.model, "repetitions": trace.repetitions, "source": trace.source}
    return _heading(head, lambda key, what: TraceError(f"{trace.name}: {key}: {what}"))


def _opening_of(s: Sequence) -> dict[str, Any]:
    return {"sequence": s.id, "first": s.first, "count": s.count, "end": s.end, "source_tokens": s.source_tokens}


def write_parquet(trace: Trace, path: str | Path) -> None:
    """Write Parquet (zstd, page checksums, row groups of 64k rows); the file appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = {
        "header": json.dumps(_header_of(trace), allow_nan=False).encode(),
        "sequences": json.dumps([_opening_of(s) for s in trace.sequences]).encode(),
        "digest": trace.digest.encode(),
    }
    metadata = {f"speedsim.{key}".encode(): value for key, value in parts.items()}
    metadata[b"speedsim.sha256"] = _manifest_seal(*parts.values())
    schema = _schema(trace.repetitions, metadata)
    tokens = np.concatenate([s.exit_tokens for s in trace.sequences])
    sequence = np.repeat([s.id for s in trace.sequences], [s.count for s in trace.sequences]).astype(np.int32)
    position = np.concatenate([np.arange(s.first, s.first + s.count, dtype=np.int32) for s in trace.sequences])
    exits = pa.FixedSizeListArray.from_arrays(pa.array(tokens.ravel()), type=schema.field("exit_tokens").type)
    table = pa.Table.from_arrays([pa.array(sequence), pa.array(position), exits], schema=schema)
    with _whole_file(Path(path)) as stream, \
            pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table, row_group_size=_ROW_GROUP)


@contextmanager
def _whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only once it is written to the end and on the disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise TraceError(f"{path}: cannot be written: {_one_line(error.strerror or error)}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


# ----------------------------------------------------------------------------------------------------- making, changing


def synthetic(flips: Flips, repetitions: int, count: int, sequences: int = 1, seed: int = 0,
              *, first: int = 64, vocabulary: int = 32128) -> Trace:
    """A trace whose predictions change between exits j and j+1 with probability flips[j-1], independently.

    Each sequence has a Philox stream of its own, keyed by (seed, sequence): more sequences or a larger count leave what
    was there before unchanged. Every flip goes to another token; a later flip may come back. E[r] of such a trace is
    1 + sum over j of (1 - product of (1 - f_i), i >= j).
    """
    if len(flips) != repetitions - 1 or not all(0 <= f <= 1 for f in flips):
        raise TraceError(f"flips={list(flips)}: {repetitions} repetitions need {repetitions - 1} probabilities")
    if min(count, sequences, repetitions) < 1 or min(first, seed) < 0 or not 2 <= vocabulary <= _WHOLE:
        raise TraceError(f"count={count}, sequences={sequences}, seed={seed}, first={first}, vocabulary={vocabulary}: "
                         "no trace has these")
    boundaries, made = repetitions - 1, []
    for number in range(sequences):
        raw = _raw((seed, number), count * (2 * boundaries + 1)).reshape(count, -1)
        flipped = (raw[:, :boundaries] >> np.uint64(11)) * 2.0**-53 < np.asarray(flips)
        steps = np.where(flipped, raw[:, boundaries:-1] % np.uint64(vocabulary - 1) + np.uint64(1), np.uint64(0))
        start = raw[:, -1:] % np.uint64(vocabulary)
        tokens = np.cumsum(np.hstack([start, steps]), axis=1) % np.uint64(vocabulary)
        made.append(Sequence(number, first, count, "length", 0, tokens.astype(np.int32)))
    source = {"kind": "synthetic", "flips": [float(f) for f in flips], "seed": seed, "generator": "philox"}
    return Trace("synthetic", "synthetic", repetitions, source, tuple(made))


def synthetic_from(text: str, repetitions: int) -> Trace:
    """`synthetic` from the command line's form: `flips=0.15+0.06,count=1000,sequences=4,first=64,seed=0`."""
    given: dict[str, Any] = {"count": 1000, "flips": []}
    for item in filter(None, text.split(",")):
        key, _, value = (part.strip() for part in item.partition("="))
        if key not in _SYNTHETIC:
            raise TraceError(f"synth: {_shown(key)[1:-1]}: unknown key{_near(key, _SYNTHETIC)}")
        try:
            given[key] = [float(f) for f in value.split("+")] if key == "flips" else int(value)
        except ValueError:
            kind = "list of numbers such as 0.15+0.06" if key == "flips" else "whole number"
            raise TraceError(f"synth: {key}: {_shown(value)} is no {kind}") from None
    return synthetic(repetitions=repetitions, **given)


def _raw(key: tuple[int, int], count: int) -> NDArray[np.uint64]:
    """Uniform 64-bit draws that are the same on every platform and with every version of numpy."""
    return np.random.Philox(key=np.array(key, dtype=np.uint64)).random_raw(count)


def shifted(trace: Trace, prompt: int) -> Trace:
    """The same text behind a prompt of another length: every sequence starts at position `prompt`."""
    if prompt < 0 or prompt + max(s.count for s in trace.sequences) > _WHOLE:
        raise TraceError(f"prompt={prompt}: positions do not fit 31 bits")
    return replace(trace, sequences=tuple(replace(s, first=prompt) for s in trace.sequences), digest="")


def lengths_only(trace: Trace) -> Trace:
    """The text alone, as a model with one exit would have written it: for rivals that take only its lengths."""
    texts = (replace(s, exit_tokens=s.exit_tokens[:, -1:]) for s in trace.sequences)
    return replace(trace, repetitions=1, sequences=tuple(texts), digest="")


def limited(trace: Trace, tokens: int) -> Trace:
    """Whole sequences in file order until at least `tokens` tokens are there; all of them where there are fewer."""
    if tokens < 1:
        raise TraceError(f"tokens={tokens}: at least 1")
    kept, total = [], 0
    for sequence in trace.sequences:
        if total >= tokens:
            break
        kept.append(sequence)
        total += sequence.count
    return replace(trace, sequences=tuple(kept), digest="")


# ----------------------------------------------------------------------------------------------------------- reading it


def settle(exit_tokens: Tokens) -> NDArray[np.int64]:
    """[count]: the repetition 1 .. G at which each position's prediction last changed."""
    flipped = np.diff(exit_tokens, axis=1) != 0
    behind = np.argmax(flipped[:, ::-1], axis=1) if flipped.shape[1] else np.zeros(len(exit_tokens), np.int64)
    return np.where(flipped.any(axis=1), exit_tokens.shape[1] - behind, 1)


def statistics(trace: Trace, seed: int = 0) -> dict[str, Any]:
    """What the trace says about speculation, in plain JSON values.

    flip_rates: per boundary between exits, with 95 % Wilson intervals (tokens taken as independent). mean_settle: E[r]
    with a 95 % interval by bootstrap over sequences, null with one sequence. gain_bound: G / E[r]. speed_passes and
    plain_passes: sweeps of the group by the closed forms. looping_share: sequences in which a 4-gram occurs 8 times or
    more. first_exit_agrees: positions whose first exit already says what the last says.
    """
    exits = np.concatenate([s.exit_tokens for s in trace.sequences])
    r = settle(exits)
    g, mean = trace.repetitions, float(r.mean())
    starts = np.cumsum([0, *(s.count for s in trace.sequences)])
    sums = np.add.reduceat(r, starts[:-1])
    last = r[starts[1:] - 1]
    low, high = _bootstrap(sums, np.diff(starts), seed)
    flips = (np.diff(exits, axis=1) != 0).sum(axis=0).tolist()
    return {
        "tokens": len(exits), "sequences": len(trace.sequences), "repetitions": g,
        "flip_rates": [{"exits": [j, j + 1], **_wilson(n, len(exits))} for j, n in enumerate(flips, 1)],
        "settle_histogram": {str(k): int(n) for k, n in enumerate(np.bincount(r, minlength=g + 1)) if k},
        "mean_settle": {"value": mean, "low": low, "high": high},
        "gain_bound": g / mean,
        "speed_passes": int(g * len(sums) + sums.sum() - last.sum()),
        "plain_passes": g * len(exits),
        "looping_share": sum(map(loops, trace.sequences)) / len(trace.sequences),
        "first_exit_agrees": _wilson(int((exits[:, 0] == exits[:, -1]).sum()), len(exits)),
    }


def _wilson(hits: int, trials: int, z: float = 1.959963984540054) -> dict[str, float]:
    """A share with its 95 % interval (Wilson 1927)."""
    p, n = hits / trials, trials
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"rate": p, "low": max(0.0, (centre - spread) / (1 + z * z / n)),
            "high": min(1.0, (centre + spread) / (1 + z * z / n))}


def _bootstrap(sums: NDArray[np.int64], counts: NDArray[np.int64], seed: int, resamples: int = 1000
               ) -> tuple[float | None, float | None]:
    """95 % interval of sum / count over resampled sequences; a single sequence says nothing about its spread."""
    n = len(sums)
    if n == 1:
        return None, None
    means = []
    for number in range(resamples):
        drawn = (_raw((seed, number), n) % np.uint64(n)).astype(np.int64)
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def loops(sequence: Sequence) -> bool:
    """Whether one 4-gram of the text occurs 8 times or more, as in greedy decoding that has run into a circle."""
    rank = np.unique(sequence.text, return_inverse=True)[1].astype(np.int64)
    for distance in (1, 2):  # pairs of tokens, then pairs of pairs
        if len(rank) <= distance:
            return False
        rank = np.unique(rank[:-distance] * (rank.max() + 1) + rank[distance:], return_inverse=True)[1]
    return bool(np.bincount(rank).max() >= 8)
