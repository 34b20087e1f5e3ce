"""`python -m sim` in a bare clone: gives the clone's folders the names that the wheel gives them, and runs the command.

Each folder is loaded once, under its installed name: sim is `speedsim`, validate is `speedsim.validate`, and so on.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PARTS = {"speedsim": "sim", "speedsim.validate": "validate", "speedsim.workloads": "workloads"}


def register() -> None:
    """Make the clone importable where speedsim is not installed, and its folders one with the package where it is."""
    installed = importlib.util.find_spec("speedsim") is not None
    root = Path(__file__).resolve().parent.parent
    for name, folder in PARTS.items():
        door = root / folder / "__init__.py"
        if name in sys.modules or not door.exists():
            continue
        beside = importlib.util.spec_from_file_location(name, door, submodule_search_locations=[str(door.parent)])
        spec = importlib.util.find_spec(name) if installed else beside
        loaded = sys.modules.get(folder)
        if spec is None or spec.loader is None:
            continue
        if loaded is not None and loaded.__file__ == spec.origin:
            # `python -m FOLDER` has loaded it under the folder's name: the same module takes its own name.
            loaded.__name__, loaded.__package__, loaded.__spec__ = name, name, spec
            sys.modules[name] = loaded
        elif installed:
            continue
        else:
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])


if __name__ == "__main__":
    register()
    from speedsim.cli import main  # type: ignore[import-not-found,unused-ignore]

    sys.exit(main())
