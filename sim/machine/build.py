"""Puts a machine together for one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..kernels.lower import Lowering, prefill_shape
from ..units import NotCoveredError
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

    `tier` is how finely kernels are simulated. `remember=False` computes every pass anew and gives the same
    picoseconds; `grain` is the resolution of the reuse distance, in parts of the L2's capacity.
    """
    lowering = Lowering(model, plan, stack.kernels, gpu.generation, gpu.sm.count)
    computer = _computer(gpu, stack, lowering, tier, remember, grain)
    return SimMachine(model, computer, Launcher(gpu.launch, stack.host), setting, Recorder(model, record))


def prefill_ps(gpu: Gpu, stack: Stack, model: Model, plan: Plan, launch: str, tier: str, tokens: int) -> int:
    """Time for a prompt of so many tokens, from the launch call to the first token's arg-max, on an empty cache.

    One pass through all repetitions at once; 0 for an empty prompt.
    """
    if not tokens:
        return 0
    lowering = Lowering(model, plan, stack.kernels, gpu.generation, gpu.sm.count)
    computed = _computer(gpu, stack, lowering, tier).once(prefill_shape(tokens, model.repetitions))
    return Launcher(gpu.launch, stack.host).launch(launch, computed, 0, False).end_ps


def _computer(gpu: Gpu, stack: Stack, lowering: Lowering, tier: str, remember: bool = True,
              grain: int = 256) -> Computer:
    if "keep" in stack.l2_policy.values() and gpu.l2.keep_fraction is None:
        raise NotCoveredError(f"{gpu.name}: its L2 sets nothing aside (l2_policy keep)")
    device: Device = RooflineDevice(gpu) if tier == "roofline" else FluidDevice(gpu, stack.kernels)
    return Computer(lowering, device, Residency(gpu.l2, grain), gpu.energy, stack.l2_policy, remember)
