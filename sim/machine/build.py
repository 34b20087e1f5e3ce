"""Puts a machine together for one run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..catalog import load_dram
from ..hardware import Energy
from ..kernels.lower import Lowering, prefill_shape
from ..program import TARGET, Machine, Program
from ..units import InputError, NotCoveredError
from .computed import Cache, Computer
from .fluid import FluidDevice
from .l2 import Residency
from .lane import Part
from .launch import Launcher
from .player import Setting, SimMachine
from .power import Governor
from .recorder import Recorder
from .roofline import RooflineDevice
from .streams import StreamsMachine
from .tally import Tally, Untimed, tally
from .work import Device

if TYPE_CHECKING:
    from ..hardware import Gpu
    from ..model import Model
    from ..plan import Plan
    from ..stack import Stack
    from .cycle_device import CycleDevice


TIERS = ("roofline", "fluid", "cycle")


def sim_machine(gpu: Gpu, stack: Stack, model: Model, plan: Plan, setting: Setting, record: str = "passes",
                tier: str = "roofline", remember: bool = True, grain: int = 256, exact: bool = False) -> Machine:
    """A simulated GPU with an empty cache, driven as `setting` says.

    `tier` is how finely kernels are simulated. `remember=False` computes every pass anew and gives the same
    picoseconds; `grain` is the resolution of the reuse distance, in parts of the L2's capacity. `exact`: the cycle tier
    simulates every kernel.
    """
    launcher, recorder = Launcher(gpu.launch, stack.host, spans=record == "kernels"), Recorder(model, record)
    if TARGET in setting.models or setting.devices < 1:
        raise InputError(f"a setting of {setting.devices} devices with further models {', '.join(setting.models)}")
    models = {TARGET: (model, plan)} | dict(setting.models)
    parts = []
    for _ in range(setting.devices):
        cache, device = Cache(Residency(gpu.l2, grain)), device_of(gpu, stack, tier, exact)
        computers = {
            name: _computer(gpu, stack, Lowering(*pair, stack.kernels, gpu.generation, gpu.sm.count), tier, remember,
                            cache=cache, device=device, owner=TARGET if name in setting.shared else name)
            for name, pair in models.items()
        }
        parts.append(Part(device, tier != "fluid", _energy(gpu, tier), computers))
    if setting.concurrent:
        return StreamsMachine(parts, gpu, launcher, setting, recorder)
    return SimMachine(parts[0].computers, launcher, Governor(_energy(gpu, tier)), setting, recorder)


def tally_of(gpu: Gpu, stack: Stack, model: Model, plan: Plan, setting: Setting, tier: str, program: Program,
             prompts: Iterable[int], cut_for: Gpu | None = None) -> Tally:
    """What a program is made of on this chip; the times are another step (grid.times).

    cut_for: the GPU for which the libraries chose tiles and splits, this one by default. Raises NotCoveredError.
    """
    if tier == "cycle":
        raise NotCoveredError("tier cycle: a run is no sum of kernels' times found apart; ask for points by `run`")
    known = cut_for or gpu
    lowering = Lowering(model, plan, stack.kernels, known.generation, known.sm.count)
    computer = _computer(gpu, stack, lowering, tier, device=Untimed())
    return tally(program, computer, setting, Recorder(model, "summary"), prompts)


def prefill_ps(gpu: Gpu, stack: Stack, model: Model, plan: Plan, launch: str, tier: str, tokens: int,
               source_tokens: int = 0) -> int:
    """Time for a prompt of so many tokens, from the launch call to the first token's arg-max, on an empty cache.

    The encoder over the source, where the model has one, and one pass through all repetitions at once; 0 for nothing.
    """
    if not tokens and not (source_tokens and model.encoder_layers):
        return 0
    lowering = Lowering(model, plan, stack.kernels, gpu.generation, gpu.sm.count)
    computed = _computer(gpu, stack, lowering, tier).once(prefill_shape(tokens, model.repetitions, source_tokens))
    end = Launcher(gpu.launch, stack.host).launch(launch, computed, 0, False).end_ps
    return end + Governor(_energy(gpu, tier)).added_ps(end, computed.energy_j)


def _computer(gpu: Gpu, stack: Stack, lowering: Lowering, tier: str, remember: bool = True, grain: int = 256,
              cache: Cache | None = None, owner: str = "", device: Device | None = None) -> Computer:
    if "keep" in stack.l2_policy.values() and gpu.l2.keep_fraction is None:
        raise NotCoveredError(f"{gpu.name}: its L2 sets nothing aside (l2_policy keep)")
    device, cache = device or device_of(gpu, stack, tier), cache or Cache(Residency(gpu.l2, grain))
    if tier == "cycle":
        from .cycle_passes import LineComputer

        return LineComputer(lowering, device, cache, gpu.energy, stack.l2_policy, remember, owner)
    return Computer(lowering, device, cache, gpu.energy, stack.l2_policy, remember, owner)


def _energy(gpu: Gpu, tier: str) -> Energy:
    """A power limit is something real: the roofline, which nothing beats, knows none."""
    return replace(gpu.energy, limit_w=None) if tier == "roofline" else gpu.energy


def device_of(gpu: Gpu, stack: Stack, tier: str, exact: bool = False) -> Device:
    """The device of a tier. Raises NotCoveredError where the cycle tier lacks numba or the GPU's organisation."""
    if tier == "cycle":
        return cycle_device(gpu, stack, exact)
    return RooflineDevice(gpu) if tier == "roofline" else FluidDevice(gpu, stack.kernels)


def cycle_device(gpu: Gpu, stack: Stack, exact: bool = False) -> CycleDevice:
    """The cycle tier's device. Raises NotCoveredError without numba, and where the GPU's organisation is not known."""
    from .cycle_device import CycleDevice

    if gpu.hbm.timing is None:
        raise NotCoveredError(f"{gpu.name}: tier cycle needs hbm.timing, which its file does not say")
    return CycleDevice(gpu, load_dram(gpu.hbm.timing).value, stack.kernels, exact)
