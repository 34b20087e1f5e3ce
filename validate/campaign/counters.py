"""Hardware counters of single kernels and passes: bytes at the memory, hits in the L2, bytes from the L2 to the SMs.

Nsight Compute runs a small target of its own (`python -m validate target ...`), whose one marked call it counts. The
caches are neither flushed between kernels nor are kernels replayed one by one: the whole target runs again for each
group of counters, so a kernel finds the caches as its predecessor left them. Clocks are left alone.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch.nn import functional

from ..bench.experiment import Bench, Experiment
from ..environment import ROOT
from ..refusal import NotMeasuredError
from .cases import decoder_for, model_for, pass_work, seated_rows

METRICS = {
    "hbm_read_bytes": "dram__bytes_read.sum", "hbm_write_bytes": "dram__bytes_write.sum",
    "l2_sectors": "lts__t_sectors_op_read.sum", "l2_hit_sectors": "lts__t_sectors_op_read_lookup_hit.sum",
    "l2_to_sm_bytes": "l1tex__m_xbar2l1tex_read_bytes.sum", "duration_ns": "gpu__time_duration.sum",
}
SCALE = {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "sector": 1, "ns": 1, "us": 1e3, "ms": 1e6,
         "nsecond": 1, "usecond": 1e3, "msecond": 1e6}
KERNELS = ((2304, 768), (768, 768), (4096, 768), (768, 2048), (32128, 768), (1024, 2560), (4096, 4096), (12288, 4096),
           (4096, 12288), (32000, 4096))


MODULE = "validate" if (ROOT / "sim").is_dir() else "speedsim.validate"


def _kernel_points(_bench: Bench) -> Iterable[dict[str, Any]]:
    return ({"n": n, "k": k, "rows": r} for n, k in KERNELS for r in (1, 8, 64))


def _pass_points(_bench: Bench) -> Iterable[dict[str, Any]]:
    return ({"model": m, "rows": r, "heads": h} for m in ("speed_2x6", "speed_4x3", "speed_12l")
            for r, h in ((1, 0), (1, 1), (3, 3), (6, 6)))


def run_target(bench: Bench, point: Mapping[str, Any]) -> None:
    """What Nsight Compute watches: warm up, then once between the marks."""
    if "n" in point:
        weight = bench.random(point["n"], point["k"], dtype=torch.bfloat16)
        x = bench.random(point["rows"], point["k"], dtype=torch.bfloat16)
        work: Any = lambda: functional.linear(x, weight)  # noqa: E731
    else:
        model = model_for(bench, point["model"])
        seated = seated_rows(point["rows"], 256, model.repetitions, point["heads"])
        work, _ = pass_work(decoder_for(bench, model), seated, "eager")
    for _ in range(5):
        work()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStart()
    work()
    torch.cuda.synchronize()
    torch.cuda.cudart().cudaProfilerStop()


def parse(text: str) -> dict[str, float]:
    """Sums over all kernels of Nsight Compute's raw CSV page, by our names; `kernels` counts them."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    if len(rows) < 3:
        raise NotMeasuredError("Nsight Compute printed no table")
    head, units, cells = rows[0], rows[1], rows[2:]
    found: dict[str, float] = {"kernels": float(len(cells))}
    for name, metric in METRICS.items():
        if metric not in head:
            continue
        place = head.index(metric)
        scale = SCALE.get(units[place], 1)
        found[name] = sum(float(row[place].replace(",", "")) * scale for row in cells)
    return found


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    program = shutil.which("ncu") or shutil.which("/usr/local/cuda/bin/ncu")
    if program is None:
        raise NotMeasuredError("Nsight Compute (ncu) is absent")
    command = [program, "--csv", "--page", "raw", "--clock-control", "none", "--cache-control", "none", "--replay-mode",
               "application", "--profile-from-start", "off", "--metrics", ",".join(METRICS.values()),
               sys.executable, "-m", MODULE, "target", "--device", bench.device, "--point", json.dumps(dict(point))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    if done.returncode:
        told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("==")]
        raise NotMeasuredError(f"ncu failed: {(told or ['no reason given'])[-1][:160]}")
    found = parse(done.stdout)
    duration = found.pop("duration_ns", None)
    return {**found, "median_us": None if duration is None else duration / 1e3, "repeats": 1, "remark": "counted once"}


VALUES = ("kernels", *(name for name in METRICS if name != "duration_ns"))
KERNEL_COUNTERS = Experiment(
    "kernel_counters", "hardware counters of a bf16 linear layer, caches as they are", ("n", "k", "rows"), VALUES,
    _kernel_points, _measure, 600, ("cuda",))
PASS_COUNTERS = Experiment(
    "pass_counters", "hardware counters of one eager pass, caches as the pass before left them",
    ("model", "rows", "heads"), VALUES, _pass_points, _measure, 300, ("cuda",))
