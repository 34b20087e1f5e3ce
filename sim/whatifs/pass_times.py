"""Pass times for other simulators: what a pass of so many rows over so long a context takes.

Each pass is settled (one_pass.py): the cache holds what the passes before left in it, nobody decides between two. The
plain form has a row for each number of rows and context. Vidur's form (microsoft/vidur, data/profiling/compute) has a
column for each operation of a layer, in ms, in mlp.csv and attention.csv. What a plan fuses stands at the first
operation of the fused kernel, the others are 0; a prediction has no spread, so min, max, mean and median are equal.
Like Vidur's, these are times inside kernels: the gaps between them are in the plain form alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..one_pass import Machinery, pass_kernels, pass_time, pipeline_rows
from ..scenario import Resolved, Scenario, resolve

if TYPE_CHECKING:
    import pandas as pd

ROWS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
CONTEXTS = (128, 512, 1024, 2048, 4096, 8192)
OPERATIONS = {
    "embed": "emb", "linear:qkv": "attn_pre_proj", "rope": "attn_rope", "linear:out": "attn_post_proj",
    "linear:up": "mlp_up_proj", "activation": "mlp_act", "linear:down": "mlp_down_proj",
}
"""Vidur's names of our operations; norms and sums are named by where they stand."""
STATISTICS = ("min", "max", "mean", "median", "std")


def predictor(scenario: Scenario | None = None, rows: Sequence[int] = ROWS, contexts: Sequence[int] = CONTEXTS
              ) -> pd.DataFrame:
    """One row for each number of rows and context, the head read for all rows.

    Columns: rows, context, width (rows that run: the next captured width), time_us, kernels, and time_us by bound.
    """
    import pandas as pd

    mine = resolve(replace(scenario or Scenario(), record="summary"))
    on, model = _machinery(mine), mine.model.value
    found = []
    for context in contexts:
        for count in rows:
            one = pass_time(on, model, pipeline_rows(count, context, model.repetitions), count)
            found.append({"rows": count, "context": context, "width": _width(mine, count),
                          "time_us": one.time_ps / 1e6, "kernels": one.kernels,
                          **{f"time_us.{bound}": time / 1e6 for bound, time in one.bound_ps.items()}})
    return pd.DataFrame(found)


def vidur(scenario: Scenario | None = None, rows: Sequence[int] = ROWS, contexts: Sequence[int] = CONTEXTS
          ) -> dict[str, pd.DataFrame]:
    """The same for Vidur: {"mlp.csv": one row a number of tokens, "attention.csv": one row a batch and context}."""
    import pandas as pd

    mine = resolve(replace(scenario or Scenario(), record="summary"))
    on, model = _machinery(mine), mine.model.value
    shape = {"n_head": model.q_heads, "n_kv_head": model.kv_heads, "n_embd": model.d_model,
             "n_expanded_embd": model.ffn, "vocab_size": model.vocab, "use_gated_mlp": model.gated,
             "num_tensor_parallel_workers": 1}
    dense, attention = [], []
    for count in rows:
        for place, context in enumerate(contexts):
            spans = pass_kernels(on, model, pipeline_rows(count, context, model.repetitions, one_depth=True), count)
            times = _by_operation([(span.name, span.duration_ps) for span in spans])
            if not place:
                names = (*OPERATIONS.values(), "input_layernorm", "post_attention_layernorm", "add")
                dense.append({**_statistics(names, times), **shape, "num_tokens": count})
            attention.append({
                **_statistics(("attn_decode", "attn_kv_cache_save"), times), "n_embd": model.d_model,
                "n_q_head": model.q_heads, "n_kv_head": model.kv_heads,
                "block_size": mine.stack.value.kernels.attention.block, "num_tensor_parallel_workers": 1,
                "max_model_len": max(contexts), "batch_size": count, "prefill_chunk_size": 0,
                "kv_cache_size": context, "is_prefill": False,
                "attention_backend": mine.stack.value.kernels.attention.backend,
            })
    return {"mlp.csv": pd.DataFrame(dense), "attention.csv": pd.DataFrame(attention)}


def _machinery(mine: Resolved) -> Machinery:
    return Machinery(mine.gpu.value, mine.stack.value, mine.plan.value, mine.launch, mine.scenario.tier)


def _width(mine: Resolved, rows: int) -> int:
    """The captured width that a pass of so many rows runs at."""
    widths = mine.stack.value.widths if mine.launch.startswith("graph") else None
    return next((width for width in widths or () if width >= rows), rows)


def _by_operation(kernels: Iterable[tuple[str, int]]) -> dict[str, float]:
    """Milliseconds of one layer's operations under Vidur's names, from (kernel's name, picoseconds) of a pass."""
    found: dict[str, float] = {}
    norms = 0
    for name, time in kernels:
        where, _, step = name.partition(".")
        if where not in ("embedding", "group0"):
            continue
        operation = step.removesuffix(".join").split("+")[0]
        if operation in ("attention", "cross_attention"):
            known = "attn_decode"
        elif operation == "kv_write":
            known = "attn_kv_cache_save"
        elif operation == "norm" or step == "add+norm":
            norms += 1
            known = "input_layernorm" if norms == 1 else "post_attention_layernorm"
        else:
            known = OPERATIONS.get(operation, "add")
        found[known] = found.get(known, 0.0) + time / 1e9
    return found


def _statistics(names: Iterable[str], times: dict[str, float]) -> dict[str, Any]:
    return {f"time_stats.{name}.{what}": 0.0 if what == "std" else times.get(name, 0.0)
            for name in names for what in STATISTICS}
