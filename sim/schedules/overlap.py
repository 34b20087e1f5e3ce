"""The next draft while the last one is checked: speculation on the verdict (PEARL, arXiv:2408.11850; PipeInfer's
continuous speculation, 2407.11798; speculative speculative decoding).

While the target checks a chain of k tokens on one stream, the draft writes on behind it on another: the token that the
target will add, and k more. If the whole chain and that token are right, the next check starts at once; else what was
written ahead is dropped, passes that have not started are cancelled, and the draft starts behind the right token.

    time of a right round = max(pass of the target, k+1 drafts)      against their sum

`on=other` puts the draft on a second device; its tokens cross the link. Both streams of one device share its bandwidth.
Ignored: sampling; trees; the target cut into stages.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

from ..program import Cancel, Command, Ids, Issue, Move, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait
from ._rounds import Path, Place, rounds, settle, start, verification

DRAFTS = 1
"""The stream of the draft."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """draft: the model that writes ahead. k: tokens of a check. on: the draft's device, the target's
    or another."""

    draft: str | None = None
    k: int = 4
    on: Literal["same", "other"] = "same"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k={self.k} is below 1")
        if self.on not in ("same", "other"):
            raise ValueError(f"on={self.on!r} is neither same nor other")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The draft, on a stream of its own."""
        if self.draft is None:
            raise ValueError("draft=MODEL is missing: the model that writes ahead")
        return Needs(models=(("draft", self.draft),), devices=2 if self.on == "other" else 1, concurrent=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Rounds of k+1 tokens."""
        return rounds(tokens, self.k) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one check; `ahead` is what was written beyond it."""
        device = int(self.on == "other")
        place, ahead = start(text), _Written(device)
        while not place.over(text):
            k = place.room(text, self.k)
            line = ahead
            if not line.rows or line.rows[0].position != place.position:
                line = _Written(device, [place.root(text, ids)], behind=ahead.behind)
            yield from line.write(k, ids)
            root, nodes = line.rows[0], {(0,) * n: row for n, row in enumerate(line.rows[:k + 1]) if n}
            if device and nodes:
                yield Move(tuple([row.token for row in line.rows[:k] if row.token in line.ran]), 0)
            item = verification(root._replace(source=None), nodes, text, ids)
            item = item._replace(after=line.passes[-1:])
            yield Issue(item)
            ahead = line.beyond(k)
            more = 0 if text.limit is None else place.position + k + 1 >= text.first + text.limit
            if k == self.k and not more:
                yield from ahead.write(1 + self.k, ids, before_root=True)
            yield Wait(frozenset((item.id,)))
            place, ahead = yield from self._verdict(oracle, text, root, nodes, line, ahead)

    def _verdict(self, oracle: Oracle, text: Text, root: Row, nodes: dict[Path, Row], line: _Written, ahead: _Written
                 ) -> Generator[Command, frozenset[int], tuple[Place, _Written]]:
        """Commit what is right; keep what was written ahead where its first token is the target's own."""
        k = len(nodes)
        guessed = bool(ahead.rows) and oracle.accepted("draft", text.sequence, root.position, k + 1) == k + 1
        place = yield from settle(oracle, "draft", root, nodes)
        if guessed and not place.ended:
            return place, ahead
        for number in ahead.passes:
            yield Cancel(number)
        unused = [row.token for row in (*line.rows[k + 1:], *ahead.rows) if row.token in line.ran]
        if unused:
            yield Squash(tuple(unused))
        missed = [*line.behind, *(row for row in place.committed if row.token not in line.ran)]
        return place, _Written(line.device, behind=tuple([row._replace(source=None) for row in missed]))


class _Written:
    """A chain that the draft writes: its first row is the next root."""

    def __init__(self, device: int, rows: list[Row] | None = None, behind: tuple[Row, ...] = ()) -> None:
        self.device, self.behind = device, behind
        self.rows = rows or []
        self.passes: tuple[int, ...] = ()
        self.ran: set[int] = set()
        self._above: Row | None = None

    def beyond(self, k: int) -> _Written:
        """What comes behind the k-th token of this chain: nothing yet."""
        made = _Written(self.device)
        made._above, made.ran = (self.rows[k], self.ran) if len(self.rows) > k else (self.rows[-1], self.ran)
        return made

    def write(self, k: int, ids: Ids, before_root: bool = False) -> Generator[Command, frozenset[int], None]:
        """Write until k rows stand behind the root (with `before_root`: until k rows stand in all)."""
        while len(self.rows) < k + (not before_root):
            above = self.rows[-1] if self.rows else self._above
            assert above is not None
            rows = (*self.behind, above) if above.token not in self.ran else self.behind
            self.behind = ()
            self.ran.update(row.token for row in rows)
            item = Pass(ids.a_pass(), rows, (above.token,), model="draft", device=self.device, stream=DRAFTS)
            self.passes = (*self.passes, item.id)
            yield Issue(item)
            self.rows.append(Row(ids.token(), above.sequence, above.position + 1, 0, above.token, (above.token, 0)))


NAME = "overlap"
SCHEDULE = Overlap
