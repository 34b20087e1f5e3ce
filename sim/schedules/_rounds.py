"""What most ways of speculating share: proposals behind the last committed token, checked by one pass of the target.

    root          the last committed token as input, at `position`
    nodes         proposed tokens by their path: (0,) first choice behind the root, (1,) second, (0, 0) behind the first
    one pass      root and nodes together; the target's own token commits with the root, each right node one more

With acceptance a per level a chain of k commits (1 - a^(k+1)) / (1 - a) tokens a round, bonus included.
Not a schedule: the files beside it say who proposes, and when.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Mapping, Sequence
from typing import NamedTuple

from ..program import Command, Commit, Ids, Issue, Oracle, Pass, Row, Squash, Text, Tree, Wait

Path = tuple[int, ...]
Step = Generator[Command, frozenset[int], "Place"]
MOST_ROWS = 4096
"""Of one pass: more is a slip of the pen."""


class Place(NamedTuple):
    """Where a sequence stands between two rounds."""

    position: int
    """Of the next root."""
    parent: int | None
    """Token behind which the root stands."""
    committed: tuple[Row, ...] = ()
    """What the last round committed, in order."""
    ended: bool = False

    def root(self, text: Text, ids: Ids) -> Row:
        """The next root: its input is committed text."""
        return Row(ids.token(), text.sequence, self.position, 0, self.parent)

    def room(self, text: Text, k: int) -> int:
        """Levels of proposals that can still commit, k at most: one token is the target's own."""
        return k if text.limit is None else max(0, min(k, text.first + text.limit - 1 - self.position))

    def over(self, text: Text) -> bool:
        """Whether the text ended, by itself or by its limit."""
        return self.ended or (text.limit is not None and self.position >= text.first + text.limit)


def start(text: Text) -> Place:
    """Before the first round."""
    return Place(text.first, None)


def chain(k: int) -> Tree:
    """The tree of one chain of k tokens."""
    return tuple([(0,) * n for n in range(1, k + 1)])


def sparse(depth: int, width: int, nodes: int) -> Tree:
    """The `nodes` likeliest paths at most `depth` deep, the first `width` choices of each: those with the least product
    of ranks (first choice 1, second 2, ...), for a choice's probability falls about as one over its rank. Shallow
    paths first; every node's parent is in the tree.
    """
    found: list[Path] = []
    waiting: list[tuple[int, int, Path]] = [(1, 1, (0,))] if depth and nodes else []
    while waiting and len(found) < nodes:
        cost, levels, path = heapq.heappop(waiting)
        found.append(path)
        if path[-1] + 1 < width:
            sibling = (*path[:-1], path[-1] + 1)
            heapq.heappush(waiting, (cost // (path[-1] + 1) * (path[-1] + 2), levels, sibling))
        if levels < depth:
            heapq.heappush(waiting, (cost, levels + 1, (*path, 0)))
    return tuple(sorted(found, key=lambda p: (len(p), p)))


def proposed(root: Row, tree: Tree, ids: Ids, by: Mapping[Path, Row] | None = None) -> dict[Path, Row]:
    """The tree's tokens as rows behind the root; those that `by` holds already are kept."""
    rows: dict[Path, Row] = {}
    known = by or {}
    for path in tree:
        above = rows[path[:-1]] if len(path) > 1 else root
        rows[path] = known.get(path) or Row(ids.token(), root.sequence, root.position + len(path), 0, above.token,
                                            (above.token, 0))
    return rows


def verification(root: Row, nodes: Mapping[Path, Row], text: Text, ids: Ids, more: Sequence[Row] = ()) -> Pass:
    """The target's pass over root and nodes, all heads read, with `more` rows that are never text."""
    rows = (root, *nodes.values(), *more)
    return Pass(ids.a_pass(), rows, tuple([row.token for row in rows]), text.repetitions)


def settle(oracle: Oracle, who: str, root: Row, nodes: Mapping[Path, Row], loose: Sequence[Row] = ()) -> Step:
    """Behind a Wait that covers the verification: commit the root and the right path, squash the rest and `loose`."""
    right = oracle.path(who, root.sequence, root.position, tuple(nodes))
    line = [root, *(nodes[right[:n]] for n in range(1, len(right) + 1))]
    done, ended = 0, False
    for row in line:
        yield Commit(row.token)
        done += 1
        ended = oracle.ends(row)
        if ended:
            break
    kept = {row.token for row in line[:done]}
    left = tuple(dict.fromkeys(row.token for row in (*nodes.values(), *loose) if row.token not in kept))
    if left:
        yield Squash(left)
    last = line[done - 1]
    return Place(last.position + 1, last.token, tuple(line[:done]), ended)


def check(oracle: Oracle, who: str, root: Row, nodes: Mapping[Path, Row], text: Text, ids: Ids) -> Step:
    """One verification from launch to commit."""
    item = verification(root, nodes, text, ids)
    yield Issue(item)
    yield Wait(frozenset((item.id,)))
    return (yield from settle(oracle, who, root, nodes))


def rounds(tokens: int, k: int) -> int:
    """Rounds of k right proposals each that so many tokens take."""
    return -(-tokens // (k + 1))
