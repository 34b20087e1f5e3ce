"""A timeline as Chrome JSON, which Perfetto opens: what ran where, what waited for what, and every token's life.

    process GPU         SMs (a slice a kernel), L2 and HBM (a slice a kernel that moved bytes, named by how many)
    process host        host, launch, wait: time of decoding in which no pass ran, by what it waited for
    process in flight   a track a slot: the token's repetitions; an arrow leads from a guess to the pass that settled it
    counters            rows in flight, committed tokens, bytes in the L2 by owner, HBM and L2 rates of each pass

Times are rounded down to nanoseconds at both ends, so that slices which touched still touch and none overlap.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..files import write_bytes
from ..units import InputError
from .documents import main_key
from .lives import Life, by_occurrence, cause, lives, span_ps, verification

GPU, HOST, FLIGHT = 1, 2, 3
"""Processes. No track has a process's number: Perfetto would call it the main thread and move it to the top."""
SM, L2, HBM = 11, 12, 13
BOUND_TRACKS = {"host": 21, "launch": 22, "wait": 23}
BESIDE = 24
"""First track of what happens outside passes: host work, transfers, copies."""
SLOT = 31
"""First track of the slots."""


def chrome_json(document: Mapping[str, Any]) -> str:
    """The timeline of an answer as one JSON text. Raises InputError where kernels were not recorded."""
    timeline = document.get("timeline")
    if timeline is None or timeline["record"] != "kernels":
        raise InputError("a timeline needs every kernel: record it with speedsim run --record kernels --json FILE")
    about = {"schema": document["schema"], "schedule": main_key(document), "source": timeline["source"],
             **{noun: document[noun]["name"] for noun in ("gpu", "stack", "model", "trace")}}
    body = ",\n".join(_events(document, timeline))
    return f'{{"displayTimeUnit":"ns","otherData":{_dumps(about)},"traceEvents":[\n{body}\n]}}\n'


