"""Makes `import speedsim` mean this clone's sim/ folder where the package is not installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if importlib.util.find_spec("speedsim") is None:
    DOOR = Path(__file__).parents[1] / "sim" / "__init__.py"
    SPEC = importlib.util.spec_from_file_location("speedsim", DOOR, submodule_search_locations=[str(DOOR.parent)])
    assert SPEC is not None
    assert SPEC.loader is not None
    sys.modules["speedsim"] = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(sys.modules["speedsim"])
