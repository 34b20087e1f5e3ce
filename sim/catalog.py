"""Descriptions by name: look a name up, load its file, apply changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from .config import Loaded, apply, load
from .dram import Dram
from .hardware import Gpu
from .model import Model
from .plan import Plan
from .registry import find, names
from .stack import Stack
from .traces.acceptance import Acceptance
from .units import InputError

if TYPE_CHECKING:
    from .trace import Trace

Changes = tuple[tuple[str, str], ...]


def load_gpu(name: str, changes: Changes = ()) -> Loaded[Gpu]:
    """The GPU of this name or file, with changed numbers. Raises InputError."""
    return load(Gpu, find("gpus", name), find=lambda parent: find("gpus", parent), settings=changes)


def load_dram(name: str) -> Loaded[Dram]:
    """The DRAM timing set of this name or file."""
    return load(Dram, find("dram", name), find=lambda parent: find("dram", parent))


def load_stack(name: str, changes: Changes = ()) -> Loaded[Stack]:
    """The software stack of this name or file."""
    return load(Stack, find("stacks", name), find=lambda parent: find("stacks", parent), settings=changes,
                prefix="stack.")


def load_plan(name: str) -> Loaded[Plan]:
    """The execution plan of this name or file."""
    return load(Plan, find("plans", name), find=lambda parent: find("plans", parent))


def load_model(name: str, changes: Changes = ()) -> Loaded[Model]:
    """The decoder of this name, YAML file, or Hugging Face config.json."""
    path = find("models", name)
    if path.suffix == ".json":
        from .huggingface import model_from_config

        return model_from_config(path, changes, "model.")
    return load(Model, path, find=lambda parent: find("models", parent), settings=changes, prefix="model.")


def load_trace(name: str) -> Trace:
    """The trace of this name or file."""
    from .trace import load as read

    return read(find("traces", name))


def unshared(model: Loaded[Model], layers: int) -> Loaded[Model]:
    """The same decoder with so many unique layers: a shipped file of that shape, or derived on the spot."""
    value = model.value
    derived = value.unshared(layers)
    shipped = value.name.replace(f"{value.group_layers}x{value.repetitions}", f"{layers}l")
    if shipped != value.name and shipped in names("models"):
        known = load_model(shipped)
        if replace(derived, name=shipped, title=known.value.title) == known.value:
            return known
    told = {"name": derived.name, "title": derived.title, "group_layers": layers, "repetitions": 1, "prelude": 0,
            "coda": 0, "adapter": "false", "default_trace": "null"}
    return apply(model, [(key, str(value)) for key, value in told.items()])


def first_layers(model: Loaded[Model], text: str) -> Loaded[Model]:
    """`~8l`: the model's own first 8 layers with its head, as a drafter of its own; `~32l@4096`: as many, or all, that
    see only 4,096 keys."""
    value = model.value
    layers, at, window = text.removeprefix("~").partition("@")
    layers = layers.removesuffix("l")
    right = layers.isdecimal() and value.repetitions == 1 and 0 < int(layers) < value.layers + bool(at)
    if not right or (at and not (window.isdecimal() and int(window))):
        what = "is looped" if value.repetitions > 1 else f"has {value.layers} layers"
        raise InputError(f"{text}: {value.name} {what}; write ~8l for the first 8 layers of a model that is not "
                         "looped, ~32l@4096 for those that see 4,096 keys")
    own = unshared(model, int(layers))
    return apply(own, [("name", f"{own.value.name}@{window}"), ("window", window)]) if at else own


def load_acceptance(name: str) -> Loaded[Acceptance]:
    """The acceptance table of this name or file."""
    return load(Acceptance, find("acceptance", name), find=lambda parent: find("acceptance", parent))


def traces_of(repetitions: int) -> list[str]:
    """Names of the traces with so many repetitions; a file that is no trace is none of them."""
    from .trace import TraceError, header

    fitting = []
    for name in names("traces"):
        with suppress(TraceError):
            if header(find("traces", name)).get("repetitions") == repetitions:
                fitting.append(name)
    return fitting
