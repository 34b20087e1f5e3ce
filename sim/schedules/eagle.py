"""Feature-level drafting as a tree (EAGLE, arXiv:2401.15077; EAGLE-2, 2406.16858; EAGLE-3, 2503.01840).

A drafter of one layer reads the target's states and writes the tree level by level: a pass of `width` rows for each
level, then the `nodes` likeliest of all that it wrote are checked at once.

    time of a round = depth drafts + one pass of 1 + nodes rows

Static trees (EAGLE) keep the same nodes always. Dynamic ones (EAGLE-2 and -3) choose them by the drafter's confidence,
which is where the acceptance of each rank comes from. Building, masking and walking the tree is host work `tree`, once
a round. With width=1 this is multi-token prediction with modules one
after the other (2404.19737; DeepSeek-V3 2412.19437), Hydra (2402.05109) and Clover-2 (2408.00264).
Ignored: kernels of the choice itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Host, Ids, Issue, Needs, Oracle, Pass, Program, Row, Text
from ._rounds import Path, check, proposed, rounds, sparse, start


@dataclass(frozen=True, slots=True)
class Eagle:
    """draft: the drafter, one layer on the target's states. depth: levels. width: rows of a drafting pass, and choices
    of each. nodes: most tokens that are checked."""

    draft: str | None = None
    depth: int = 5
    width: int = 10
    nodes: int = 60

    def __post_init__(self) -> None:
        if min(self.depth, self.width, self.nodes) < 1:
            raise ValueError(f"depth={self.depth}, width={self.width} or nodes={self.nodes} is below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The drafter."""
        if self.draft is None:
            raise ValueError("draft=MODEL is missing: one layer on the target's states")
        return Needs(models=(("draft", self.draft),), host=("tree",))

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds as deep as the tree is."""
        return rounds(tokens, max(map(len, sparse(self.depth, self.width, self.nodes)))) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round. The drafter runs what the target has just committed, then the tree's inner rows:
        of each level the `width` likeliest."""
        place = start(text)
        unseen: tuple[Row, ...] = ()
        while not place.over(text):
            root = place.root(text, ids)
            tree = sparse(place.room(text, self.depth), self.width, self.nodes)
            nodes = proposed(root, tree, ids)
            rows: tuple[Row, ...] = (*unseen, root)
            for level in range(max(map(len, tree), default=0)):
                yield Issue(Pass(ids.a_pass(), rows, tuple([row.token for row in _read(rows, level)]), model="draft"))
                rows = self._level(nodes, level + 1)
            yield Host("tree")
            place = yield from check(oracle, "eagle", root, nodes, text, ids)
            unseen = tuple([row._replace(source=None) for row in place.committed[1:]])

    def _level(self, nodes: dict[Path, Row], level: int) -> tuple[Row, ...]:
        """The rows of a level that are drafted on: its likeliest, with a child in the tree or not."""
        own = [path for path in nodes if len(path) == level]
        return tuple([nodes[path] for path in own[:self.width]])


def _read(rows: tuple[Row, ...], level: int) -> tuple[Row, ...]:
    """The rows whose head is read: of the first pass only the root's."""
    return rows if level else rows[-1:]


NAME = "eagle"
SCHEDULE = Eagle
