"""Copying from the text so far or from a store: no model drafts (prompt lookup; CopySpec, arXiv:2502.08923; REST,
2311.08252; suffix decoding, 2411.04975).

The host looks the last tokens up and proposes what followed them, as a chain or, from a store with several
continuations, as a tree. Nothing to copy is a copy that is wrong at its first token: its rows are still paid.

    time of a round = one look-up on the host + one pass of 1 + nodes rows

Ignored: that what can be copied stands together in real text (a recorded trace of steps has it).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Host, Ids, Needs, Oracle, Program, Text
from ._rounds import check, proposed, rounds, sparse, start


@dataclass(frozen=True, slots=True)
class Copying:
    """k: tokens of a copy. width: continuations of a token. nodes: most tokens that are checked; None: k."""

    k: int = 10
    width: int = 1
    nodes: int | None = None

    def __post_init__(self) -> None:
        if self.k < 1 or self.width < 1 or (self.nodes is not None and self.nodes < 1):
            raise ValueError(f"k={self.k}, width={self.width} or nodes={self.nodes} is below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host looks up."""

    def needs(self) -> Needs:
        """The look-up is the host's."""
        return Needs(host=("ngram", "tree") if self.width > 1 else ("ngram",))

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds as deep as the tree is."""
        return rounds(tokens, max(map(len, sparse(self.k, self.width, self.nodes or self.k)))) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round."""
        place = start(text)
        while not place.over(text):
            root = place.root(text, ids)
            yield Host("ngram")
            if self.width > 1:
                yield Host("tree")
            nodes = proposed(root, sparse(place.room(text, self.k), self.width, self.nodes or self.k), ids)
            place = yield from check(oracle, "copy", root, nodes, text, ids)


NAME = "copying"
SCHEDULE = Copying
