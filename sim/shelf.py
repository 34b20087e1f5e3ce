"""Descriptions and traces that have been looked up: each file is read once, however many runs name it.

A shelf goes along to another process or machine, which then needs none of the files. It never notices that a file has
changed: who wants to see changes takes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import catalog
from .config import apply

if TYPE_CHECKING:
    from .catalog import Changes
    from .config import Loaded
    from .hardware import Gpu
    from .model import Model
    from .plan import Plan
    from .stack import Stack
    from .trace import Trace
    from .traces.acceptance import Acceptance


@dataclass(slots=True)
class Shelf:
    """What has been looked up, by kind and the name that was asked for."""

    kept: dict[tuple[str, str], Any] = field(default_factory=dict)

    def gpu(self, name: str, changes: Changes = ()) -> Loaded[Gpu]:
        """The GPU of this name or file, with changed numbers. Raises InputError."""
        loaded: Loaded[Gpu] = self._kept("gpu", name, catalog.load_gpu)
        return apply(loaded, changes) if changes else loaded

    def stack(self, name: str, changes: Changes = ()) -> Loaded[Stack]:
        """The software stack of this name or file."""
        loaded: Loaded[Stack] = self._kept("stack", name, catalog.load_stack)
        return apply(loaded, changes, "stack.") if changes else loaded

    def model(self, name: str, changes: Changes = ()) -> Loaded[Model]:
        """The decoder of this name or file."""
        loaded: Loaded[Model] = self._kept("model", name, catalog.load_model)
        return apply(loaded, changes, "model.") if changes else loaded

    def plan(self, name: str) -> Loaded[Plan]:
        """The execution plan of this name or file."""
        loaded: Loaded[Plan] = self._kept("plan", name, catalog.load_plan)
        return loaded

    def acceptance(self, name: str) -> Loaded[Acceptance]:
        """The acceptance table of this name or file."""
        loaded: Loaded[Acceptance] = self._kept("acceptance", name, catalog.load_acceptance)
        return loaded

    def trace(self, name: str) -> Trace:
        """The trace of this name or file."""
        found: Trace = self._kept("trace", name, catalog.load_trace)
        return found

    def unshared(self, model: Loaded[Model], layers: int) -> Loaded[Model]:
        """The same decoder with so many unique layers, each applied once."""
        found: Loaded[Model] = self._kept("unshared", f"{model.digest} {layers}",
                                          lambda _: catalog.unshared(model, layers))
        return found

    def _kept(self, kind: str, name: str, load: Any) -> Any:
        key = (kind, name)
        if key not in self.kept:
            self.kept[key] = load(name)
        return self.kept[key]
