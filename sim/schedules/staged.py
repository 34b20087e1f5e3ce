"""Drafts that are drafted: a smaller proposer writes for the draft, the draft writes for the target.

Staged speculative decoding (arXiv:2308.04623; the smaller one is a table of n-grams on the host), Cascade Speculative
Drafting (2312.11462), hierarchical speculation for long contexts (TriForce 2404.11912: `small` a small model, `draft`
the target itself with a sparse cache, `draft=~32l@4096`).

A turn of the draft checks `inner` tokens of the smaller one and adds its own, until k tokens stand; then the target
checks those. With acceptances b (small by draft) and a (draft by target):

    tokens of a turn = (1 - b^(inner+1)) / (1 - b),  tokens of a round = (1 - a^(k+1)) / (1 - a)

The draft's turns are decided on the host. Ignored: sampling; trees within a turn.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from ..program import Command, Host, Ids, Issue, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait
from ._rounds import Path, check, rounds, start


@dataclass(frozen=True, slots=True)
class Staged:
    """draft: the model that writes for the target. small: the model that writes for the draft; None: n-grams on the
    host. k: tokens of a round. inner: tokens of a turn of the smaller one."""

    draft: str | None = None
    small: str | None = None
    k: int = 8
    inner: int = 3

    def __post_init__(self) -> None:
        if self.k < 1 or self.inner < 1:
            raise ValueError(f"k={self.k} or inner={self.inner} is below 1")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The draft, and the smaller model or the host's table."""
        if self.draft is None:
            raise ValueError("draft=MODEL is missing: the model that writes for the target")
        models = (("draft", self.draft),) + ((("small", self.small),) if self.small is not None else ())
        return Needs(models=models, host=() if self.small is not None else ("ngram",))

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds of k+1 tokens."""
        return rounds(tokens, self.k) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one round of the target. `behind` is text, per model, that it has not run."""
        place = start(text)
        behind: dict[str, tuple[Row, ...]] = {"draft": (), "small": ()}
        while not place.over(text):
            root = place.root(text, ids)
            round_ = _Round(self.inner, self.small is not None, root, behind)
            k = place.room(text, self.k)
            while len(round_.line) <= k:
                yield from round_.turn(k, oracle, ids)
            nodes: dict[Path, Row] = {(0,) * n: row for n, row in enumerate(round_.line) if n}
            place = yield from check(oracle, "draft", root, nodes, text, ids)
            for model, waiting in behind.items():
                missed = [*waiting, *(row for row in place.committed if row.token not in round_.ran[model])]
                behind[model] = tuple([row._replace(source=None) for row in missed])


class _Round:
    """What is written before the target checks it."""

    def __init__(self, inner: int, modelled: bool, root: Row, behind: dict[str, tuple[Row, ...]]) -> None:
        self.inner, self.modelled, self.behind = inner, modelled, behind
        self.line = [root]
        """The root and the draft's tokens behind it."""
        self.ran: dict[str, set[int]] = {"draft": set(), "small": set()}

    def turn(self, k: int, oracle: Oracle, ids: Ids) -> Generator[Command, frozenset[int], None]:
        """The smaller one writes, the draft checks and adds a token of its own."""
        last = self.line[-1]
        wanted = min(self.inner, k - len(self.line))
        if wanted and not self.modelled:
            yield Host("ngram")
        guesses: list[Row] = []
        for _ in range(wanted):
            above = guesses[-1] if guesses else last
            if self.modelled:
                yield Issue(self._pass("small", above, ids))
            guesses.append(Row(ids.token(), last.sequence, above.position + 1, 0, above.token, (above.token, 0)))
        item = self._pass("draft", last, ids, guesses)
        yield Issue(item)
        yield Wait(frozenset((item.id,)))
        right = oracle.accepted("small", last.sequence, last.position, wanted, verifier="draft") if wanted else 0
        kept = guesses[:right]
        if guesses[right:]:
            yield Squash(tuple([row.token for row in guesses[right:]]))
        self.line += kept
        above = self.line[-1]
        self.line.append(Row(ids.token(), last.sequence, above.position + 1, 0, above.token, (above.token, 0)))

    def _pass(self, model: str, last: Row, ids: Ids, more: list[Row] | None = None) -> Pass:
        """All that the model has not run, up to `last`, and `more` to be checked."""
        ran = self.ran[model]
        rows = [*self.behind[model], *(row for row in self.line if row.token not in ran)]
        if last not in self.line:
            rows.append(last)
        rows += more or []
        self.behind[model] = ()
        ran.update(row.token for row in rows)
        read = (last, *(more or ()))
        return Pass(ids.a_pass(), tuple(rows), tuple([row.token for row in read]), model=model)


NAME = "staged"
SCHEDULE = Staged
