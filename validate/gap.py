"""The verb `gap`: why a measured speed-up is what it is, from measurements alone.

With L tokens committed a speculative step, plain step p, speculative step s, of which verification takes v:

    speed-up  =  L  x  p / v  x  v / s            an exact identity
    v / s     =  product over draft, sampling, other kernels, host of (what came before it) / (with it)

L is what the text gives, p / v what several rows cost the target, v / s what surrounds the verification. A and B are
profiles (Kineto, Nsight Systems), benches of engines, or predictions; a bench has no parts, so that its v / s is
unknown and p / s stays whole. Work that overlaps counts as verification first: what a draft hides behind it is free.
Padding is no kernel of its own, so a profile has it inside v.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speedsim.files import check_target, to_json, write_text
from speedsim.parsing import Parser
from speedsim.reading.provenance import did_you_mean
from speedsim.units import InputError

from .imports import engine, kineto, nsys
from .imports.profile import HOST, OTHER, RULES, Profile, Rule, shares, steps_of
from .refusal import RefusedError

SCHEMA = "speedsim-gap/1"
ORDER = ("verify", "draft", "sampling", OTHER, HOST)
"""In which the step is built up."""
WORDS = {"verify": "verification", "draft": "drafting", "sampling": "sampling", OTHER: "other kernels",
         HOST: "host (the device idle)"}
SHOWN = 3
"""Kernels behind each part."""


class Side(NamedTuple):
    """One way of decoding as it was measured, per step."""

    source: str
    step_us: float
    length: float
    """Tokens committed a step, of one sequence."""
    parts_us: dict[str, float] | None
    kernels: dict[str, list[tuple[str, int, float]]]
    """Of each part, the longest kernels: (name, how many, microseconds) of all steps."""

    @property
    def token_us(self) -> float:
        """Time between two tokens."""
        return self.step_us / self.length


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add = parser.add_argument
    add("--baseline", required=True, type=Path, metavar="A", help="plain decoding: profile, bench or prediction")
    add("--speculative", required=True, type=Path, metavar="B", help="the same text with speculation")
    add("--acceptance", type=Path, metavar="LOG", help="B's acceptance, as its engine logs it (JSON)")
    add("--acceptance-length", type=float, metavar="L", help="tokens committed a verification, bonus included")
    add("--step", metavar="NAME", help="the mark that is one step of decoding (default: step, ProfilerStep#, ...)")
    add("--part", action="append", default=[], metavar="PART=REGEX",
        help="marks or kernels that are verify, draft or sampling; before the usual names")
    add("--prediction", type=Path, metavar="RESULT", help="a prediction to stand beside, from run --json")
    add("--json", metavar="FILE", help="write the whole answer as JSON; - is standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError."""
    parser = Parser(prog="speedsim gap", description="Why a measured speed-up is what it is.", allow_abbrev=False)
    options(parser)
    return call(parser.parse_args(sys.argv[1:] if arguments is None else arguments))


def call(given: argparse.Namespace) -> int:
    """Answer, on the screen or as JSON."""
    if given.json not in (None, "-"):
        check_target(given.json)
    rules = [_rule(text) for text in given.part] + list(RULES)
    length = _acceptance(given)
    plain = side(given.baseline, given.step, rules, 1.0)
    speculative = side(given.speculative, given.step, rules, length)
    found = explain(plain, speculative)
    if given.prediction is not None:
        found["prediction"] = predicted(given.prediction)
    if given.json == "-":
        print(to_json(found))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(found) + "\n")
    print(text(found))
    return 0


def _rule(given: str) -> Rule:
    part, equals, pattern = given.partition("=")
    if not equals or part not in ("verify", "draft", "sampling"):
        hint = did_you_mean(part, ("verify", "draft", "sampling"))
        raise InputError(f"--part {given}{hint}: write verify=REGEX, draft=REGEX or sampling=REGEX")
    try:
        return Rule(part, re.compile(pattern))
    except re.error as error:
        raise InputError(f"--part {given}: no regular expression: {error}") from None


def _acceptance(given: argparse.Namespace) -> float | None:
    """Tokens committed a step, where the command line says."""
    if given.acceptance is not None and given.acceptance_length is not None:
        raise InputError("--acceptance and --acceptance-length: give one of them")
    if given.acceptance_length is not None:
        if not 1 <= given.acceptance_length < float("inf"):
            raise InputError(f"--acceptance-length {given.acceptance_length}: 1 or more: the bonus token is included")
        return float(given.acceptance_length)
    return None if given.acceptance is None else engine.acceptance_length(given.acceptance)


