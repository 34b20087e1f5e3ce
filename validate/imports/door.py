"""`validate import kineto|nsys FILE`: a profile as the timeline that every reader of ours takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from speedsim.files import check_target, to_json, write_text
from speedsim.parsing import Parser

from ..refusal import RefusedError
from . import kineto, nsys
from .profile import Profile, Shares, shares, steps_of, timeline

SCHEMA = "speedsim-timeline/1"
READERS = {"kineto": kineto.read, "nsys": nsys.read}


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError."""
    parser = Parser(prog="speedsim validate import", description=__doc__, allow_abbrev=False)
    parser.add_argument("kind", choices=tuple(READERS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--step", metavar="NAME", help="the mark that is one step (default: the whole profile is one)")
    parser.add_argument("--json", metavar="FILE", help="write the timeline; - is standard output")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if given.json not in (None, "-"):
        check_target(given.json)
    profile = READERS[given.kind](given.file)
    steps = steps_of(profile, given.step) if given.step is not None else ()
    document = to_json({"schema": SCHEMA, "timeline": timeline(profile, steps).document()})
    if given.json == "-":
        print(document)
        return 0
    if given.json is not None:
        write_text(given.json, document + "\n")
    print(text(profile, shares(profile, steps) if steps else None))
    return 0


def text(profile: Profile, found: Shares | None) -> str:
    """What is in it, for the screen."""
    if not profile.work:
        raise RefusedError(f"{profile.source}: no device work in it")
    span = max(w.end_ps for w in profile.work) - profile.work[0].start_ps
    lines = [f"{profile.source}: {len(profile.work):,} kernels and copies in {span / 1e9:.3f} ms, "
             f"{profile.launches:,} launches, {len(profile.marks):,} marks"]
    if found is not None:
        lines.append(f"{found.steps} steps of {found.total_ps / found.steps / 1e6:.1f} us")
        lines += [f"  {part:<10}{time / found.steps / 1e6:>10.1f} us  {time / found.total_ps:6.1%}"
                  for part, time in found.parts_ps.items()]
    return "\n".join(lines)
