"""Draft with few repetitions, verify with all: self-speculation on a looped decoder.

A round writes k tokens one after the other, each through the first e repetitions; then all k do the remaining G - e at
once. A token whose exit e agrees with its last exit carries the next one along; the first that does not ends the round
with its own final token.

    repetitions of a round = k e + (G - e),    tokens of a round = (1 - a^k) / (1 - a) with acceptance a

The round's passes need no decision of the host: they are one launch.
Source: draft and verify (arXiv:2211.17192) with the target's own early exit, its states kept as in LayerSkip
(arXiv:2404.16710). Ignored: a choice of k by the draft's confidence.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Commit, Ids, Issue, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait


@dataclass(frozen=True, slots=True)
class LoopDraft:
    """draft_repetitions: e, repetitions of a drafted token. k: tokens of a round."""

    draft_repetitions: int = 1
    k: int = 4

    def __post_init__(self) -> None:
        if self.draft_repetitions < 1 or self.k < 1:
            raise ValueError(f"draft_repetitions={self.draft_repetitions} or k={self.k} is below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The draft's exit and the last."""
        if self.draft_repetitions >= repetitions:
            raise ValueError(f"draft_repetitions={self.draft_repetitions} is not below the model's {repetitions}")
        return frozenset((self.draft_repetitions, repetitions))

    def slots(self, repetitions: int) -> None:
        """No device form is written."""

    def needs(self) -> Needs:
        """The target alone."""
        return Needs(sampled=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds of k tokens, the last as short as need be."""
        return tokens * self.draft_repetitions + -(-tokens // self.k) * (repetitions - self.draft_repetitions)

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round."""
        early, last = self.draft_repetitions, text.repetitions
        position, parent = text.first, None
        while text.limit is None or position < text.first + text.limit:
            k = self.k if text.limit is None else min(self.k, text.first + text.limit - position)
            rows: list[Row] = []
            for ahead in range(k):
                source = (rows[-1].token, early) if rows else None
                above = rows[-1].token if rows else parent
                row = Row(ids.token(), text.sequence, position + ahead, 0, above, source)
                yield Issue(Pass(ids.a_pass(), (row,), (row.token,), early))
                rows.append(row._replace(depth=early))
            item = Pass(ids.a_pass(), tuple(rows), tuple([row.token for row in rows]), last - early)
            yield Issue(item)
            yield Wait(frozenset((item.id,)))
            done, ended = 0, False
            for row in rows:
                yield Commit(row.token)
                done += 1
                ended = oracle.ends(row)
                if ended or oracle.guess(row, early) != oracle.guess(row, last):
                    break
            yield Squash(tuple([row.token for row in rows[done:]]))
            if ended:
                return
            position, parent = position + done, rows[done - 1].token


NAME = "loop_draft"
SCHEDULE = LoopDraft
