"""Heads that guess several tokens ahead side by side, checked as a tree (Medusa, arXiv:2401.10774).

The heads stand on the target's last state, so they run behind the same launch as the verification, for every row of it:
which row's guesses count is known only with what was accepted. A round is one launch and one decision.

    time of a round = one pass of 1 + nodes rows + heads over as many rows + the host's work on the tree

The same with other trainings: Clover 2405.00263, CTC drafter 2412.00061, Chimera 2402.15758. Heads that read each
other's guesses one after the other (Hydra 2402.05109, Clover-2 2408.00264) are `eagle`.
Ignored: which nodes of the tree training would choose; kernels that build the tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..program import Compact, Host, Ids, Issue, Needs, Oracle, Pass, Program, Row, Text, Wait
from ._rounds import Path, proposed, rounds, settle, sparse, start, verification


@dataclass(frozen=True, slots=True)
class HeadTree:
    """heads: the model of the heads. depth: levels of the tree, a head each. width: choices of a head. nodes: most
    proposed tokens. cache: `paged` finds accepted keys where they are, `compact` copies them together."""

    heads: str | None = None
    depth: int = 4
    width: int = 10
    nodes: int = 63
    cache: Literal["paged", "compact"] = "paged"

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.nodes) < 1:
            raise ValueError(f"depth={self.depth}, width={self.width} or nodes={self.nodes} is below 1")
        if self.cache not in ("paged", "compact"):
            raise ValueError(f"cache={self.cache!r} is neither paged nor compact")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The heads."""
        if self.heads is None:
            raise ValueError("heads=MODEL is missing: heads alone, group_layers 0")
        return Needs(models=(("heads", self.heads),), host=("tree",), concurrent=self.cache == "compact")

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """The first round knows no guesses; then as deep as the tree is."""
        deepest = max(map(len, sparse(self.depth, self.width, self.nodes)))
        return (1 + rounds(tokens - 1, deepest) if tokens > 1 else 1) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round."""
        place = start(text)
        while not place.over(text):
            root = place.root(text, ids)
            nodes: dict[Path, Row] = {}
            if place.committed:
                nodes = proposed(root, sparse(place.room(text, self.depth), self.width, self.nodes), ids)
                yield Host("tree")
            item = verification(root, nodes, text, ids)
            yield Issue(item)
            heads = Pass(ids.a_pass(), item.rows, item.exits, model="heads")
            yield Issue(heads)
            yield Wait(frozenset((item.id, heads.id)))
            place = yield from settle(oracle, "heads", root, nodes)
            if self.cache == "compact" and len(place.committed) > 1:
                yield Compact(text.sequence, tuple([row.token for row in place.committed[1:]]))


NAME = "heads"
SCHEDULE = HeadTree
