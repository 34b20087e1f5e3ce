"""speedsim: would speculative decoding pay on this GPU, for this decoder, at this depth, and why?

One schedule, two oracles, two machines, one timeline. Names below load what they need when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Scenario", "__version__", "answer", "curve", "load_gpu", "load_model", "load_plan", "load_stack",
           "load_trace", "predictor", "run", "sensitivity", "solve", "sweep", "whatif"]

_HOME = {
    "Scenario": "scenario", "answer": "result", "load_gpu": "catalog", "load_model": "catalog", "load_plan": "catalog",
    "load_stack": "catalog", "load_trace": "catalog", "run": "scenario", "sweep": "sweeps.run",
    "curve": "whatifs.frontier", "predictor": "whatifs.pass_times", "sensitivity": "whatifs.elasticity",
    "solve": "whatifs.inverse", "whatif": "whatifs.attribution",
}

if TYPE_CHECKING:
    from .catalog import load_gpu, load_model, load_plan, load_stack, load_trace
    from .result import answer
    from .scenario import Scenario, run
    from .sweeps.run import sweep
    from .whatifs.attribution import whatif
    from .whatifs.elasticity import sensitivity
    from .whatifs.frontier import curve
    from .whatifs.inverse import solve
    from .whatifs.pass_times import predictor


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOME[name]}", __name__), name)
