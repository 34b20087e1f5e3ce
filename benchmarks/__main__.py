"""`make bench`: runs each command as a process of its own and prints time, memory and the bar.

Times are processor seconds (user and system), the smallest of three, so that a busy machine disturbs them little.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from .events import BAR, rates

START, RUN = "speedsim run, a text of one token", "speedsim run, 1,000 tokens"
BEYOND = 0.3
"""Seconds that the second may take beyond the first."""
FLIPS = "flips=0.15+0.06+0.03+0.02+0.01"


class Case(NamedTuple):
    """A command and what it may cost."""

    name: str
    command: list[str]
    seconds: float
    megabytes: float


def cost(command: list[str]) -> tuple[float, float]:
    """(processor seconds, peak resident megabytes) of a command."""
    with tempfile.TemporaryFile() as sink:
        child = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sink.seek(0)
            raise SystemExit(f"{' '.join(command)}: {sink.read().decode(errors='replace')}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def cases(folder: Path) -> list[Case]:
    """The commands with a bar."""
    speedsim = [sys.executable, "-m", "speedsim.cli"]
    long = folder / "long.parquet"
    make = ("from speedsim.trace import synthetic, write\n"
            f"write(synthetic([0.15, 0.06, 0.03, 0.02, 0.01], 6, 256, sequences=391, seed=1), {str(long)!r})")
    subprocess.run([sys.executable, "-c", make], check=True)
    million = [str(folder / f"million.{form}") for form in ("parquet", "jsonl")]
    make = ("from speedsim.trace import synthetic, write\n"
            "made = synthetic([0.15, 0.06, 0.03, 0.02, 0.01], 6, 1000, sequences=1000, seed=1)\n"
            f"for path in {million!r}: write(made, path)")
    subprocess.run([sys.executable, "-c", make], check=True)
    replay = ("from speedsim import Scenario, run\n"
              f"run(Scenario(trace={million[0]!r}, tier='roofline', record='summary'))")
    return [
        Case("speedsim --help", [*speedsim, "--help"], 0.4, 100),
        Case(START, [*speedsim, "run", "--synth", "flips=0+0+0+0+0,count=1"], 1, 300),
        Case(RUN, [*speedsim, "run"], 2, 300),
        Case("the same, every kernel as JSON", [*speedsim, "run", "--record", "kernels", "--json", os.devnull], 3, 300),
        Case("100,000 tokens beside three rivals", [*speedsim, "run", "--trace", str(long)], 20, 500),
        Case("one sequence of 20,000 tokens", [*speedsim, "run", "--synth", f"{FLIPS},count=20000"], 20, 500),
        Case("64 sequences at a time", [*speedsim, "run", "--batch", "64", "--synth",
                                        f"{FLIPS},count=128,sequences=64"], 60, 500),
        Case("a million tokens read, Parquet", [*speedsim, "trace", "check", million[0]], 2, 500),
        Case("the same, JSON lines", [*speedsim, "trace", "check", million[1]], 2, 500),
        Case("the same, replayed once", [sys.executable, "-c", replay], 120, 500),
        Case("three schedules, two cards, two batches", [*speedsim, "compare", "--schedules", "speed,loopspec,plt",
                                                         "--gpu", "h200_sxm,l4", "--batch", "1,4"], 15, 400),
        # The bars of sweeps are of two cores: 60 s of 1,000,000 points at the roofline, of 1,000 in the fluid tier.
        Case("101,000 points at the roofline", anew(folder, [
            "--tier", "roofline", "--over", "hbm.bandwidth=1TB/s:10TB/s:0.09TB/s", "--over",
            "l2.bandwidth=2TB/s:20TB/s:2TB/s", "--over", "sm.peak.bf16=20TFLOP/s:2000TFLOP/s:20TFLOP/s"]), 12, 1000),
        Case("1,008 points of 1,024 tokens", anew(folder, [
            "--over", "gpu=h100_sxm,h200_sxm,l40s,a100_sxm", "--over", "schedule.max_in_flight=1:6", "--over",
            "hbm.bandwidth=1TB/s:7.5TB/s:0.5TB/s", "--over", "l2.capacity=25MiB,50MiB,100MiB"]), 120, 1000),
    ]


def anew(folder: Path, options: list[str]) -> list[str]:
    """A sweep by one process that goes on from nothing."""
    out = folder / "sweep"
    command = [sys.executable, "-m", "speedsim.cli", "sweep", "--engine", "serial", "--out", str(out), *options]
    return ["sh", "-c", f"rm -rf {shlex.quote(str(out))} && {shlex.join(command)}"]


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    missed, took = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        print(f"{'command':<40}{'seconds':>9}{'bar':>6}{'MB':>8}{'bar':>6}")
        for case in cases(Path(folder)):
            runs = [cost(case.command) for _ in range(3)]
            seconds, megabytes = min(s for s, _ in runs), min(m for _, m in runs)
            took[case.name] = seconds
            over = seconds > case.seconds or megabytes > case.megabytes
            missed += over
            print(f"{case.name:<40}{seconds:>9.2f}{case.seconds:>6g}{megabytes:>8.0f}{case.megabytes:>6g}"
                  f"{'  missed' if over else ''}")
    beyond = took[RUN] - took[START]
    missed += beyond > BEYOND
    print(f"{'1,000 tokens beyond start-up':<40}{beyond:>9.2f}{BEYOND:>6g}{'  missed' if beyond > BEYOND else ''}")
    for name, rate in rates():
        print(f"{'events a second: ' + name:<40}{rate:>9,.0f}{BAR:>8,}{'  missed' if rate < BAR else ''}")
        missed += rate < BAR
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
