"""The published tables of kernel times: where they lie, which one counts, and their rows.

NVIDIA publishes times of linear layers and decode attention (package aiconfigurator-core, Apache-2.0) as Parquet
tables, DATA/gpu/op/framework/version/op_perf.parquet. Each row is the mean of a CUDA graph of many repetitions:

    linear     six weight buffers in rotation
    attention  one buffer of keys and values, read again by every repetition

The tables are read where they lie and are never part of this repository. GPUs are called there as they are here.
"""

from __future__ import annotations

import importlib.util
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from speedsim.registry import find, names
from speedsim.units import NotCoveredError

PACKAGE, RELEASE, EXTRA = "aiconfigurator-core", "0.12.0", "speedsim[silicon]"
_INSIDE = ("", "data", "systems/data", "aiconfigurator_core/systems/data")
DTYPES = {"bf16": ("bfloat16", "bf16"), "fp8": ("fp8", "fp8_tensor"), "fp8_block": ("fp8_block", "fp8_block"),
          "nvfp4": ("nvfp4", "nvfp4"), "int8_wo": ("int8_wo", "int8_wo"), "int4_wo": ("int4_wo", "int4_wo")}
"""Types by what the tables call them, and our formats of weights; attention has bf16 alone."""


class Op(NamedTuple):
    """One kind of table."""

    family: str
    file: str
    shape: tuple[str, ...]
    """Columns of a row's shape in the order of our arrays."""
    widest: int
    """Most rows, or sequences, that are scored."""


OPS = {
    "linear": Op("gemm", "gemm_perf.parquet", ("m", "n", "k"), 64),
    "attention": Op("attention", "generation_attention_perf.parquet",
                    ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "isl", "step"), 32),
}


class Table(NamedTuple):
    """One file."""

    gpu: str
    op: str
    framework: str
    version: str
    path: Path

    @property
    def stack(self) -> str:
        """The stack whose software it measured."""
        wanted = f"{self.framework}_{'_'.join(re.findall(r'[0-9]+', self.version)[:2])}"
        if wanted not in names("stacks"):
            raise NotCoveredError(f"{self.gpu}: no stack describes {self.framework} {self.version}; name one with "
                                  "--stack")
        return wanted


class Rows(NamedTuple):
    """Measured kernels; equal rows are merged into their median."""

    shapes: NDArray[np.int64]
    """Linear: rows, n, k. Attention: batch, heads, kv heads, head size, keys."""
    measured_us: NDArray[np.float64]
    dtype: str = "bf16"
    """Our format of the weights."""


def folder(given: str | None) -> Path:
    """The folder DATA: of the installed package, or inside the copy that is given."""
    if given is not None:
        for inside in _INSIDE:
            if any(list(Path(given, inside).glob(f"*/{op.family}/*/*/{op.file}")) for op in OPS.values()):
                return Path(given, inside)
        raise NotCoveredError(f"--data {given}: no tables of {PACKAGE} in it (GPU/gemm/FRAMEWORK/VERSION/gemm_perf"
                              f".parquet); {EXTRA} installs {PACKAGE}=={RELEASE}")
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise NotCoveredError(f"the published tables are missing: install {EXTRA}, which brings {PACKAGE}=={RELEASE}, "
                              "or name a copy with --data FOLDER")
    return Path(spec.origin).parent / "systems" / "data"


def release(given: str | None) -> str | None:
    """Version of the package; None for a copy."""
    try:
        return None if given is not None else version(PACKAGE)
    except PackageNotFoundError:
        return None


def tables(data: Path, op: str, gpu: str, framework: str | None = None) -> list[Table]:
    """The newest table of each framework, or of one."""
    newest: dict[str, Table] = {}
    for path in sorted(data.glob(f"{gpu}/{OPS[op].family}/{framework or '*'}/*/{OPS[op].file}")):
        one = Table(gpu, op, path.parts[-3], path.parts[-2], path)
        old = newest.get(one.framework)
        if old is None or order(old.version) < order(one.version):
            newest[one.framework] = one
    return list(newest.values())


def order(text: str) -> list[int]:
    """Versions by their numbers: 0.5.6.post2 before 0.5.14."""
    return [int(part) for part in re.findall(r"\d+", text)]


def covered(data: Path, op: str, wanted: str, framework: str) -> list[Table]:
    """The table of the GPU that is wanted, or of all that both the package and we have."""
    known = {path.name: path for path in sorted(data.iterdir()) if path.is_dir() and path.name in names("gpus")}
    chosen = list(known) if wanted == "all" else [find("gpus", wanted).stem]
    found = [table for gpu in chosen for table in tables(data, op, gpu, framework)]
    if not found:
        have = [gpu for gpu in known if tables(data, op, gpu, framework)]
        raise NotCoveredError(f"{wanted}: no {op} table of {framework} for it; {PACKAGE} {RELEASE} ({EXTRA}) has "
                              "nine GPUs, these tables " + (", ".join(have) or "none"))
    return found


def rows(table: Table, dtype: str, low: int, high: int) -> Rows:
    """The rows that are scored: low to high rows (or sequences), this type; attention without window, head size 128."""
    import pyarrow.parquet as pq

    if dtype not in DTYPES or (table.op == "attention" and dtype != "bf16"):
        raise NotCoveredError(f"--dtype {dtype}: not judged; there is {', '.join(DTYPES)} for linear layers, bf16 for "
                              "attention")
    op, name = OPS[table.op], DTYPES[dtype][0]
    width = op.shape[0]
    try:
        types = ("gemm_dtype",) if table.op == "linear" else ("attn_dtype", "kv_cache_dtype")
        held = pq.read_schema(table.path).names
        asked: list[Any] = [(column, "==", name) for column in types]
        asked += [(width, ">=", low), (width, "<=", high)]
        if table.op == "attention":
            asked += [("head_dim", "==", 128), ("beam_width", "==", 1)]
            asked += [("window_size", "==", 0)] if "window_size" in held else []
        missing = [column for column in (*op.shape, *types, "latency") if column not in held]
        if missing:
            raise NotCoveredError(f"{_called(table)}: column {missing[0]} is missing; it is no table of {PACKAGE} "
                                  f"{RELEASE} ({EXTRA})")
        read = pq.read_table(table.path, columns=[*op.shape, "latency"], filters=asked)
        columns = [read.column(c).to_numpy().astype(np.int64) for c in op.shape]
        latency = read.column("latency").to_numpy().astype(np.float64)
    except (OSError, ValueError, TypeError) as error:
        raise NotCoveredError(f"{_called(table)}: not a table of {PACKAGE} {RELEASE} ({EXTRA}): {error}") from None
    if table.op == "attention":
        columns = [*columns[:4], columns[4] + columns[5]]
    return _merged(np.stack(columns, axis=1), latency * 1e3)._replace(dtype=DTYPES[dtype][1])


def _called(table: Table) -> str:
    return f"{table.gpu}, {table.op}, {table.framework} {table.version}"


def _merged(shapes: NDArray[np.int64], measured: NDArray[np.float64]) -> Rows:
    """Sorted by shape, equal shapes once with their median."""
    unique, which = np.unique(shapes, axis=0, return_inverse=True)
    which = which.reshape(-1)
    if len(unique) == len(shapes):
        back = np.empty(len(shapes), dtype=np.float64)
        back[which] = measured
        return Rows(unique, back)
    return Rows(unique, np.array([np.median(measured[which == i]) for i in range(len(unique))]))
