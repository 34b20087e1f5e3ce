"""`validate curves`: the fluid tier's hit curve and DRAM efficiency, made by the cycle tier instead of a measurement.

A what-if that changes the organisation (slices, sides, replacement, DRAM timings) changes these curves; `<gpu>@cycle`
is the card with the curves that its organisation gives. The hit curve is that of a footprint read again and again by
all SMs; h falls from 1 to 0. The best rate of reading, over the physical rate, is that of the largest footprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speedsim.catalog import load_gpu, load_stack
from speedsim.config import Loaded
from speedsim.files import to_json, write_text
from speedsim.hardware import Gpu
from speedsim.one_cache import Bench
from speedsim.parsing import Parser
from speedsim.units import InputError

AT = (0.3, 0.45, 0.55, 0.65, 0.7, 0.75, 0.8, 0.86, 0.94, 1.02, 1.12, 1.24, 1.36, 1.5)
"""Footprints over capacity."""
FLAT = 0.01
"""Hits closer to all or none than this are all or none: what the first and last blocks of a sweep find."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="validate curves", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--gpu", default="h200_sxm", metavar="NAME", help="the card (default h200_sxm)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change a number, such as l2.slices=48")
    add("--at", metavar="X,X,...", help="footprints over the L2's capacity (default: 14 from 0.3 to 1.5)")
    add("--write", metavar="FOLDER", help="write the child <gpu>@cycle.yaml there")
    add("--json", metavar="FILE|-", help="write the curves as JSON; - is standard output")
    given = parser.parse_args(arguments)
    changes = tuple((text.partition("=")[0], text.partition("=")[2]) for text in given.set)
    card = load_gpu(given.gpu, changes)
    document = curves(card, _points(given.at))
    if given.write is not None:
        path = Path(given.write) / f"{card.value.name}@cycle.yaml"
        write_text(path, child(card, document))
        print(f"wrote {path}")
    if given.json == "-":
        print(to_json(document))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(document) + "\n")
    print(text(document))
    return 0


def curves(card: Loaded[Gpu], at: Sequence[float] = AT) -> dict[str, Any]:
    """Rates and hits at footprints of so many capacities."""
    gpu = card.value
    bench = Bench(gpu, load_stack("torch_graph").value)
    points = [bench.bandwidth(int(x * gpu.l2.capacity_bytes)) for x in at]
    floor = points[-1]
    return {
        "schema": "speedsim-curves/1", "gpu": {"name": gpu.name, "hash": card.digest},
        "points": [{"footprint": p.footprint_bytes / gpu.l2.capacity_bytes, "bytes_per_s": p.bytes_per_s, "hit": p.hit}
                   for p in points],
        "hit_curve": _falling([(p.footprint_bytes / gpu.l2.capacity_bytes, p.hit) for p in points]),
        "read_fraction": min(1.0, floor.bytes_per_s * (1 - floor.hit) / gpu.hbm.bandwidth_bytes_per_s),
    }


def child(card: Loaded[Gpu], document: dict[str, Any]) -> str:
    """The file of the card with these curves."""
    curve = ", ".join(f"[{x:.3g}, {h:.3g}]" for x, h in document["hit_curve"])
    return (f"# Written by `python -m validate curves --gpu {card.value.name} --write FOLDER`.\n"
            f"extends: {card.value.name}\n"
            f"sources:\n  lines: \"cycle tier on this organisation ({card.digest[:16]})\"\n"
            f"l2:\n  hit_curve: {{value: [{curve}], kind: derived, source: lines}}\n"
            f"hbm:\n  read_fraction: {{value: {document['read_fraction']:.4f}, kind: derived, source: lines}}\n")


def text(document: dict[str, Any]) -> str:
    """The curves for the screen."""
    lines = [f"{document['gpu']['name']}: read fraction {document['read_fraction']:.3f}", "",
             "footprint     TB/s   hits"]
    lines += [f"{p['footprint']:9.2f}  {p['bytes_per_s'] / 1e12:7.2f}  {p['hit']:5.3f}" for p in document["points"]]
    return "\n".join(lines)


def _falling(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A curve from 1 to 0 that never rises."""
    found, least = [(0.0, 1.0)], 1.0
    for x, hit in points:
        least = min(least, 1.0 if hit > 1 - FLAT else 0.0 if hit < FLAT else hit)
        found.append((round(x, 4), round(least, 4)))
    if found[-1][1]:
        found.append((round(found[-1][0] + 0.15, 4), 0.0))
    return found


def _points(given: str | None) -> tuple[float, ...]:
    if given is None:
        return AT
    try:
        at = tuple(sorted(float(word) for word in given.split(",")))
    except ValueError:
        raise InputError(f"--at {given}: write numbers such as 0.3,0.7,1.5") from None
    if not 0 < at[0] <= at[-1] <= 16:
        raise InputError(f"--at {given}: footprints above 0 and at most 16 capacities")
    return at
