"""Tables of kernel times made for a test, as the published package has them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq


def write_linear(data, shapes, microseconds, gpu="h200_sxm", where="vllm/0.24.0", dtype="bfloat16", drop=()):
    """A table of linear layers as the package has them."""
    m, n, k = zip(*shapes, strict=True)
    columns = {"framework": ["VLLM"] * len(m), "gemm_dtype": [dtype] * len(m), "m": m, "n": n, "k": k,
               "latency": [t / 1e3 for t in microseconds]}
    path = data / gpu / "gemm" / where / "gemm_perf.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: column for name, column in columns.items() if name not in drop}), path)


def write_attention(data, lines, gpu="h200_sxm", where="vllm/0.24.0", window=True):
    """Lines of (batch, heads, kv heads, head size, step, window, microseconds)."""
    columns = {name: [line[i] for line in lines] for i, name in enumerate(
        ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "step", "window_size"))}
    if not window:
        del columns["window_size"]
    columns |= {"isl": [1] * len(lines), "beam_width": [1] * len(lines), "attn_dtype": ["bfloat16"] * len(lines),
                "kv_cache_dtype": ["bfloat16"] * len(lines), "latency": [line[6] / 1e3 for line in lines]}
    path = data / gpu / "attention" / where / "generation_attention_perf.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
