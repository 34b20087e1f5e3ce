"""Draft and verify with a model of its own (arXiv:2211.17192, 2302.01318): k tokens ahead, one pass checks all.

    tokens of a round = (1 - a^(k+1)) / (1 - a)        time of a round = k drafts + one pass of k+1 rows

The draft may be another model, or the target's own first layers (`draft=~8l`: LayerSkip 2404.16710, Kangaroo
2404.18911, SWIFT 2410.06916, Draft & Verify 2309.08168). With `stop` a draft ends where its own probability falls
below it (Kangaroo's rule; SVIP 2411.18462 bounds the same by entropy): the host then looks at every token.
Speculative cascades (2405.19261) are this schedule with the acceptance that their rule of deferral has.
With a temperature a proposal is accepted or rejected by the two models' probabilities, a kernel of the verification.
Ignored: that a self-draft's verification could leave out the layers it has run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Ids, Issue, Needs, Oracle, Pass, Program, Row, Text, Wait
from ._rounds import Path, chain, check, proposed, rounds, start


@dataclass(frozen=True, slots=True)
class Draft:
    """draft: the model that writes ahead. k: most tokens of a round. stop: least probability to write on, 0: none."""

    draft: str | None = None
    k: int = 4
    stop: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 1 or not 0 <= self.stop < 1:
            raise ValueError(f"k={self.k} is below 1, or stop={self.stop} is no probability below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The draft."""
        if self.draft is None:
            raise ValueError("draft=MODEL is missing: a model's name, or ~8l for the target's own first 8 layers")
        return Needs(models=(("draft", self.draft),), sampled=True, rejects=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds of k+1 tokens."""
        return rounds(tokens, self.k) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round; `unseen` is committed text that the draft has not run."""
        place = start(text)
        unseen: tuple[Row, ...] = ()
        while not place.over(text):
            root = place.root(text, ids)
            rows: tuple[Row, ...] = (*unseen, root)
            nodes: dict[Path, Row] = {}
            k = place.room(text, self.k)
            for ahead in range(k):
                last = rows[-1]
                item = Pass(ids.a_pass(), rows, (last.token,), model="draft")
                yield Issue(item)
                nodes = proposed(root, chain(ahead + 1), ids, nodes)
                rows = (nodes[(0,) * (ahead + 1)],)
                if self.stop and ahead + 1 < k:
                    yield Wait(frozenset((item.id,)))
                    if oracle.confidence("draft", text.sequence, last.position) < self.stop:
                        break
            place = yield from check(oracle, "draft", root, nodes, text, ids)
            # The draft has run the root and all but the last token that it wrote, or nothing at all.
            missed = place.committed[len(nodes):] if nodes else (*unseen, *place.committed)
            unseen = tuple([row._replace(source=None) for row in missed])


NAME = "draft"
SCHEDULE = Draft
