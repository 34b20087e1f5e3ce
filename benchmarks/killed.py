"""`python -m benchmarks.killed`: a sweep killed at 30 random moments ends with the table of one that was not.

The kill is SIGKILL, to the parent; its workers end by themselves. Minutes, so this is no test.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MOMENTS = 30
AXES = ["--over", "schedule.max_in_flight=1:6", "--over", "l2.capacity=20MiB:68MiB:4MiB",
        "--over", "hbm.bandwidth=2TB/s:6TB/s:2TB/s"]


def command(folder: Path) -> list[str]:
    """The sweep into a folder."""
    return [sys.executable, "-m", "speedsim.cli", "sweep", "--tokens", "256", *AXES, "--out", str(folder),
            "--workers", "2"]


def main() -> int:
    """Kill, go on, compare; 1 where a byte differs or a file is left over."""
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place, "whole"), Path(place, "killed")
        begun = time.monotonic()
        subprocess.run(command(whole), check=True, capture_output=True)
        longest = time.monotonic() - begun
        finished = 0
        for _ in range(MOMENTS):
            child = subprocess.Popen(command(killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                finished += child.wait(draw.uniform(0.1, 1.0) * min(12.0, longest)) == 0
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
                child.wait()
        subprocess.run(command(killed), check=True, capture_output=True)
        same = (whole / "table.parquet").read_bytes() == (killed / "table.parquet").read_bytes()
        left = sorted(path.name for path in killed.iterdir())
        print(f"{MOMENTS} kills, {finished} came too late; same table: {same}; files: {', '.join(left)}")
        return 0 if same and left == [".journal", "inputs.json", "table.parquet"] else 1


if __name__ == "__main__":
    sys.exit(main())
