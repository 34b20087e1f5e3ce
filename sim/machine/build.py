"""Puts a machine together for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernels.lower import Lowering
from .computed import Computer
from .l2 import Residency
from .launch import Launcher
from .player import Setting, SimMachine
from .recorder import Recorder
from .roofline import RooflineDevice

if TYPE_CHECKING:
    from ..hardware import Gpu
    from ..model import Model
    from ..plan import Plan
    from ..stack import Stack


def sim_machine(gpu: Gpu, stack: Stack, model: Model, plan: Plan, setting: Setting, record: str = "passes",
                remember: bool = True, grain: int = 256) -> SimMachine:
    """A simulated GPU with an empty cache, driven as `setting` says.

    `remember=False` computes every pass anew and gives the same picoseconds; `grain` is the resolution of the reuse
    distance, in parts of the L2's capacity.
    """
    lowering = Lowering(model, plan)
    residency = Residency(gpu.l2.capacity_bytes, gpu.l2.hit_curve, grain)
    computer = Computer(lowering, RooflineDevice(gpu), residency, remember)
    return SimMachine(lowering, computer, Launcher(gpu.launch, stack.host), setting, Recorder(model, record))
