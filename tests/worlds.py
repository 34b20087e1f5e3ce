"""Tiny worlds for tests: plays a program without any machine, one pass a step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from speedsim.program import Commit, Ids, Issue, Oracle, Pass, Program, Retire, Squash, Text, Wait, watched
from speedsim.trace import Sequence


def sequence(exit_tokens: list[list[int]], end: str = "length", first: int = 0, number: int = 0) -> Sequence:
    """A sequence from rows of exit predictions."""
    return Sequence(number, first, len(exit_tokens), end, 0, np.array(exit_tokens, dtype=np.int32))


def text_of(s: Sequence) -> Text:
    """What a schedule may know of the sequence."""
    return Text(s.id, s.first, s.count if s.end == "length" else None, s.exit_tokens.shape[1])


@dataclass
class Played:
    """What a program did, pass by pass."""

    passes: list[Pass] = field(default_factory=list)
    commits: list[tuple[int, int]] = field(default_factory=list)
    """(token, passes issued before its commit - 1)."""
    squashed: list[int] = field(default_factory=list)
    retired: list[int] = field(default_factory=list)

    @property
    def rows(self) -> list[list[list[int]]]:
        """[position, repetition] of every row of every pass."""
        return [[[r.position, r.depth + p.repetitions] for r in p.rows] for p in self.passes]

    @property
    def heads(self) -> list[list[list[int]]]:
        """The same for rows whose head is read."""
        return [[[r.position, r.depth + p.repetitions] for r in p.rows if r.token in p.exits] for p in self.passes]


def play(program: Program) -> Played:
    """Run a program to its end; every Wait is answered with all its passes."""
    done = Played()
    try:
        command = next(program)
        while True:
            answer: frozenset[int] = frozenset()
            if isinstance(command, Issue):
                done.passes.append(command.item)
            elif isinstance(command, Wait):
                answer = command.passes
            elif isinstance(command, Commit):
                done.commits.append((command.token, len(done.passes) - 1))
            elif isinstance(command, Squash):
                done.squashed.extend(command.tokens)
            elif isinstance(command, Retire):
                done.retired.append(command.sequence)
            command = program.send(answer)
    except StopIteration:
        return done


def decode(schedule: object, s: Sequence, oracle: Oracle) -> Played:
    """Play a schedule over one sequence."""
    return play(watched(schedule.program(oracle, text_of(s), Ids()), oracle))  # type: ignore[attr-defined]
