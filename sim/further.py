"""The models of a run beside its target: drafters by name, or the target's own first layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .catalog import first_layers
from .config import apply
from .program import Needs
from .units import InputError, NotCoveredError

if TYPE_CHECKING:
    from .config import Loaded
    from .hardware import Gpu
    from .model import Model
    from .shelf import Shelf
    from .stack import Stack


class Further(NamedTuple):
    """A model beside the target."""

    model: Loaded[Model]
    shares: bool
    """Whether its weights, keys and values are the target's own."""


def further_of(needs: Needs, model: Loaded[Model], gpu: Gpu, stack: Stack, shelf: Shelf
             ) -> tuple[dict[str, Further], tuple[str, ...]]:
    """The models that a schedule names beside the target, and what must be said of them."""
    found: dict[str, Further] = {}
    notes: list[str] = []
    for name, wanted in needs.models:
        shares = wanted.startswith("~")
        loaded = first_layers(model, wanted) if shares else shelf.model(wanted)
        loaded, said = computable(loaded, gpu)
        if loaded.value.repetitions > 1:
            raise InputError(f"{name}={wanted}: a looped model drafts with its own exits, not as a further model")
        found[name] = Further(loaded, shares)
        notes += said
    if needs.trained:
        notes.append(f"needs a model trained for it: for {model.value.name} this is a ceiling, not a prediction")
    for kind in needs.host:
        if kind not in stack.host.work_ps:
            raise NotCoveredError(f"{stack.name}: its file has no price for host work {kind!r}; "
                                  f"see --set stack.host.work.{kind}=2us")
    return found, tuple(notes)


def computable(model: Loaded[Model], gpu: Gpu) -> tuple[Loaded[Model], tuple[str, ...]]:
    """The model in a type that the GPU multiplies: cards before Ampere run bf16 models as fp16, of the same size."""
    wanted, peaks = model.value.dtype.activations, gpu.sm.peak_flop_per_s
    if wanted in peaks:
        return model, ()
    if wanted != "bf16" or "fp16" not in peaks:
        raise NotCoveredError(f"{gpu.name}: no peak for {wanted} (the file has {', '.join(sorted(peaks))}); "
                              "see --set model.dtype.activations=...")
    parts = [part for part in ("weights", "kv", "activations") if getattr(model.value.dtype, part) == "bf16"]
    return (apply(model, [(f"dtype.{part}", "fp16") for part in parts]),
            (f"{gpu.name} has no bf16: {model.value.name} runs in fp16",))
