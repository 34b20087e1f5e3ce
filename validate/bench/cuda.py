"""kernels.cu as a shared library: nvcc builds it once a card, ctypes calls it on torch's current stream.

Whatever is missing (no nvcc, no card, a compiler error) is a NotMeasuredError; its reason goes into the table.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..refusal import NotMeasuredError

SOURCE = Path(__file__).with_name("kernels.cu")
POINTER, SIZE, INT, FLOAT, LONG = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_float, ctypes.c_longlong)
SIGNATURES = {
    "chain_stream": (INT, INT, INT, INT, POINTER, POINTER),
    "chain_graph": (INT, INT, INT, INT, POINTER, ctypes.POINTER(POINTER)),
    "graph_launch": (POINTER, POINTER),
    "graph_free": (POINTER,),
    "chain_persistent": (INT, INT, INT, POINTER, POINTER, POINTER),
    "l2_read": (POINTER, SIZE, INT, INT, INT, INT, POINTER, POINTER),
    "stream_write": (POINTER, SIZE, FLOAT, INT, INT, POINTER),
    "stream_copy": (POINTER, POINTER, SIZE, INT, INT, POINTER),
    "pointer_chase": (POINTER, INT, POINTER, POINTER, POINTER),
    "clock_spin": (INT, INT, LONG, POINTER, POINTER, POINTER),
    "l2_window": (POINTER, POINTER, SIZE, FLOAT, INT),
    "l2_set_aside": (SIZE,),
    "l2_forget": (),
}
"""Arguments of each function, in order; pointers are addresses on the device, streams too."""


def build(architecture: str, folder: Path) -> Path:
    """The library for an architecture (`90`), built into `folder` unless it is there."""
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        raise NotMeasuredError("nvcc is absent")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    library = folder / f"speedsim_bench_sm{architecture}_{digest}.so"
    if not library.exists():
        target = f"arch=compute_{architecture},code=sm_{architecture}"
        command = [nvcc, "-O3", "-std=c++17", "-shared", "-Xcompiler", "-fPIC", "-gencode", target, str(SOURCE), "-o"]
        partial = library.with_suffix(".partial")
        done = subprocess.run([*command, str(partial)], capture_output=True, text=True, timeout=180, check=False)
        if done.returncode:
            reason = next((line for line in done.stderr.splitlines() if "error" in line), "no reason given")
            raise NotMeasuredError(f"nvcc failed: {reason.strip()[:200]}")
        partial.replace(library)
    return library


class Kernels:
    """The library's functions, called on torch's current stream."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        for name, arguments in SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes = arguments
            function.restype = LONG if name == "l2_set_aside" else INT

    def call(self, name: str, *arguments: Any, on_stream: bool = True) -> int:
        """Call a function; tensors are passed by address, the current stream comes last. Raises on a CUDA error."""
        plain = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        if on_stream:
            plain.append(torch.cuda.current_stream().cuda_stream)
        code = int(getattr(self._library, name)(*plain))
        if name == "l2_set_aside" and code >= 0:
            return code
        if code:
            raise NotMeasuredError(f"{name}: CUDA error {abs(code)}")
        return 0

    def chain_graph(self, nodes: int, blocks: int, threads: int, dependent: bool, data: Tensor) -> ctypes.c_void_p:
        """A graph of a chain of kernels."""
        made = ctypes.c_void_p()
        self.call("chain_graph", nodes, blocks, threads, int(dependent), data, ctypes.byref(made), on_stream=False)
        return made


@lru_cache(maxsize=1)
def kernels() -> Kernels:
    """The library for the current card."""
    if not torch.cuda.is_available():
        raise NotMeasuredError("no CUDA device")
    major, minor = torch.cuda.get_device_capability()
    folder = Path(tempfile.gettempdir())
    return Kernels(build(f"{major}{minor}", folder))
