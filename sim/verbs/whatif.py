"""The verb `whatif`: a base with changed numbers, and which mechanism the difference is owed to."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..scenario_options import add_options, scenario
from ..units import InputError

if TYPE_CHECKING:
    from ..whatifs.attribution import WhatIf

HELP = "a base with changed numbers (--set), and which mechanism the difference is owed to"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("base", nargs="?", metavar="BASE", help="the GPU to start from (default: --gpu)")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON, in whole picoseconds")


def call(given: argparse.Namespace) -> int:
    """Print the two columns of shares."""
    from dataclasses import asdict, replace

    from ..files import to_json
    from ..validated import quoted
    from ..whatifs.attribution import whatif

    asked = scenario(given, "summary")
    if not asked.sets:
        raise InputError("whatif: say what to change: --set hbm.bandwidth=6TB/s")
    base = replace(asked, gpu=asked.gpu if given.base is None else given.base, sets=())
    found = whatif(base, asked.sets)
    if given.json:
        told: dict[str, Any] = {name: None if one is None else asdict(one) for name, one in (
            ("base", found.base), ("what_if_frozen", found.frozen), ("what_if", found.tuned))}
        print(to_json({"schema": "speedsim-whatif/1", "sets": [list(pair) for pair in found.changes], **told,
                       "validated": quoted(dict(found.changes))}))
        return 0
    print(_text(found, base.gpu))
    print(f"note: {quoted(dict(found.changes))}")
    return 0


def _text(found: WhatIf, gpu: str) -> str:
    """The table for the screen."""
    table = found.table()
    changes = ", ".join(f"{key}={value}" for key, value in found.changes)
    lines = [f"{gpu}, what if {changes}: predicted, us a token", "",
             f"{'':<12}{'averaged over all orders':^32}{'one at a time':^20}",
             f"{'':<12}{'base':>10}{'what if':>10}{'difference':>12}{'base':>10}{'what if':>10}"]
    for _, row in table.iterrows():
        alone = "".join(f"{row[name]:>10.2f}" if row[name] == row[name] else " " * 10
                        for name in ("base_alone", "what_if_alone"))
        lines.append(f"{row['mechanism']:<12}{row['base']:>10.2f}{row['what_if']:>10.2f}{row['difference']:>12.2f}"
                     f"{alone}".rstrip())
    sums = table[["base", "what_if", "difference"]].sum()
    lines.append(f"{'together':<12}{sums['base']:>10.2f}{sums['what_if']:>10.2f}{sums['difference']:>12.2f}")
    if found.frozen is not None:
        held = found.frozen.total_ps / 1e6 / max(1, found.frozen.tokens)
        lines.append(f"with the library's cuts as on the base: {held:.2f} us; chosen anew: {sums['what_if']:.2f} us")
    return "\n".join(lines)
