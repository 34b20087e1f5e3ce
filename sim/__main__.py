"""`python -m sim` in a bare clone: gives the clone's folders the names that the wheel gives them, and runs the command.

Each folder is loaded once, under its installed name: sim is `speedsim`, validate is `speedsim.validate`, and so on.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PARTS = {"speedsim": "sim", "speedsim.validate": "validate", "speedsim.workloads": "workloads"}


def register() -> None:
    """Make the clone importable where speedsim is not installed."""
    if importlib.util.find_spec("speedsim") is not None:
        return
    root = Path(__file__).resolve().parent.parent
    for name, folder in PARTS.items():
        door = root / folder / "__init__.py"
        spec = importlib.util.spec_from_file_location(name, door, submodule_search_locations=[str(door.parent)])
        if spec is None or spec.loader is None or not door.exists():
            continue
        loaded = sys.modules.get(folder)
        if loaded is not None and loaded.__file__ == str(door):
            # `python -m FOLDER` has loaded it under the folder's name: the same module takes its own name.
            loaded.__name__, loaded.__package__, loaded.__spec__ = name, name, spec
            sys.modules[name] = loaded
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
