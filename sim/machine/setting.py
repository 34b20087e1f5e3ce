"""How a machine is driven: the software, where the schedule decides, and what runs beside the first model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..model import Model
from ..plan import Plan
from ..program import Host
from ..stack import Control, Stack
from ..units import NotCoveredError


@dataclass(frozen=True, slots=True)
class Setting:
    """How the machine is driven."""

    stack: Stack
    control: Control
    launch: str
    slots: int | None
    """Rows of the schedule's device form, per sequence; None under host control."""
    exits: frozenset[int]
    places: int = 1
    source_tokens: int = 0
    concurrent: bool = False
    """Whether programs may use several streams and devices, `after`, Wait(any=True), Cancel, Move and Compact. Slower
    to simulate; the same picoseconds for programs that use none of them."""
    devices: int = 1
    """GPUs, all alike."""
    models: Mapping[str, tuple[Model, Plan]] = field(default_factory=dict)
    """Further models by the name in Pass.model, each on all devices."""
    shared: frozenset[str] = frozenset()
    """Those of them whose tensors are the first model's own."""


def host_work_ps(setting: Setting, command: Host) -> int:
    """What work on the processor takes at the stack's prices. Raises NotCoveredError where there is none, or where the
    device decides and no processor waits for it."""
    stack = setting.stack
    if setting.control.where != "host":
        raise NotCoveredError(f"Host needs control host, not {setting.control}")
    if command.kind not in stack.host.work_ps:
        known = ", ".join(stack.host.work_ps) or "none"
        raise NotCoveredError(f"{stack.name}: its file has no price for host work {command.kind!r} (it has {known})")
    return stack.host.work_ps[command.kind] * command.items
