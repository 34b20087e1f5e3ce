"""Jacobi decoding with an n-gram pool (Lookahead, arXiv:2402.02057): the target guesses in parallel and checks itself.

One pass holds the root, a window of `window` positions at n-1 stages of refinement, and up to `guesses` n-grams from
the pool that begin with the last token. The longest right one commits; the window's diagonals refill the pool.

    rows of a pass = 1 + (n - 1) (window + guesses)

Ignored: an empty pool at the start; rows that the two branches could share.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..program import Host, Ids, Issue, Needs, Oracle, Program, Row, Text, Wait
from ._rounds import MOST_ROWS, proposed, rounds, settle, start, verification


@dataclass(frozen=True, slots=True)
class Lookahead:
    """window: positions of the lookahead branch. n: length of an n-gram. guesses: n-grams that are checked."""

    window: int = 15
    n: int = 5
    guesses: int = 15

    def __post_init__(self) -> None:
        if self.window < 1 or self.n < 2 or self.guesses < 1:
            raise ValueError(f"window={self.window} or guesses={self.guesses} is below 1, or n={self.n} below 2")
        if max(self.window, self.guesses) * self.n > MOST_ROWS:
            raise ValueError(f"window={self.window}, n={self.n}, guesses={self.guesses}: more than {MOST_ROWS:,} rows")

    def reads(self, repetitions: int) -> frozenset[int]:
        """The last exit alone."""
        return frozenset((repetitions,))

    def slots(self, repetitions: int) -> None:
        """The host follows what was accepted."""

    def needs(self) -> Needs:
        """The pool is the host's."""
        return Needs(host=("ngram", "tree"))

    def least_passes(self, tokens: int, repetitions: int) -> int:
        """An n-gram's other n-1 tokens are right each time."""
        return rounds(tokens, self.n - 1) * repetitions

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program:
        """One loop turn is one pass."""
        place = start(text)
        while not place.over(text):
            root = place.root(text, ids)
            k = place.room(text, self.n - 1)
            yield Host("ngram")
            yield Host("tree")
            tree = tuple((first, *(0,) * level) for level in range(k) for first in range(self.guesses))
            nodes = proposed(root, tree, ids)
            window = [Row(ids.token(), text.sequence, root.position + 1 + place_, 0, root.token, (root.token, 0))
                      for place_ in range(self.window) for _ in range(self.n - 1)]
            item = verification(root, nodes, text, ids, window)
            yield Issue(item)
            yield Wait(frozenset((item.id,)))
            place = yield from settle(oracle, "ngrams", root, nodes, window)


NAME = "lookahead"
SCHEDULE = Lookahead
