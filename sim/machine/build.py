"""Puts a machine together for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernels.lower import Lowering
from .computed import Computer
from .fluid import FluidDevice
from .l2 import Residency
from .launch import Launcher
from .player import Setting, SimMachine
from .recorder import Recorder
from .roofline import RooflineDevice
from .work import Device

if TYPE_CHECKING:
    from ..hardware import Gpu
    from ..model import Model
    from ..plan import Plan
    from ..stack import Stack


TIERS = ("roofline", "fluid")


def sim_machine(gpu: Gpu, stack: Stack, model: Model, plan: Plan, setting: Setting, record: str = "passes",
                tier: str = "roofline", remember: bool = True, grain: int = 256) -> SimMachine:
    """A simulated GPU with an empty cache, driven as `setting` says.

    `tier` is how finely kernels are simulated. `remember=False` computes every pass anew and gives the same picoseconds; `grain` is the resolution of the reuse
    distance, in parts of the L2's capacity.
    """
    lowering = Lowering(model, plan, stack.kernels, gpu.generation, gpu.sm.count)
    residency = Residency(gpu.l2.capacity_bytes, gpu.l2.hit_curve, grain)
    device: Device = RooflineDevice(gpu) if tier == "roofline" else FluidDevice(gpu, stack.kernels)
    computer = Computer(lowering, device, residency, remember)
    return SimMachine(lowering, computer, Launcher(gpu.launch, stack.host), setting, Recorder(model, record))