def side(path: Path, step: str | None, rules: Sequence[Rule], length: float | None) -> Side:
    """One way of decoding from its file, whatever kind of file it is."""
    profile = _profile(path)
    if profile is None:
        return _of_bench(engine.read(path), length)
    if length is None:
        raise InputError(f"{path.name}: a profile does not know how many tokens a step committed: "
                         "--acceptance LOG or --acceptance-length L")
    found = shares(profile, steps_of(profile, step), rules)
    parts = {part: found.parts_ps.get(part, 0) / found.steps / 1e6 for part in ORDER}
    kernels = {
        part: [(name, count, time / 1e6) for name, (count, time)
               in sorted(own.items(), key=lambda pair: -pair[1][1])[:SHOWN]]
        for part, own in found.kernels.items()
    }
    return Side(profile.source, found.total_ps / found.steps / 1e6, length, parts, kernels)


def _profile(path: Path) -> Profile | None:
    """The file as a profile; None where it is something else."""
    if not path.is_file():
        raise RefusedError(f"{path}: no such file")
    with path.open("rb") as stream:
        head = stream.read(16)
    if head.startswith(b"SQLite format 3"):
        return nsys.read(path)
    if head.startswith(b"\x1f\x8b"):
        return kineto.read(path)
    with path.open("rb") as stream:
        return kineto.read(path) if b'"traceEvents"' in stream.read(1 << 16) else None


def _of_bench(told: engine.Told, length: float | None) -> Side:
    """A bench knows the time per token; its steps follow from the acceptance length."""
    known = told.length if length is None else length
    if known is None:
        raise InputError(f"{told.source}: does not say its acceptance length: --acceptance LOG or "
                         "--acceptance-length L")
    step = told.token_us * known
    parts = None if told.parts is None else {part: told.parts.get(part, 0.0) * step for part in ORDER}
    return Side(told.source, step, known, parts, {})


def explain(plain: Side, speculative: Side) -> dict[str, Any]:
    """The identity's factors; their product is the speed-up."""
    found: dict[str, Any] = {
        "schema": SCHEMA, "baseline": plain._asdict(), "speculative": speculative._asdict(),
        "speedup": plain.token_us / speculative.token_us, "acceptance_length": speculative.length,
        "plain_step_us": plain.step_us, "speculative_step_us": speculative.step_us,
        "verification_us": None, "factors": {"acceptance_length": speculative.length / plain.length},
    }
    parts = speculative.parts_us
    if parts is None or not parts["verify"]:
        found["factors"]["plain_step / speculative_step"] = plain.step_us / speculative.step_us
        return found
    found["verification_us"] = parts["verify"]
    found["factors"]["plain_step / verification"] = plain.step_us / parts["verify"]
    so_far = parts["verify"]
    for part in ORDER[1:]:
        found["factors"][part] = so_far / (so_far + parts[part])
        so_far += parts[part]
    return found


def predicted(path: Path) -> dict[str, Any]:
    """The same factors of a prediction and its plain rival."""
    schedule = engine.read(path)
    rival = engine.read(path, engine.plain_of(path))
    found = explain(_of_bench(rival, None), _of_bench(schedule, None))
    told = ("speedup", "plain_step_us", "verification_us", "speculative_step_us", "factors")
    return {key: found[key] for key in told}


def text(found: dict[str, Any]) -> str:
    """The answer for the screen."""
    beside = found.get("prediction")
    lines = [f"{found['baseline']['source']} -> {found['speculative']['source']}: measured", "",
             f"{'speed-up':<38}{found['speedup']:>9.4f}" + (f"{beside['speedup']:>12.4f} predicted" if beside else "")]
    for name, factor in found["factors"].items():
        other = beside["factors"].get(name) if beside else None
        words = WORDS.get(name, name.replace("_", " "))
        lines.append(f"  x {words:<34}{factor:>9.4f}" + (f"{other:>12.4f}" if other is not None else ""))
    lines += ["", f"plain step {found['plain_step_us']:.1f} us, speculative step {found['speculative_step_us']:.1f} us"
              + (f", verification {found['verification_us']:.1f} us" if found["verification_us"] else
                 "; what the step is made of a bench does not say: profile it")]
    for part, kernels in found["speculative"]["kernels"].items():
        behind = ", ".join(f"{name} ({count} x, {us:.1f} us)" for name, count, us in kernels)
        lines.append(f"  {WORDS.get(part, part)}: {behind}")
    return "\n".join(lines)
