"""`python -m validate ...` in a bare clone, or `python -m speedsim.validate ...` where speedsim is installed.

In a clone the folders sim, validate and workloads are made importable under the names that the wheel gives them, so
every module has one name and loads once.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _module(name: str, folder: Path) -> ModuleType:
    """The package `name` loaded from `folder`, whatever the folder is called."""
    door = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, door, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is no package")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def register() -> None:
    """Give the clone's folders their names where speedsim, or a part of it, is not installed."""
    root = Path(__file__).resolve().parent.parent
    known = importlib.util.find_spec("speedsim") is not None
    parent = importlib.import_module("speedsim") if known else _module("speedsim", root / "sim")
    for part in ("validate", "workloads"):
        name = f"speedsim.{part}"
        if name in sys.modules:
            continue
        spec = importlib.util.find_spec(name)
        folders = list(spec.submodule_search_locations or ()) if spec is not None else [str(root / part)]
        own = sys.modules.get(part)
        if own is not None and folders == list(getattr(own, "__path__", ())):
            sys.modules[name] = own
        elif spec is not None:
            continue
        elif (root / part / "__init__.py").exists():
            _module(name, root / part)
        else:
            _bare(name, root / part)
        setattr(parent, part, sys.modules[name])


def _bare(name: str, folder: Path) -> None:
    """A package without an `__init__.py`."""
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    sys.modules[name] = module


if __name__ == "__main__":
    register()
    from speedsim.validate.cli import main

    sys.exit(main())
