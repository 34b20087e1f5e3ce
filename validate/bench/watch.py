"""Clocks, throttling and power while a point is measured: what nvidia-smi says five times a second.

The program runs beside the measurement and is only asked; nothing on the card is set.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from typing import Any

EVERY_MS = 200
QUERIES = tuple(f"clocks.sm,clocks.mem,power.draw,{reasons}.active"
                for reasons in ("clocks_event_reasons", "clocks_throttle_reasons"))
"""The same question in the words of newer and of older drivers."""
IDLE = 0x1
"""The reason `GPU idle`, which is no throttling."""


class Watch:
    """A running nvidia-smi and what it has said."""

    def __init__(self, device: str) -> None:
        self._said: list[tuple[float, list[str]]] = []
        self._process: subprocess.Popen[str] | None = None
        program = shutil.which("nvidia-smi")
        if not device.startswith("cuda") or program is None:
            return
        asking = [program, f"--id={device.partition(':')[2] or '0'}", "--format=csv,noheader,nounits"]
        query = next((q for q in QUERIES if _answers([*asking, f"--query-gpu={q}"])), None)
        if query is None:
            return
        self._process = subprocess.Popen([*asking, f"--query-gpu={query}", f"--loop-ms={EVERY_MS}"],
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append((time.monotonic(), [cell.strip() for cell in line.split(",")]))

    def between(self, start: float, end: float) -> dict[str, Any]:
        """Columns of a point measured from `start` to `end` (time.monotonic); the last reading where none fell in."""
        if not self._said:
            return {"sm_mhz": None, "memory_mhz": None, "throttle": "", "power_w": None}
        inside = [cells for at, cells in list(self._said) if start <= at <= end] or [self._said[-1][1]]
        reasons = 0
        for cells in inside:
            try:
                reasons |= int(cells[3], 16)
            except (ValueError, IndexError):
                continue
        return {
            "sm_mhz": _median([c[0] for c in inside]), "memory_mhz": _median([c[1] for c in inside]),
            "throttle": f"{reasons & ~IDLE:#x}" if reasons & ~IDLE else "",
            "power_w": _median([c[2] for c in inside if len(c) > 2]),
        }

    def stop(self) -> None:
        """End the program that was started here."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)
            self._process = None


def _answers(command: list[str]) -> bool:
    """Whether this driver understands the question."""
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _median(cells: list[str]) -> float | None:
    numbers = []
    for cell in cells:
        try:
            numbers.append(float(cell))
        except ValueError:
            continue
    return statistics.median(numbers) if numbers else None