def write_chrome_json(path: str | os.PathLike[str], document: Mapping[str, Any]) -> None:
    """Write the timeline of an answer; a name that ends in .gz is compressed. Raises InputError."""
    content = chrome_json(document).encode()
    if os.fspath(path).endswith(".gz"):
        content = gzip.compress(content, compresslevel=5, mtime=0)
    write_bytes(path, content)


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _us(time_ps: int) -> str:
    """Nanoseconds, rounded down, written in microseconds."""
    whole, rest = divmod(time_ps // 1000, 1000)
    return f"{whole}.{rest:03}" if rest else str(whole)


def _slice(process: int, track: int, start_ps: int, end_ps: int, rest: str) -> str:
    """`rest` is the name and the args as JSON."""
    duration = (end_ps // 1000 - start_ps // 1000) * 1000
    return f'{{"ph":"X","pid":{process},"tid":{track},"ts":{_us(start_ps)},"dur":{_us(duration)},{rest}}}'


def _counter(process: int, name: str, time_ps: int, values: Mapping[str, float]) -> str:
    return f'{{"ph":"C","pid":{process},"ts":{_us(time_ps)},"name":{_dumps(name)},"args":{_dumps(values)}}}'


def _named(process: int, track: int | None, name: str) -> str:
    what, place = ("process_name", "") if track is None else ("thread_name", f'"tid":{track},')
    order = "" if track is None else (
        f',\n{{"ph":"M","pid":{process},"tid":{track},"name":"thread_sort_index","args":{{"sort_index":{track}}}}}')
    return f'{{"ph":"M","pid":{process},{place}"name":"{what}","args":{{"name":{_dumps(name)}}}}}{order}'


def _events(document: Mapping[str, Any], timeline: Mapping[str, Any]) -> Iterator[str]:
    title = document["inputs"]["gpu"].get("title", document["gpu"]["name"])
    yield _named(GPU, None, str(title))
    yield _named(HOST, None, "host")
    yield _named(FLIGHT, None, "in flight")
    tracks = sorted({span[0] for pattern in timeline["patterns"] for span in pattern["spans"]} | {"sm"})
    tracks.sort(key=lambda track: track != "sm")
    place = {track: number for track, number in zip(tracks, (SM, *range(HBM + 1, HBM + len(tracks))), strict=True)}
    for track, number in place.items():
        yield _named(GPU, number, "SMs" if track == "sm" else f"SMs {track[3:]}")
    yield _named(GPU, L2, "L2")
    yield _named(GPU, HBM, "HBM")
    for track, number in BOUND_TRACKS.items():
        yield _named(HOST, number, track)
    yield from _kernels(timeline, place)
    yield from _host(timeline)
    yield from _flight(timeline)
    yield from _counters(timeline)


def _kernels(timeline: Mapping[str, Any], place: Mapping[str, int]) -> Iterator[str]:
    """Kernels of every pass; what is equal in all passes of a pattern is written out once."""
    known: list[list[tuple[int, int, int, str, str | None, str | None]]] = []
    for pattern in timeline["patterns"]:
        parts = []
        for track, name, start, duration, bound, flop, requested, hbm in pattern["spans"]:
            args = {"bound": bound, "flop": flop, "bytes": requested, "bytes_hbm": hbm}
            parts.append((
                place[track], start, start + duration, f'"name":{_dumps(name)},"args":{_dumps(args)}',
                f'"name":"{_size(requested)}"' if requested and track == "sm" else None,
                f'"name":"{_size(hbm)}"' if hbm and track == "sm" else None))
        known.append(parts)
    for pattern, begin in timeline["occurrences"]:
        for track, start, end, rest, l2, hbm in known[pattern]:
            yield _slice(GPU, track, begin + start, begin + end, rest)
            if l2 is not None:
                yield _slice(GPU, L2, begin + start, begin + end, l2)
            if hbm is not None:
                yield _slice(GPU, HBM, begin + start, begin + end, hbm)


def _size(count: int) -> str:
    return f"{count / 1e6:.3g} MB" if count >= 1e6 else f"{count / 1e3:.3g} kB"


def _host(timeline: Mapping[str, Any]) -> Iterator[str]:
    for bound, start, duration in timeline["waits"]:
        yield _slice(HOST, BOUND_TRACKS[bound], start, start + duration, f'"name":"{bound}"')
    tracks: dict[str, int] = {}
    for track, name, start, duration, bound, flop, requested, hbm in timeline["between"]:
        if track not in tracks:
            tracks[track] = BESIDE + len(tracks)
            yield _named(HOST, tracks[track], f"{track} (beside passes)")
        args = {"bound": bound, "flop": flop, "bytes": requested, "bytes_hbm": hbm}
        rest = f'"name":{_dumps(name)},"args":{_dumps(args)}'
        yield _slice(HOST, tracks[track], start, start + duration, rest)


def _flight(timeline: Mapping[str, Any]) -> Iterator[str]:
    found = lives(timeline)
    for lane in range(max((life.lane for life in found.values()), default=-1) + 1):
        yield _named(FLIGHT, SLOT + lane, f"slot {lane}")
    for index, steps in enumerate(by_occurrence(found, len(timeline["occurrences"]))):
        start, end = span_ps(timeline, index)
        for life, step in steps:
            rest = _told(life, step.repetition, cause(life, found))
            yield _slice(FLIGHT, SLOT + life.lane, start, end, rest)
    for life in found.values():
        settled = verification(life, found)
        if settled is None:
            continue
        asked, answered = span_ps(timeline, life.first)[0], span_ps(timeline, settled.occurrence)
        name = "right guess" if settled.right else "wrong guess"
        head = f'"name":"{name}","cat":"guess","id":{life.token},"pid":{FLIGHT}'
        yield f'{{"ph":"s","tid":{SLOT + life.lane},"ts":{_us(asked)},{head}}}'
        yield f'{{"ph":"f","bp":"e","tid":{SLOT + found[settled.token].lane},"ts":{_us(answered[1] - 1000)},{head}}}'


def _told(life: Life, repetition: int, why: str) -> str:
    args: dict[str, Any] = {"sequence": life.sequence, "position": life.position, "repetition": repetition,
                            "token": life.token, "fate": f"discarded: {why}" if why else "committed"}
    name = f"{'x ' if why else ''}{life.position} r{repetition}"
    return f'"name":{_dumps(name)},"args":{_dumps(args)}'


def _counters(timeline: Mapping[str, Any]) -> Iterator[str]:
    resident, contents = timeline["occurrence_resident"], timeline["resident"]
    owners = sorted({owner for content in contents for owner in content})
    moved = [(sum(span[6] for span in p["spans"]), sum(span[7] for span in p["spans"])) for p in timeline["patterns"]]
    for index, ((pattern, start), rows) in enumerate(zip(timeline["occurrences"], timeline["rows"], strict=True)):
        duration = timeline["patterns"][pattern]["duration_ps"]
        yield _counter(FLIGHT, "rows in flight", start, {"rows": len(rows)})
        for name, size in zip(("L2 GB/s", "HBM GB/s"), moved[pattern], strict=True):
            yield _counter(GPU, name, start, {"rate": round(size / duration * 1000, 3)})
        if owners:
            held = contents[resident[index]]
            yield _counter(GPU, "in L2, MB", start + duration, {o: round(held.get(o, 0) / 1e6, 3) for o in owners})
    for number, (_, _, _, time_ps) in enumerate(timeline["commits"]):
        yield _counter(FLIGHT, "committed tokens", time_ps, {"tokens": number + 1})
