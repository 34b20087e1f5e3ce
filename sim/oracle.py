"""Oracles: what the text did, answered when a schedule may know it.

A trace records, for every position of the committed text, what each exit predicted. A row whose input differs from that
text is off-text: nothing was recorded about it, so it keeps one guess at every exit and never flips, and so does
everything behind it. That does not change the number of passes (an off-text row is squashed before it could commit);
the rows in flight are a little fewer than live.

What proposers that are no exits would have said is told by facts (traces/acceptance.py): recorded beside the trace, or
described. `exitE` is a proposer as well: the trace's own exit E, drafting on from the committed text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from .program import TARGET, Oracle, Pass, Row, Tree
from .units import InputError

if TYPE_CHECKING:
    from .trace import Sequence
    from .traces.acceptance import Facts

ON, OFF = 1, 2
OFF_TEXT = -1
"""The guess of a row about which nothing is recorded: no token of any vocabulary."""


class TraceOracle:
    """Answers from recorded facts. It follows every issue to know which tokens stand on wrong text."""

    def __init__(self, sequences: Mapping[int, Sequence], facts: Facts | None = None) -> None:
        self._facts = facts
        self._exits: dict[int, Any] = {s.id: memoryview(cast(Any, s.exit_tokens)) for s in sequences.values()}
        """Two-dimensional, so read where they lie: lists of their numbers would take ten times the room."""
        self._first = {s.id: s.first for s in sequences.values()}
        self._last = {s.id: s.first + s.count - 1 for s in sequences.values() if s.end == "eos"}
        self._stands = bytearray()
        """A byte a token, so that a text of millions fits: 0 not issued yet, ON or OFF the text."""

    def issued(self, item: Pass) -> None:
        """Place every new token: on the text (its sequence and position) or off it."""
        for row in item.rows:
            if row.depth == 0 and not self._stand(row.token):
                if row.token >= len(self._stands):
                    self._stands.extend(bytes(row.token + 1024 - len(self._stands)))
                self._stands[row.token] = ON if self._stands_on_text(row) else OFF

    def _stand(self, token: int) -> int:
        return self._stands[token] if token < len(self._stands) else 0

    def _stands_on_text(self, row: Row) -> bool:
        index = row.position - self._first[row.sequence]
        exits = self._exits[row.sequence]
        count, repetitions = exits.shape
        if index >= count:
            return False
        if row.source is None:
            return True
        token, exit = row.source
        return (exit > 0 and self._stand(token) == ON
                and exits[index - 1, exit - 1] == exits[index - 1, repetitions - 1])

    def ended(self, passes: frozenset[int]) -> None:
        """Nothing to learn: the facts were there from the start."""

    def guess(self, row: Row, exit: int) -> int:
        """The recorded prediction, or the one guess of an off-text row."""
        if self._stand(row.token) == ON:
            prediction: int = self._exits[row.sequence][row.position - self._first[row.sequence], exit - 1]
            return prediction
        return OFF_TEXT

    def ends(self, row: Row) -> bool:
        """Whether the recorded text ends here by itself."""
        return self._last.get(row.sequence) == row.position

    def accepted(self, proposer: str, sequence: int, position: int, k: int, verifier: str = TARGET) -> int:
        """The proposer's first choices that are right, one after the other."""
        count = 0
        for choice in self._ranks(proposer, sequence, position, k):
            if choice:
                break
            count += 1
        return count

    def path(self, proposer: str, sequence: int, position: int, tree: Tree, verifier: str = TARGET) -> tuple[int, ...]:
        """The right choices, as far as the tree has them."""
        nodes = frozenset(tree)
        found: tuple[int, ...] = ()
        for choice in self._ranks(proposer, sequence, position, max(map(len, tree), default=0)):
            if (*found, choice) not in nodes:
                break
            found = (*found, choice)
        return found

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """As recorded or described."""
        return self._of(proposer).confidence(proposer, sequence, position)

    def _ranks(self, proposer: str, sequence: int, position: int, levels: int) -> list[int]:
        if self._facts is not None and self._facts.knows(proposer):
            return self._facts.ranks(proposer, sequence, position, levels)
        exit = proposer.removeprefix("exit")
        if exit != proposer and exit.isdecimal():
            return self._exit_ranks(int(exit), sequence, position, levels)
        return self._of(proposer).ranks(proposer, sequence, position, levels)

    def _exit_ranks(self, exit: int, sequence: int, position: int, levels: int) -> list[int]:
        index = position - self._first[sequence]
        found: list[int] = []
        exits = self._exits[sequence]
        count, repetitions = exits.shape
        for at in range(index, min(index + levels, count)):
            if exits[at, exit - 1] != exits[at, repetitions - 1]:
                break
            found.append(0)
        return found

    def _of(self, proposer: str) -> Facts:
        if self._facts is None or not self._facts.knows(proposer):
            raise InputError(f"--acceptance: the text does not say how often {proposer} is right; give "
                             f"--acceptance {proposer}=0.8 (level by level: 0.8,0.65,0.5), --acceptance-length 2.8 "
                             "or a name of workloads/acceptance")
        return self._facts


