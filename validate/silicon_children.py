"""Fitted children: the numbers that were read off a published table, kept apart from what is known without it.

    hw_configs/fitted/<gpu>@silicon-<framework>-<version>.yaml     numbers of the chip
    hw_configs/fitted/<stack>@silicon-<gpu>.yaml                   numbers of the software on that chip

A child says only what was fitted, from which table (by its hash), on which rows and how well it is determined. Linear
layers and attention are fitted apart and share the files; each number belongs to one of them, its `source`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from speedsim.catalog import load_gpu, load_stack
from speedsim.config import Loaded
from speedsim.files import write_text
from speedsim.hardware import Gpu
from speedsim.reading import document
from speedsim.registry import find, names, normal
from speedsim.stack import Stack
from speedsim.units import NotCoveredError

from .silicon_tables import Table

CLONE = Path(__file__).resolve().parent.parent
CAMPAIGN = "campaign"
"""The fit on one's own measurements; the others are called by their operation."""
MOST = 24
"""Fitted numbers that a GPU and its stack may have together."""


class Pair(NamedTuple):
    """The descriptions that a table is predicted with."""

    gpu: Loaded[Gpu]
    stack: Loaded[Stack]

    @property
    def children(self) -> dict[str, Any]:
        """Those that are fitted, by what they describe: name, hash, and what they say of their fits."""
        return {what: {"name": one.value.name, "hash": one.digest, "fit": one.fit}
                for what, one in (("gpu", self.gpu), ("stack", self.stack)) if one.fit is not None}


class Number(NamedTuple):
    """A fitted number as the file has it."""

    text: str | int | float
    error: str
    """Its standard error; empty where none was estimated."""


def child_names(table: Table, stack: str) -> tuple[str, str]:
    """The children of the GPU and of the stack."""
    return f"{table.gpu}@silicon-{table.framework}-{table.version}", f"{stack}@silicon-{table.gpu}"


def parents(table: Table, stack: str) -> Pair:
    """The descriptions without what is fitted."""
    return Pair(load_gpu(table.gpu), load_stack(stack))


def unfitted(table: Table, op: str) -> Pair:
    """What a fit of this kind of kernel starts from: attention takes the chip as linear layers leave it."""
    bare = parents(table, table.stack)
    return bare if op == "linear" else Pair(fitted(table, table.stack).gpu, bare.stack)


def fitted(table: Table, stack: str) -> Pair:
    """The descriptions with what is fitted on this table; parents where nothing is."""
    known = {normal(name) for name in names("fitted")}
    gpu, software = child_names(table, stack)
    return Pair(load_gpu(gpu if normal(gpu) in known else table.gpu),
                load_stack(software if normal(software) in known else stack))


def zero_shot(table: Table, stack: str, source: str) -> Pair:
    """The GPU as it is, with the software numbers fitted on another one. Raises NotCoveredError."""
    other = find("gpus", source).stem
    name = f"{stack}@silicon-{other}"
    if normal(name) not in {normal(known) for known in names("fitted")}:
        raise NotCoveredError(f"--zero-shot {source}: no numbers of {stack} are fitted on it (hw_configs/fitted)")
    return Pair(load_gpu(table.gpu), load_stack(name))


def numbers(pair: Pair) -> dict[str, str]:
    """The fitted numbers that count on this GPU, parents' among them, each with its source.

    Of a number by generation only the GPU's own counts, or the default where it has none.
    """
    generation = pair.gpu.value.generation
    found = {}
    for what, loaded in (("gpu", pair.gpu), ("stack", pair.stack)):
        for key, claim in loaded.provenance.items():
            block, _, last = key.rpartition(".")
            other = f"{block}.{generation}" in loaded.provenance and last != generation
            if claim.kind == "fitted" and not (other or _of_another(last, loaded, block, generation)):
                found[f"{what}.{key}"] = claim.source or ""
    return found


def _of_another(last: str, loaded: Loaded[Any], block: str, generation: str) -> bool:
    """Whether a key is one of a dictionary by generation, and neither this generation's nor the default."""
    return f"{block}.default" in loaded.provenance and last not in (generation, "default")


def folder(given: str | None) -> Path:
    """Where children are written: the clone's own folder, else the working directory's."""
    if given is not None:
        return Path(given)
    return (CLONE if (CLONE / "pyproject.toml").is_file() else Path()) / "hw_configs" / "fitted"


def write(path: Path, parent: str, op: str, fit: dict[str, Any], fresh: dict[str, Number]) -> None:
    """Put the numbers of one fit (dotted key: number) into a child, whose others stay; without numbers it goes."""
    old = document.read(path).plain() if path.is_file() else {}
    kept = {key: value for key, value in _leaves(old) if value["source"] != op}
    fits = {name: told for name, told in old.get("fit", {}).items() if name != op}
    entries = kept | {key: {"value": n.text, "kind": "fitted", "source": op}
                      | ({"note": f"standard error {n.error}"} if n.error else {}) for key, n in fresh.items()}
    if fresh:
        fits[op] = fit
    if not entries:
        path.unlink(missing_ok=True)
        return
    sources = {name: f"{told['table']}, {told['rows']} rows: python -m validate "
               + ("calibrate" if name == CAMPAIGN else f"fit silicon --op {name}") for name, told in fits.items()}
    command, of = ("calibrate", "campaign") if op == CAMPAIGN else ("fit silicon", "published table")
    lines = [f"# Written by `python -m validate {command}`: what is read off a {of}, nothing else.",
             f"extends: {parent}", "fit:"]
    for name, told in sorted(fits.items()):
        lines += [f"  {name}:", *(f"    {key}: {_quoted(value)}" for key, value in told.items())]
    lines += ["sources:", *(f"  {name}: {_quoted(text)}" for name, text in sorted(sources.items()))]
    lines += _block(entries, 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "\n".join(lines) + "\n")


def _leaves(tree: dict[str, Any], above: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The numbers in a child, by their dotted key."""
    found: list[tuple[str, dict[str, Any]]] = []
    for key, entry in tree.items():
        if above or key not in ("extends", "fit", "sources"):
            inner = f"{above}{key}"
            found += [(inner, entry)] if "value" in entry else _leaves(entry, f"{inner}.")
    return found


def _block(entries: dict[str, dict[str, Any]], depth: int) -> list[str]:
    """The numbers as nested blocks."""
    lines, groups = [], dict.fromkeys(key.partition(".")[0] for key in entries)
    for name in groups:
        own = entries.get(name)
        if own is not None:
            told = ", ".join(f"{key}: {_quoted(value)}" for key, value in own.items())
            lines.append(f"{'  ' * depth}{name}: {{{told}}}")
            continue
        inside = {key.partition(".")[2]: e for key, e in entries.items() if key.partition(".")[0] == name}
        lines += [f"{'  ' * depth}{name}:", *_block(inside, depth + 1)]
    return lines


def _quoted(value: Any) -> str:
    """A scalar as YAML has it: text with spaces in quotes, quantities bare."""
    text = str(value)
    plain = isinstance(value, int | float) or not set(text) & set(":,#{}[]'\"")
    return text if plain else f'"{text}"'
