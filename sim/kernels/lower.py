"""From a pass to its kernels: the plan's steps with the demands of this model at this pass's rows.

    embedding and prelude   rows that enter
    group, U layers         all rows, each against the keys and values of its own depth
    coda, exit              rows whose head is read

Weights are read once per kernel, whatever the rows. Keys and values belong to one layer instance: rows of different
depths share none; rows of one sequence at one depth (a verification, siblings of a tree) read their common prefix once
and their own tails apart. Those of one instance lie together for the cache, whichever places of the batch they are of.
Activations between kernels are counted at every kernel's border.
Ignored: the arithmetic outside matrices and attention (it never decides a decode step).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ..model import Model
from ..plan import Plan
from ..stack import Kernels
from .attention import COMBINED_ROWS, Backend, Part, attention, cross_attention
from .demand import Access, Demand, Grid, Kernel, Tensor
from .encoder import encoder
from .matrix import Library, linear

_HEAD_LAYER = "linear:head_layer"
"""A step of no plan: drafters with layers in their heads add the activation and the residual within."""

_SAMPLING = ("argmax", "softmax", "sort", "scan", "mask", "sample", "reject")

_ROUTING = ("linear:router", "route", "route")
"""The choice of experts, and the order of rows by expert that the grouped products need."""
_SHARED = ("linear:shared_up", "activation", "linear:shared_down")

MOST_KEPT = 4096
"""Lowered shapes kept at a time."""


class RowShape(NamedTuple):
    """What a row's kernels depend on."""

    place: int
    """Place in the batch."""
    depth: int
    context: int
    """Keys it attends to, its own included, rounded up to the attention block."""
    read: bool
    """Whether its head is read."""
    own: int | None = None
    """Keys that no row before it reads at the same depth and place; None: all of its context, the first row there."""
    coda_own: int | None = None
    """The same among the rows whose head is read, which meet in the coda."""


class PassShape(NamedTuple):
    """What a pass's kernels depend on: equal shapes have equal kernels."""

    rows: tuple[RowShape, ...]
    width: int
    """Rows that run, padded and idle ones included."""
    entering: int
    """Rows that run the embedding, at the pass's width."""
    heads: int
    """Rows that run the head, at the pass's width."""
    repetitions: int = 1
    source_tokens: int = 0
    """Length of the cross-attention."""
    prompt: bool = False
    """Whether each row stands for a whole prompt of its context's length, taken in at once."""
    meets: bool = False
    """Whether several rows read keys and values of one layer instance and place."""


def prefill_shape(tokens: int, repetitions: int, source_tokens: int = 0) -> PassShape:
    """A prompt of so many tokens through the whole model, behind its encoder; the head is read for its last token."""
    rows, heads = ((RowShape(0, 0, tokens, True),), 1) if tokens else ((), 0)
    return PassShape(rows, tokens, tokens, heads, repetitions, source_tokens, prompt=True)


