"""A timeline beside its answer: inside the JSON while it is small, else a Parquet file named by its content.

The Parquet file has one row per occurrence (pattern, start_ps, rows as lists) and everything else as JSON in its
metadata; `embedded` gives back exactly what was put away.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from .files import whole_file
from .units import InputError

MOST_BYTES = 20_000_000
_KEY = b"speedsim.timeline"
_SLOT = ("token", "sequence", "position", "repetition", "read", "parent")


def put_beside(document: dict[str, Any], target: Path, most: int = MOST_BYTES) -> dict[str, Any]:
    """The document with its timeline in a file beside `target` where it is larger than `most` bytes of JSON."""
    timeline = document.get("timeline")
    if timeline is None:
        return document
    text = json.dumps(timeline, allow_nan=False, separators=(",", ":"))
    if len(text) <= most:
        return document
    digest = hashlib.sha256(text.encode()).hexdigest()
    name = f"{target.stem}.timeline-{digest[:12]}.parquet"
    _write(timeline, target.with_name(name))
    return document | {"timeline": {"file": name, "sha256": digest}}


def embedded(document: dict[str, Any], path: Path) -> dict[str, Any] | None:
    """The timeline of a document read from `path`, wherever it lies; None where only a summary was recorded.

    Raises InputError for a file that is missing or is not the one the document names.
    """
    timeline: dict[str, Any] | None = document.get("timeline")
    if timeline is None or "file" not in timeline:
        return timeline
    beside = path.with_name(Path(str(timeline["file"])).name)
    found = _read(beside)
    text = json.dumps(found, allow_nan=False, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != timeline.get("sha256"):
        raise InputError(f"{beside}: not the timeline that {path.name} names")
    return found


def _write(timeline: dict[str, Any], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rest = {key: value for key, value in timeline.items() if key not in ("occurrences", "rows")}
    rows = [[dict(zip(_SLOT, slot, strict=True)) for slot in slots] for slots in timeline["rows"]]
    kind = pa.list_(pa.struct([(name, pa.bool_() if name == "read" else pa.int64()) for name in _SLOT]))
    table = pa.table({
        "pattern": pa.array([pattern for pattern, _ in timeline["occurrences"]], pa.int64()),
        "start_ps": pa.array([start for _, start in timeline["occurrences"]], pa.int64()),
        "rows": pa.array(rows, kind),
    }).replace_schema_metadata({_KEY: json.dumps({"order": list(timeline), "rest": rest}, allow_nan=False)})
    with whole_file(path) as stream:
        pq.write_table(table, stream, compression="zstd", write_page_checksum=True)


def _read(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, page_checksum_verification=True)
        told = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else "not a timeline, or damaged"
        raise InputError(f"{path}: {reason}") from None
    parts = dict(told["rest"])
    parts["occurrences"] = [list(pair) for pair in zip(table["pattern"].to_pylist(), table["start_ps"].to_pylist(),
                                                       strict=True)]
    parts["rows"] = [[[slot[name] for name in _SLOT] for slot in slots] for slots in table["rows"].to_pylist()]
    return {key: parts[key] for key in told["order"]}
