"""Where a measurement was made: card, driver, clocks, processor, virtualisation, versions, commit.

The card's serial number and the machine's name stay out: `card` is a digest that tells two cards apart. The card is
only ever asked, never set: clocks, power limit and modes are as they were found.
"""

from __future__ import annotations

import csv
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
ASKED = {
    "driver": "driver_version", "vbios": "vbios_version", "power_limit_w": "power.limit",
    "sm_mhz_now": "clocks.sm", "memory_mhz_now": "clocks.mem", "sm_mhz_most": "clocks.max.sm",
    "memory_mhz_most": "clocks.max.mem", "ecc": "ecc.mode.current", "persistence": "persistence_mode",
    "temperature_c": "temperature.gpu", "pcie_generation": "pcie.link.gen.current",
    "pcie_width": "pcie.link.width.current",
}
"""What is asked of nvidia-smi, by the name it gets here."""
PACKAGES = ("torch", "numpy", "pandas", "triton", "cupy-cuda13x", "cupy-cuda12x")


def environment(device: str) -> dict[str, Any]:
    """Everything that is known about where we are; the keys of records.REQUIRED are always there."""
    found = _card(device)
    return found | {
        "device": device, "processor": processor(), "processors": os.cpu_count(), "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "virtualisation": virtualisation(), "kernel": ".".join(platform.release().split(".")[:2]),
        "versions": {"python": platform.python_version(), "cuda": torch.version.cuda, **_versions()},
        "commit": commit(), "sources": sources(), "began": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _card(device: str) -> dict[str, Any]:
    """The card, or the processor that stands in for it."""
    if not device.startswith("cuda"):
        name = processor()
        digest = hashlib.sha256(f"{name} {os.cpu_count()}".encode()).hexdigest()[:12]
        return {"card": digest, "name": name, "driver": "none", "clocks": _processor_clock()}
    index = torch.device(device).index or 0
    properties = torch.cuda.get_device_properties(index)
    told = ask(index)
    identity = str(getattr(properties, "uuid", "")) or told.get("driver", "")
    return {
        "card": hashlib.sha256(f"{properties.name} {identity}".encode()).hexdigest()[:12],
        "name": properties.name, "driver": told.pop("driver", "unknown"),
        "capability": f"{properties.major}.{properties.minor}",
        "clocks": {key: told.pop(key) for key in list(told) if key.endswith(("_now", "_most"))}, **told,
    }


def ask(index: int) -> dict[str, str]:
    """nvidia-smi's answers, empty where it is absent or does not know."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}

    def asked(queries: list[str]) -> list[str]:
        told = _run([program, f"--id={index}", f"--query-gpu={','.join(queries)}", "--format=csv,noheader,nounits"])
        return [cell.strip() for cell in next(csv.reader([told.splitlines()[0]]))] if told else []

    answers = asked(list(ASKED.values()))
    if len(answers) == len(ASKED):
        return dict(zip(ASKED, answers, strict=True))
    single = {name: asked([query]) for name, query in ASKED.items()}
    return {name: cells[0] for name, cells in single.items() if len(cells) == 1}


def _run(command: list[str], folder: Path | None = None) -> str:
    """What a command prints, "" where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True, cwd=folder)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def processor() -> str:
    """The processor's name."""
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _processor_clock() -> dict[str, str]:
    try:
        clocks = re.findall(r"^cpu MHz\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        clocks = []
    return {"processor_mhz_now": clocks[0].strip() if clocks else "unknown"}


def virtualisation() -> str:
    """`none seen`, or that there is a hypervisor and whose board it shows."""
    try:
        virtual = " hypervisor" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    try:
        board = Path("/sys/class/dmi/id/sys_vendor").read_text().strip()
    except OSError:
        board = "no board name"
    return f"hypervisor ({board})" if virtual else "none seen"


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the clone, marked where files differ from it; `unknown` outside one."""
    number = _run(["git", "rev-parse", "HEAD"], ROOT)
    changed = _run(["git", "status", "--porcelain", "--untracked-files=no"], ROOT)
    return (number + ("+changes" if changed else "")) or "unknown"


def sources() -> str:
    """A digest of the code that measures, which a copy without git has too."""
    content = hashlib.sha256(sys.version.encode()[:4])
    for folder in ("sim", "validate", "workloads"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".cu") and path.is_file():
                content.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return content.hexdigest()[:16]


def short_name(name: str) -> str:
    """A card's name as a folder: `NVIDIA H200` is nvidia_h200."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "unknown"
