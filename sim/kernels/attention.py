"""Decode attention: every row reads the keys and values of its own context.

    bytes = keys read by any row of (layer instance, sequence) * 2 * kv_heads * head_dim * size
    flop  = sum over rows of 4 * keys * q_heads * head_dim

Rows of one sequence at different depths read different layer instances, so no read is shared between them. Rows of one
sequence in one instance (a verification, siblings of a tree) share their prefix: it comes from the memory once, and
from the L2 as often as the backend's CTAs ask (splits.py). Cross-attention's keys and values are the same at every
depth, and one read serves all rows of a sequence. What is split is combined by a second kernel (FlashDecoding); a
wrapper that swaps heads and rows copies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..hardware import DTYPE_BITS
from ..model import Model
from ..stack import AttentionKernels, of_generation
from .demand import Access, Grid, Tensor
from .splits import Context, Cut, Heads, cut

if TYPE_CHECKING:
    from .lower import RowShape

UNIT = 128 * 128
"""Keys times elements of a head that AttentionKernels.step_cycles stands for."""
COMBINED_ROWS = 4
"""Rows of one head that a combining CTA takes."""


class Part(NamedTuple):
    """What attention adds to a kernel's demand."""

    flop: int
    reads: tuple[Access, ...]
    again_bytes: int
    """Of the reads, what several CTAs ask of the L2 beyond the first time."""
    grid: Grid
    cut: Cut

    @property
    def joined(self) -> int:
        """Parts of each context that a second kernel combines; 1: there is none."""
        return 1 if self.cut.inside or not self.cut.joined else self.cut.joined


class Backend(NamedTuple):
    """The library on one GPU."""

    kernels: AttentionKernels
    generation: str
    sms: int


def flop_per_key(model: Model) -> int:
    """Multiplications and additions of one row against one key and its value."""
    return 4 * model.q_heads * model.head_dim


def attention(model: Model, of: tuple[tuple[int, RowShape], ...], backend: Backend, tokens: int = 1) -> Part:
    """Self-attention of rows, of so many tokens each, against the keys and values of (layer instance, place)."""
    flop = sum(row.context for _, row in of) * flop_per_key(model)
    contexts: dict[tuple[int, int], Context] = {}
    for instance, row in of:
        keys, rows = contexts.get((instance, row.place), (0, 0))
        own = row.context if row.own is None else row.own
        contexts[instance, row.place] = Context(keys + own, rows + tokens)
    together: dict[int, int] = {}
    for (instance, _), (keys, _) in sorted(contexts.items()):
        together[instance] = together.get(instance, 0) + keys * model.kv_bytes
    reads = tuple(Access(Tensor(("kv", instance), "kv"), size) for instance, size in together.items())
    return _part(model, flop, reads, tuple(contexts.values()), backend)


def cross_attention(model: Model, layer: str, rows: tuple[RowShape, ...], source_tokens: int,
                    backend: Backend, tokens: int = 1) -> Part:
    """Attention of rows, of so many tokens each, to the encoder's output: one set of keys and values per physical layer
    and sequence."""
    flop = len(rows) * tokens * source_tokens * flop_per_key(model)
    places: dict[int, int] = {}
    for row in rows:
        places[row.place] = places.get(row.place, 0) + tokens
    reads = tuple(
        Access(Tensor(("cross", layer, place), "kv"), source_tokens * model.kv_bytes) for place in places
    )
    return _part(model, flop, reads, tuple(Context(source_tokens, many) for many in places.values()), backend)


def cut_of(model: Model, contexts: tuple[Context, ...], backend: Backend) -> Cut:
    """How the library cuts the model's attention to these contexts."""
    kernels, generation = backend.kernels, backend.generation
    heads = Heads(model.q_heads, model.kv_heads, model.head_dim, DTYPE_BITS[model.dtype.kv], model.window or 0)
    return cut(of_generation(kernels.backend, generation), contexts, heads, backend.sms,
               of_generation(kernels.most_splits, generation))


def _part(model: Model, flop: int, reads: tuple[Access, ...], contexts: tuple[Context, ...],
          backend: Backend) -> Part:
    contexts = tuple(Context(max(1, c.keys), c.rows) for c in contexts) or (Context(1),)
    made = cut_of(model, contexts, backend)
    again = sum(c.keys * (times - 1) for c, times in zip(contexts, made.asked, strict=True)) * model.kv_bytes
    step = made.block * model.head_dim * made.weight / UNIT
    inflight = backend.kernels.stages * made.block * model.kv_bytes // model.kv_heads
    grid = Grid(made.ctas, made.steps * step, inflight, joined=made.joined if made.inside else 0)
    return Part(flop, reads, again, grid, made)
