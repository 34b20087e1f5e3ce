"""Attention of 1 to 16 rows over 1k to 16k keys, in every backend that this machine has.

    lanes   each row has keys and values of its own (rows of a pipeline: other depths, other sequences)
    chunk   all rows read the same keys and values (tokens to be verified together)

Backends: torch's four, asked for one by one; for lanes also the two of the harness, which read them from the cache in
place of a ready batch. A backend that refuses a case is written down as such. Times are of one call in a graph of ten
over ten sets of keys, as one layer after the other would ask, so keys are in the L2 only where all ten fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..attention import Lanes, backend
from ..refusal import NotMeasuredError
from .arithmetic import launched
from .experiment import Bench, Experiment

TORCH = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
         "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}
OWN = ("gather", "indirect")
LAYERS = 10
SHAPES = {"12x64": (12, 12, 64), "32x8x64": (32, 8, 64), "16x128": (16, 16, 128)}
"""(query heads, key heads, head) by name."""


def _points(bench: Bench) -> Iterable[dict[str, Any]]:
    backends = (*TORCH, *OWN) if bench.cuda else ("math", "flash", "gather")
    return ({"shape": shape, "layout": layout, "rows": r, "context": c, "backend": b}
            for shape, rows, contexts in _grids(bench) for layout in ("lanes", "chunk") for r in rows for c in contexts
            for b in backends if not (layout == "chunk" and b in OWN))


def _grids(bench: Bench) -> Iterable[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """(shape, rows, contexts): SPEED's shape on the whole grid, the others on its corners."""
    if bench.quick:
        return (("12x64", (1, 4), (128,)),)
    if not bench.cuda:
        return (("12x64", (1, 6), (1024, 4096)),)
    corners = (1, 6, 16), (1024, 4096, 16384)
    return ("12x64", (1, 2, 4, 6, 8, 16), (1024, 2048, 4096, 8192, 16384)), ("32x8x64", *corners), ("16x128", *corners)


def _measure(bench: Bench, point: Mapping[str, Any]) -> dict[str, Any]:
    q_heads, kv_heads, head = SHAPES[point["shape"]]
    rows, context, dtype = point["rows"], point["context"], torch.bfloat16 if bench.cuda else torch.float32
    lanes = rows if point["layout"] == "lanes" else 1
    size = 2 * lanes * context * kv_heads * head * dtype.itemsize
    kv = _cache(bench, lanes, context, kv_heads, head, dtype)
    query = bench.random(rows, q_heads, head, dtype=dtype)
    if point["backend"] in OWN:
        work = _own(point["backend"], query, kv, context)
    else:
        work = _torch(TORCH[point["backend"]], query, kv, lanes, q_heads != kv_heads)
    found = bench.time(launched(bench, work))
    for column in ("median_us", "mad_us", "lowest_us", "highest_us", "p99_us"):
        found[column] /= LAYERS
    return {"bytes": size, "bytes_per_s": size / found["median_us"] * 1e6, **found}


def _cache(bench: Bench, lanes: int, context: int, kv_heads: int, head: int, dtype: torch.dtype) -> Tensor:
    """[layers, 2, lanes, context, kv_heads, head], kept for the points that share it."""
    key = ("kv", lanes, context, kv_heads, head)
    if key not in bench.kept:
        bench.kept.clear()
        bench.kept[key] = bench.random(LAYERS, 2, lanes, context, kv_heads, head, dtype=dtype)
    cache: Tensor = bench.kept[key]
    return cache


def _own(name: str, query: Tensor, kv: Tensor, context: int) -> Callable[[], object]:
    """A backend of the harness over its cache layout, every row in a lane of its own."""
    try:
        attend = backend(name, str(kv.device))
    except ImportError:
        raise NotMeasuredError("Triton is absent") from None
    rows = torch.arange(len(query), device=kv.device)
    position = torch.full((len(query),), context - 1, device=kv.device)
    lanes = [Lanes(layer * 2 * len(query) + rows, len(query), position, context) for layer in range(LAYERS)]

    def work() -> None:
        for each in lanes:
            attend(query, kv, each)

    return work


def _torch(kind: SDPBackend, query: Tensor, kv: Tensor, lanes: int, grouped: bool) -> Callable[[], object]:
    """Torch's attention by one backend, the keys a ready batch."""
    q = query.unsqueeze(2) if lanes > 1 or len(query) == 1 else query.transpose(0, 1).unsqueeze(0)
    keys = [kv[layer].transpose(2, 3) for layer in range(LAYERS)]

    def work() -> None:
        with sdpa_kernel(kind):
            for each in keys:
                functional.scaled_dot_product_attention(q, each[0], each[1], enable_gqa=grouped)

    try:
        work()
    except RuntimeError as error:
        raise NotMeasuredError(f"refused: {' '.join(str(error).split())[:80]}") from None
    return work


ATTENTION = Experiment(
    "attention", "attention of few rows by backend, rows and context; one call of ten over ten sets of keys",
    ("shape", "layout", "rows", "context", "backend"), ("bytes", "bytes_per_s"), _points, _measure, 150)
