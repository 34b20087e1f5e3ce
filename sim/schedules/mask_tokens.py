"""Mask tokens that the target itself fills in: proposals without a second model (BiTA, arXiv:2401.12522; ParallelSpec,
2410.05589, trains a drafter so).

Behind the root and behind every proposed token stand k masks, whose heads say the k tokens that would follow it. The
masks behind the last accepted token are the next round's proposals, so drafting and checking are one pass:

    rows of a pass = (k + 1) x (1 + k), k right of them at most

Ignored: prompts that the training puts before the masks; trees of guesses (one chain is kept).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Ids, Issue, Needs, Oracle, Program, Row, Text, Wait
from ._rounds import MOST_ROWS, Path, chain, proposed, rounds, settle, start, verification


@dataclass(frozen=True, slots=True)
class MaskTokens:
    """k: masks behind a token."""

    k: int = 3

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} is below 1")
        if (self.k + 1) ** 2 > MOST_ROWS:
            raise ValueError(f"k={self.k}: more than {MOST_ROWS:,} rows")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The target alone."""
        return Needs()

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """The first round knows no guesses."""
        return (1 + rounds(tokens - 1, self.k) if tokens > 1 else 1) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round."""
        place = start(text)
        while not place.over(text):
            root = place.root(text, ids)
            nodes: dict[Path, Row] = {}
            if place.committed:
                nodes = proposed(root, chain(place.room(text, self.k)), ids)
            masks: list[Row] = []
            for row in (root, *nodes.values()):
                masks += proposed(row, chain(self.k), ids).values()
            item = verification(root, nodes, text, ids, masks)
            yield Issue(item)
            yield Wait(frozenset((item.id,)))
            place = yield from settle(oracle, "masks", root, nodes, masks)


NAME = "mask_tokens"
SCHEDULE = MaskTokens
