"""PyTorch's profiler (Kineto): Chrome JSON, plain or gzip, times in microseconds as floats.

Device work are events of category kernel, gpu_memcpy, gpu_memset; on a processor without a GPU the operations that lie
in no other operation stand for it. A kernel is tied to the call that launched it by `correlation`, the call to the
marks around it by its thread and time.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..refusal import RefusedError
from .profile import Event, Inside, Mark, Profile, Work

MOST_BYTES = 2**31
"""Of the file, unpacked."""
PS_PER_US = 1_000_000
DEVICE = {"kernel": False, "gpu_memcpy": True, "gpu_memset": True}
"""Categories of device work, and whether they are copies."""
CALLS = ("cuda_runtime", "cuda_driver")


def read(path: Path) -> Profile:
    """The profile in a file; refused, in one line, where it is none."""
    document = _load(path)
    events = document.get("traceEvents") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise RefusedError(f"{path}: no traceEvents: not a profile of PyTorch's")
    complete = [e for e in events if isinstance(e, dict) and e.get("ph") == "X"]
    if not complete:
        raise RefusedError(f"{path}: no complete events (ph X) in it")
    first = min(_number(path, e, "ts") for e in complete)
    marks, calls, operations, device = [], {}, [], []
    launches = 0
    for e in complete:
        category = e.get("cat")
        start = round((_number(path, e, "ts") - first) * PS_PER_US)
        end = start + max(0, round(_number(path, e, "dur") * PS_PER_US))
        one = Event((e.get("pid"), e.get("tid")), start, end, str(e.get("name", "")))
        arguments = e.get("args") if isinstance(e.get("args"), dict) else {}
        if category == "user_annotation":
            marks.append(one)
        elif category in DEVICE:
            device.append((one, arguments.get("correlation"), _stream(arguments), DEVICE[category]))
        elif category in CALLS:
            calls[arguments.get("correlation")] = one
            launches += "aunch" in one.name
        elif category == "cpu_op":
            operations.append(one)
    inside = Inside(marks)
    work = [Work(d.name, d.start, d.end - d.start, stream, inside.of(calls[number]) if number in calls else (), copy)
            for d, number, stream, copy in device]
    if not work:
        work = [Work(o.name, o.start, o.end - o.start, 0, inside.of(o)) for o in _outermost(operations)]
        launches = len(work)
    return Profile(path.name, tuple(sorted(work, key=lambda w: w.start_ps)),
                   tuple(sorted((Mark(m.name, m.start, m.end) for m in marks), key=lambda m: (m.start_ps, -m.end_ps))),
                   launches)


def _load(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            content = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise RefusedError(f"{path}: {error}") from None
    if len(content) > MOST_BYTES:
        raise RefusedError(f"{path}: more than {MOST_BYTES >> 30} GiB of JSON")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(f"{path}: no JSON: {error}") from None


def _number(path: Path, event: dict[str, Any], key: str) -> float:
    value = event.get(key, 0.0 if key == "dur" else None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RefusedError(f"{path}: event {event.get('name')!r:.60}: {key}={value!r:.40} is no time")
    return float(value)


def _stream(arguments: dict[str, Any]) -> int:
    stream = arguments.get("stream", 0)
    return stream if isinstance(stream, int) else 0


def _outermost(operations: Sequence[Event]) -> list[Event]:
    """Operations that lie in no other of their thread."""
    found: list[Event] = []
    reached: dict[Any, int] = {}
    for one in sorted(operations, key=lambda o: (o.start, -o.end)):
        if one.start >= reached.get(one.thread, -1):
            found.append(one)
            reached[one.thread] = one.end
    return found
