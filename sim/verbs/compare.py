"""The verb `compare`: ways of decoding side by side on GPUs, batches and contexts."""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING

from ..scenario_options import add_options, scenario
from ..units import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..comparison import Entry, Place

HELP = "ways of decoding side by side, ranked, on GPUs, batches and contexts"


OWN = ("--gpu", "--batch", "--schedule", "--max-in-flight", "--prompt")
"""What is a list here."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser, OWN)
    add = parser.add_argument
    add("--schedules", required=True, metavar="A,B[:K=V],...|all", help="ways of decoding")
    add("--gpu", default="h200_sxm", metavar="NAME,...", help="what is soldered (default h200_sxm)")
    add("--batch", default="1", metavar="B,...", help="sequences at a time (default 1)")
    add("--context", metavar="N,...", help="position of the first token, such as 1k,8k,64k (default: the text's)")
    add("--json", metavar="FILE", help="write the comparison as JSON; - is standard output")


def call(given: argparse.Namespace) -> int:
    """Compare, and show the table or write the JSON."""
    from ..comparison import Place, compare, document, split
    from ..files import check_target, to_json, write_text

    if given.json not in (None, "-"):
        check_target(given.json)
    gpus = [name.strip() for name in given.gpu.split(",") if name.strip()]
    schedules = split(given.schedules)
    for option, text, items in (("gpu", given.gpu, gpus), ("schedules", given.schedules, schedules)):
        if not items:
            raise InputError(f"--{option} {text!r}: names no {option.removesuffix('s')}")
    batches = [_whole("batch", text) for text in given.batch.split(",")]
    contexts = [None] if given.context is None else [_whole("context", text) for text in given.context.split(",")]
    places = [Place(*point) for point in itertools.product(gpus, batches, contexts)]
    given.gpu, given.batch, given.prompt, given.schedule, given.max_in_flight = *places[0], "autoregressive", None
    base = scenario(given, "summary")
    entries = compare(base, schedules, places)
    if given.json == "-":
        print(to_json(document(entries, base)))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(document(entries, base)) + "\n")
    print("\n".join(table(entries)))
    return 0


def _whole(name: str, text: str) -> int:
    """`8k` is 8192."""
    digits = text.strip().lower()
    thousands = digits.endswith("k")
    digits = digits.removesuffix("k")
    if not (digits.isascii() and digits.isdecimal()):
        raise InputError(f"--{name} {text}: {name}: a whole number such as 16 or 8k is expected")
    return int(digits) * (1024 if thousands else 1)


def table(entries: Sequence[Entry]) -> list[str]:
    """The ranking of each place; then, once each, what is not ranked and what must be known."""
    from ..comparison import notes, turns

    head = ("", "speed-up", "90 %", "us/token", "length", "bound", "asked", "HBM", "kernels", "rows", "most", "memory",
            "waits for")
    lines: list[str] = []
    for place, group in itertools.groupby(entries, key=lambda entry: entry.place):
        found = list(group)
        rows = [head, *(_row(entry) for entry in found if entry.why_not is None)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines += [_title(place), *("  ".join((row[0].ljust(widths[0]), *(
            cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))).rstrip() for row in rows)]
        lines += [f"not ranked: {entry.schedule}: {entry.why_not}" for entry in found if entry.why_not is not None]
        lines.append("")
    lines += turns(entries)
    lines += [f"note: {note}" for note in notes(entries)]
    return lines if lines[-1] else lines[:-1]


def _title(place: Place) -> str:
    where = "" if place.context is None else f", context {place.context:,}"
    return f"{place.gpu}, batch {place.batch}{where}"


def _row(entry: Entry) -> tuple[str, ...]:
    figures = entry.figures or {}
    interval = figures["interval"]

    def shown(name: str, digits: int = 2) -> str:
        value = figures[name]
        return "-" if value is None else f"{value:.{digits}f}"

    held = figures["memory"]
    return (entry.schedule, f"{shown('speedup')} x",
            "" if interval is None else f"{interval['low']:.2f} to {interval['high']:.2f}",
            shown("time_per_token_us", 1), shown("acceptance_length"), shown("bound"), shown("requested_bytes_ratio"),
            shown("hbm_bytes_ratio"), shown("kernels_ratio"), shown("rows_per_pass", 1), str(figures["most_rows"]),
            f"{held['needed_bytes'] / held['capacity_bytes']:.0%}", figures["bound_by"])
