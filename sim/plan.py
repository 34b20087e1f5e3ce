"""An execution plan: which kernels a pass consists of, in order, and what is fused.

On a fast GPU every small kernel costs a microsecond or more whatever it does, so their number is data with a source
(workloads/plans/*.yaml), never a free choice in code. A step is one kernel: operations joined by `+` run in it.

    norm | linear:WEIGHT | rope | kv_write | attention | cross_attention | activation | add | embed | argmax

With a temperature the exit's arg-max is replaced by kernels of vocabulary x rows: what truncates the distribution
(top-k, top-p), what draws from it, and for proposals with probabilities of their own what accepts or rejects them.

    softmax | sort | scan | mask | sample | reject

Operations that only move tensors around in an unfused framework are steps as well: `copy`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OPERATIONS = frozenset((
    "embed", "norm", "rope", "kv_write", "attention", "cross_attention", "activation", "add", "argmax", "copy",
    "softmax", "sort", "scan", "mask", "sample", "reject",
))
WEIGHTS = frozenset(("qkv", "out", "cross_q", "cross_out", "up", "down", "adapter", "head"))
"""Matrices that a plan names; what a mixture of experts adds is launched before `up`, whatever the plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan; `name` is its file's. Each entry of the lists is one kernel."""

    name: str
    title: str
    embedding: tuple[str, ...]
    """For rows that enter."""
    adapter: tuple[str, ...] = ()
    """At the start of each repetition of a model that has an input adapter."""
    attention: tuple[str, ...]
    """The first part of a layer."""
    cross: tuple[str, ...] = ()
    """Between the parts of a layer with cross-attention."""
    ffn: tuple[str, ...]
    """The last part of a layer."""
    exit: tuple[str, ...]
    """For rows whose head is read, behind the coda; ends with `argmax`."""
    truncate: tuple[str, ...] = ()
    sample: tuple[str, ...] = ()
    reject: tuple[str, ...] = ()
    """Instead of the arg-max, with a temperature."""

    def __post_init__(self) -> None:
        for part in ("embedding", "adapter", "attention", "cross", "ffn", "exit", "truncate", "sample", "reject"):
            for step in getattr(self, part):
                for operation in step.split("+"):
                    name, _, weight = operation.partition(":")
                    if not ((name in OPERATIONS and not weight) or (name == "linear" and weight in WEIGHTS)):
                        raise ValueError(f"{part}: {operation!r} is no operation of a plan")

    def sampled(self, truncated: bool, rejecting: bool) -> Plan:
        """The plan with a temperature. ValueError if it does not say how its framework draws."""
        if not self.sample or self.exit[-1:] != ("argmax",):
            raise ValueError(f"plan {self.name} does not say which kernels draw a token")
        drawing = (*(self.truncate if truncated else ()), *(self.reject if rejecting else ()), *self.sample)
        return replace(self, exit=(*self.exit[:-1], *drawing))

    def layer(self, cross_attention: bool) -> tuple[str, ...]:
        """The kernels of one layer."""
        return self.attention + (self.cross if cross_attention else ()) + self.ffn