@dataclass(frozen=True, slots=True)
class Lowering:
    """Lowers passes of one model under one plan."""

    model: Model
    plan: Plan
    software: Kernels
    """The stack's kernel libraries."""
    generation: str
    """Whose numbers of theirs apply."""
    sms: int
    _known: dict[PassShape, tuple[Kernel, ...]] = field(default_factory=dict, compare=False, repr=False)
    _steps_known: dict[tuple[object, ...], tuple[Kernel, ...]] = field(default_factory=dict, compare=False, repr=False)

    def kernels(self, shape: PassShape) -> tuple[Kernel, ...]:
        """The pass's kernels in order; equal shapes recur on other states of the cache, equal kernels in most."""
        known = self._known.get(shape)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
                self._steps_known.clear()
            known = self._known[shape] = tuple(self._pass(shape))
        return known

    def _pass(self, shape: PassShape) -> Iterator[Kernel]:
        model = self.model
        if shape.prompt and shape.source_tokens and model.encoder_layers:
            yield from encoder(self, prefill_shape(shape.source_tokens, 1)._replace(heads=0))
        if shape.prompt and not shape.width:
            return
        if shape.entering:
            if model.layers or model.adapter:
                yield from self._steps("embedding", self.plan.embedding, shape.entering, (), shape)
            entered = tuple(r for r in shape.rows if r.depth == 0)
            for number in range(model.prelude):
                yield from self._layer(("prelude", number), number, shape.entering, entered, shape)
        for sweep in range(shape.repetitions):
            rows = tuple(r._replace(depth=r.depth + sweep) for r in shape.rows)
            if model.adapter:
                yield from self._steps("group", self.plan.adapter, shape.width, (), shape)
            for number in range(model.group_layers):
                yield from self._layer(("group", number), None, shape.width, rows, shape)
        if shape.heads:
            read = tuple(r._replace(own=r.coda_own) for r in shape.rows if r.read)
            behind = model.prelude + model.group_layers * model.repetitions
            for number in range(model.coda):
                yield from self._layer(("coda", number), behind + number, shape.heads, read, shape)
            for number in range(model.heads.count):
                exit = f"exit{number or ''}"
                for layer in range(model.heads.layers):
                    yield from self._steps(f"{exit}.{layer}", (_HEAD_LAYER,), shape.heads, (), shape)
                yield from self._steps(exit, self.plan.exit, shape.heads, (), shape)

    def _layer(self, layer: tuple[str, int], instance: int | None, width: int,
               rows: tuple[RowShape, ...], shape: PassShape) -> Iterator[Kernel]:
        """One physical layer; `instance` is None in the group, where it follows from each row's depth."""
        first = self.model.prelude + layer[1]
        of = tuple((first + r.depth * self.model.group_layers if instance is None else instance, r) for r in rows)
        yield from self._steps(f"{layer[0]}{layer[1]}", self.plan.layer(self.model.cross_attention), width, of, shape)

    def _steps(self, where: str, steps: tuple[str, ...], width: int,
               of: tuple[tuple[int, RowShape], ...], shape: PassShape) -> Iterator[Kernel]:
        for step in self._with_experts(steps):
            # What touches no keys and values is the same whatever the contexts.
            key = (where, step, width, of, shape) if "attention" in step or "kv_write" in step else (where, step, width)
            known = self._steps_known.get(key)
            if known is None:
                known = self._steps_known[key] = tuple(self._kernels(where, step, width, of, shape))
            yield from known

    def _with_experts(self, steps: tuple[str, ...]) -> Iterator[str]:
        """The steps; a mixture of experts is routed before, and its shared experts run before the others."""
        experts = self.model.experts
        for step in steps:
            if experts is not None and "linear:up" in step:
                yield from _ROUTING
                if experts.shared:
                    yield from _SHARED
            yield step
            if experts is not None and "linear:down" in step:
                yield "gather"

    def _kernels(self, where: str, step: str, width: int,
                 of: tuple[tuple[int, RowShape], ...], shape: PassShape) -> Iterator[Kernel]:
        """One step: the operations joined in it read the first's input, what each adds, and write the last's output.

        A matrix or an attention that is split ends with a kernel of its own that joins the parts.
        """
        model = self.model
        operations = step.split("+")
        flop, again, reads, writes, family = 0, 0, [], [], "elementwise"
        grid, splits, copies, shared, tiles = self._grid(width), 1, 0, False, None
        quantised, operand = None, model.dtype.activations
        for operation in operations:
            name, _, weight = operation.partition(":")
            if name == "linear":
                size = (*self._matrix(weight), width, self._sent(weight))
                matrix = linear(model, where, weight, size, Library(self.software.gemm, self.generation, self.sms))
                flop, again, shared = flop + matrix.flop, matrix.again_bytes, matrix.shared
                reads.append(matrix.read)
                grid, splits, family = matrix.grid, matrix.splits, matrix.family
                quantised, operand, tiles = matrix.quantised, matrix.operand, matrix.tiles
            elif name in ("attention", "cross_attention"):
                part = self._attention(name, where, width, of, shape)
                flop, again, family = flop + part.flop, part.again_bytes, "attention"
                reads += part.reads
                grid, splits, copies = part.grid, part.joined, part.cut.copies
            elif name == "kv_write":
                tokens = width if shape.prompt else 1
                writes += [Access(Tensor(("kv", i), "kv"), model.kv_bytes * tokens) for i, _ in of]
                family = "kv_cache" if len(operations) == 1 else family
            elif name in _SAMPLING:
                family = "sampling"
            elif name == "add":
                reads.append(_between(model, width * model.d_model))
        dtype, called = model.dtype.activations, f"{where}.{step}"
        entering = _between(model, width * self._elements(operations[0], entering=True))
        if quantised is not None:
            yield Kernel(f"{called}.quantise", "quantise",
                         Demand(dtype, 0, (entering,), (quantised,), self._grid(width)))
        reads.append(quantised or entering)
        out = width * self._elements(operations[-1], entering=False)
        parts = _partial(out * splits)
        writes.append(_between(model, out) if splits == 1 else parts)
        main = Kernel(called, family, Demand(operand, flop, tuple(reads), tuple(writes), grid, again, shared, tiles))
        yield from self._surrounded(main, width, _between(model, out), parts if splits > 1 else None, splits, copies)

    def _surrounded(self, main: Kernel, width: int, result: Access, parts: Access | None, splits: int,
                    copies: int) -> Iterator[Kernel]:
        """The kernel, what joins its parts, and the copies of the wrapper around it."""
        dtype, name = self.model.dtype.activations, main.name
        copy = Kernel(f"{name}.copy", "transpose" if copies > 1 else "elementwise",
                      Demand(dtype, 0, (result,), (result,), self._grid(width)))
        if copies > 1:
            yield copy
        yield main
        if parts is not None:
            matrix = main.family == "gemm"
            grid = self._grid(width) if matrix else self._grid(-(-width * self.model.q_heads // COMBINED_ROWS), splits)
            yield Kernel(f"{name}.join", "join" if matrix else "combine", Demand(dtype, 0, (parts,), (result,), grid))
        if copies:
            yield copy

    def _attention(self, name: str, where: str, width: int, of: tuple[tuple[int, RowShape], ...],
                   shape: PassShape) -> Part:
        """Attention to what was decoded, or to the source."""
        backend = Backend(self.software.attention, self.generation, self.sms)
        if name == "cross_attention":
            rows = tuple(r for _, r in of)
            part = cross_attention(self.model, where, rows, shape.source_tokens, backend, width if shape.prompt else 1)
        else:
            part = attention(self.model, of, backend, width if shape.prompt else 1)
            if shape.prompt:
                # Token i of a prompt attends to i + 1 keys: half of the square, and one read of keys and values.
                part = part._replace(flop=part.flop * ((width + 1) // 2))
        return part

    def _sent(self, weight: str) -> int:
        """Experts that a row passes in this matrix, or 1."""
        experts = self.model.experts
        return experts.active if experts is not None and weight in ("up", "down") else 1

    def _matrix(self, weight: str) -> tuple[int, int]:
        if weight == "head":
            return self.model.vocab, self.model.d_model
        if weight == "head_layer":
            return self.model.d_model, self.model.d_model
        if weight == "adapter":
            return self.model.d_model, 2 * self.model.d_model
        return self.model.linear[weight]

    def _grid(self, ctas: int, steps: int = 1) -> Grid:
        """CTAs of a kernel that is no matrix and no attention."""
        return Grid(ctas, steps, self.software.inflight_bytes)

    def _elements(self, operation: str, *, entering: bool) -> int:
        """Elements of one row that an operation takes in, or hands on."""
        model = self.model
        name, _, weight = operation.partition(":")
        if name == "linear":
            n, k = self._matrix(weight)
            return self._sent(weight) * (k if entering else n)
        experts = model.experts
        ffn = model.ffn if experts is None else experts.active * experts.ffn
        heads, both = model.q_heads * model.head_dim, 2 * model.kv_heads * model.head_dim
        taken, handed = {
            "embed": (model.d_model, model.d_model),
            "norm": (model.d_model, model.d_model),
            "add": (model.d_model, model.d_model),
            "copy": (model.d_model, model.d_model),
            "rope": (heads + both, heads + both),
            "kv_write": (both, heads),
            "attention": (heads, heads),
            "cross_attention": (heads, heads),
            "activation": (2 * ffn if model.gated else ffn, ffn),
            "route": (experts.count if experts else 1, 2 * experts.active if experts else 1),
            "gather": (experts.active * model.d_model if experts else model.d_model, model.d_model),
            "argmax": (model.vocab, 2),
            "softmax": (model.vocab, model.vocab),
            "sort": (2 * model.vocab, 2 * model.vocab),
            "scan": (model.vocab, model.vocab),
            "mask": (2 * model.vocab, model.vocab),
            "sample": (model.vocab, 2),
            "reject": (2 * model.vocab, model.vocab),
        }[name]
        return taken if entering else handed


def _between(model: Model, elements: int) -> Access:
    return Access(Tensor(("activations",), "activations"), model.activation_bytes(elements))


def _partial(elements: int) -> Access:
    """Partial results, always in fp32."""
    return Access(Tensor(("activations",), "activations"), 4 * elements)
