"""A block drafted in one pass (DFlash, arXiv:2602.06036): a small model fills k places at once, the target checks them.

    time of a round = one draft of k rows + one pass of k+1 rows

Against `draft` the k small passes become one, which pays where a small pass is bound by launches and latency; against
`mask_tokens` the target's pass stays narrow. Source: the paper's abstract and tables; the drafter reads the target's
states, as EAGLE's does. Ignored: steps of refinement of the block.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Ids, Issue, Needs, Oracle, Pass, Program, Row, Text
from ._rounds import chain, check, proposed, rounds, start


@dataclass(frozen=True, slots=True)
class Block:
    """draft: the model that fills the block. k: its tokens."""

    draft: str | None = None
    k: int = 15

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} is below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The drafter."""
        if self.draft is None:
            raise ValueError("draft=MODEL is missing: the model that fills the block")
        return Needs(models=(("draft", self.draft),))

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds of k+1 tokens."""
        return rounds(tokens, self.k) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round: text that the drafter has not run and k masks in one pass."""
        place = start(text)
        unseen: tuple[Row, ...] = ()
        while not place.over(text):
            root = place.root(text, ids)
            nodes = proposed(root, chain(place.room(text, self.k)), ids)
            if nodes:
                rows: tuple[Row, ...] = (*unseen, root, *nodes.values())
                yield Issue(Pass(ids.a_pass(), rows, tuple([row.token for row in nodes.values()]), model="draft"))
            place = yield from check(oracle, "block", root, nodes, text, ids)
            # What the masks left in the drafter's cache is no text: it runs the committed tokens again.
            unseen = tuple([row._replace(source=None) for row in place.committed[1:]])


NAME = "block"
SCHEDULE = Block
