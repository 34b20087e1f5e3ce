"""What the page calls things: the bounds and their order, the owners of bytes, the names of runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..timeline import BOUNDS

BOUND_NAMES = {
    "host": "host", "wait": "waiting", "launch": "launch", "latency": "kernel latency", "flop": "arithmetic",
    "l2": "L2 bandwidth", "hbm": "HBM bandwidth",
}
BOUND_MEANING = {
    "host": "the processor decides, or has not dispatched the kernel yet",
    "wait": "a pass of another stream, a transfer, or a turn on the device",
    "launch": "the gap between kernels, the start of a graph",
    "latency": "a kernel's own chain of loads and steps; neither bytes nor arithmetic would shorten it",
    "flop": "the tensor cores",
    "l2": "bytes through the L2",
    "hbm": "bytes from the memory",
}
TRAFFIC_NAMES = {"weights": "layer weights", "head": "exit head", "kv": "keys and values", "activations": "activations"}

assert set(BOUND_NAMES) == set(BOUNDS)


def run_name(key: str, document: Mapping[str, Any]) -> str:
    """A run as a reader says it: the schedule, or plain decoding of a model."""
    name, at, model = key.partition("@")
    if not at or name != "autoregressive":
        return key
    same = model == document["model"]["name"]
    return f"plain {model}" + (" (same model)" if same else "")
