"""LoopSpec: a tree of guesses over a looped decoder, checked only at its last repetition (arXiv:2609.17184).

One cycle is K repetitions for all live rows. A row that has done d1 repetitions proposes the next token, and a child
enters; after d2 it proposes again if it has changed its mind, and a second child enters beside the first. Both live
until their parent's last repetition: the child that stands on the parent's final token stays with everything behind it,
all else is pruned; if none does, decoding starts again behind the parent.

    time between commits: d1, d2 or G repetitions
    gamma = n G / (n1 d1 + n2 d2 + (n - n1 - n2) G) <= G / d1

A sampled run (temperature) draws each final token and the guesses with the same random numbers, and prunes in the same
way. Ignored: the gate that drops unlikely second guesses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..program import Commit, Host, Ids, Issue, Needs, Oracle, Pass, Program, Row, Squash, Text, Wait


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """The options of LoopSpec.

    d1: repetitions after which a row proposes its successor.
    d2: repetitions after which it may propose another; None: it proposes once.
    repetitions_per_pass: K, repetitions of a cycle; divides d1, d2 and G.
    """

    d1: int = 1
    d2: int | None = None
    repetitions_per_pass: int = 1

    def __post_init__(self) -> None:
        if self.d1 < 1 or self.repetitions_per_pass < 1:
            raise ValueError(f"d1={self.d1} or repetitions_per_pass={self.repetitions_per_pass} is below 1")
        if self.d2 is not None and self.d2 <= self.d1:
            raise ValueError(f"d2={self.d2} is not behind d1={self.d1}")

    def reads(self, repetitions: int) -> frozenset[int]:
        """After d1, d2 and G repetitions."""
        exits = (self.d1, self.d2 or self.d1, repetitions)
        if max(exits) > repetitions:
            raise ValueError(f"d1={self.d1} or d2={self.d2} is beyond the model's {repetitions} repetitions")
        if any(exit % self.repetitions_per_pass for exit in exits):
            raise ValueError(f"repetitions_per_pass={self.repetitions_per_pass} does not divide each of "
                             f"{', '.join(map(str, dict.fromkeys(exits)))}")
        return frozenset(exits)

    def slots(self, repetitions: int) -> None:
        """The tree is pruned by the host."""

    def needs(self) -> Needs:
        """The target alone; the host keeps a slot, a place in the tree and the next input of every live row."""
        return Needs(host=("row",), sampled=True)

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """Every first proposal is right."""
        return repetitions + (tokens - 1) * self.d1

    def most_rows(self, repetitions: int) -> int:
        """Live rows when every row proposes whenever it may: the rows born in each cycle of the root's life."""
        born: list[int] = []
        for cycle in range(repetitions // self.repetitions_per_pass):
            behind = [cycle - d // self.repetitions_per_pass for d in (self.d1, self.d2) if d is not None]
            born.append(1 if cycle == 0 else sum(born[b] for b in behind if b >= 0))
        return sum(born)

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one cycle: advance, read, commit and prune, let the children in."""
        last, stride = text.repetitions, self.repetitions_per_pass
        reads = self.reads(last)
        stop = None if text.limit is None else text.first + text.limit
        live = [_Live(ids.token(), text.first)]
        while live:
            rows = tuple([t.row(text.sequence) for t in live])
            read = [t.token for t in live if t.depth + stride in reads]
            item = Pass(ids.a_pass(), rows, tuple(read), stride)
            yield Issue(item)
            for t in live:
                t.depth += stride
            if not read:
                continue
            yield Wait(frozenset((item.id,)))
            yield Host("row", len(live))
            entering: list[_Live] = []
            for t, row in zip(live, rows, strict=True):
                if t.depth in (self.d1, self.d2) and t.depth < last and (stop is None or t.position + 1 < stop):
                    entering += t.propose(oracle.guess(row, t.depth), ids)
            root = live[0]
            if root.depth < last:
                live += entering
                continue
            yield Commit(root.token)
            ends = oracle.ends(rows[0]) or (stop is not None and root.position + 1 >= stop)
            kept = [] if ends else root.kept(oracle.guess(rows[0], last))
            staying = {t.token for t in kept}
            yield Squash(tuple([t.token for t in live[1:] if t.token not in staying]))
            if not ends:
                live = [t for t in [*live, *entering] if t.token in staying]
                live = live or [_Live(ids.token(), root.position + 1, root.token)]
            else:
                live = []


@dataclass(slots=True)
class _Live:
    """A token in flight and the children that stand on its guesses."""

    token: int
    position: int
    parent: int | None = None
    source: tuple[int, int] | None = None
    guess: int | None = None
    """What it stands on, of its parent's guesses."""
    depth: int = 0
    children: list[_Live] = field(default_factory=list)

    def row(self, sequence: int) -> Row:
        return Row(self.token, sequence, self.position, self.depth, self.parent, self.source)

    def propose(self, guess: int, ids: Ids) -> list[_Live]:
        """The child that stands on a guess, unless there is one."""
        if any(child.guess == guess for child in self.children):
            return []
        child = _Live(ids.token(), self.position + 1, self.token, (self.token, self.depth), guess)
        self.children.append(child)
        return [child]

    def kept(self, final: int) -> list[_Live]:
        """The child that stands on the final token and everything behind it; nothing where no child does."""
        staying = [child for child in self.children if child.guess == final]
        for t in staying:
            staying.extend(t.children)
        return staying


NAME = "loopspec"
SCHEDULE = LoopSpec