class ClairvoyanceError(AssertionError):
    """A schedule asked what it could not know yet."""


class StrictOracle:
    """Another oracle that refuses to answer before a Wait has covered the pass that answers."""

    def __init__(self, inner: Oracle) -> None:
        self._inner = inner
        self._running: dict[int, Pass] = {}
        self._read: dict[int, set[int]] = {}
        self._ran: set[tuple[int, int]] = set()
        """(sequence, position) of the rows that have been waited for."""
        self._verified: set[tuple[str, int, int]] = set()
        """(model, sequence, position) of those whose head was read."""

    def issued(self, item: Pass) -> None:
        """Remember what the pass will make known."""
        self._running[item.id] = item
        self._inner.issued(item)

    def ended(self, passes: frozenset[int]) -> None:
        """Everything these passes and those before them on their stream read is known now."""
        for number in passes:
            done = self._running.get(number)
            if done is None:
                continue  # known since a later pass of its stream was
            on = (done.device, done.stream)
            for earlier in [p for p in self._running.values() if p.id <= number and (p.device, p.stream) == on]:
                del self._running[earlier.id]
                read = frozenset(earlier.exits)
                for row in earlier.rows:
                    self._ran.add((row.sequence, row.position))
                    if row.token in read:
                        self._verified.add((earlier.model, row.sequence, row.position))
                        if earlier.model == TARGET:
                            self._read.setdefault(row.token, set()).add(row.depth + earlier.repetitions)
        self._inner.ended(passes)

    def guess(self, row: Row, exit: int) -> int:
        """The inner oracle's answer, if that exit has been read and waited for."""
        if exit not in self._read.get(row.token, ()):
            raise ClairvoyanceError(f"exit {exit} of token {row.token} is asked before a Wait covers its pass")
        return self._inner.guess(row, exit)

    def ends(self, row: Row) -> bool:
        """The inner oracle's answer, if this row's pass was read and waited for."""
        if not self._read.get(row.token):
            raise ClairvoyanceError(f"the end at token {row.token} is asked before a Wait covers its pass")
        return self._inner.ends(row)

    def accepted(self, proposer: str, sequence: int, position: int, k: int, verifier: str = TARGET) -> int:
        """The inner oracle's answer, if the verifier has read the chain."""
        self._refuse_unread(verifier, sequence, position, k)
        return self._inner.accepted(proposer, sequence, position, k, verifier)

    def path(self, proposer: str, sequence: int, position: int, tree: Tree, verifier: str = TARGET) -> tuple[int, ...]:
        """The inner oracle's answer, if the verifier has read the tree."""
        self._refuse_unread(verifier, sequence, position, max(map(len, tree), default=0))
        return self._inner.path(proposer, sequence, position, tree, verifier)

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """The inner oracle's answer, if any model has run the position."""
        if (sequence, position) not in self._ran:
            raise ClairvoyanceError(f"{proposer}'s confidence behind position {position} is asked before it ran")
        return self._inner.confidence(proposer, sequence, position)

    def _refuse_unread(self, verifier: str, sequence: int, position: int, levels: int) -> None:
        for place in range(position, position + levels):
            if (verifier, sequence, place) not in self._verified:
                raise ClairvoyanceError(f"what {verifier} says at position {place} is asked before a Wait covers it")
