"""Who sits where: turns the rows of a pass into indices of the static buffers. Plain integers, no tensors.

A token gets a seat (its hidden state and its exits' words) when its first row is issued and keeps it until it is
squashed or, once it is committed, until its sequence commits the next: the next row's input is there. A sequence gets
a place (its keys and values) with its first row and keeps it until it retires.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from speedsim.program import Pass, Row

from .refusal import RefusedError


class Seated(NamedTuple):
    """A pass as indices, one entry a row; then one a row whose head is read."""

    seat: list[int]
    word: list[int]
    position: list[int]
    place: list[int]
    depth: list[int]
    read: list[int]
    """Indices of the rows whose head is read."""
    to: list[int]
    """The word that each prediction becomes."""


class Seating:
    """The free seats and places of a stage, and who has the others."""

    def __init__(self, seats: int, places: int, repetitions: int) -> None:
        self._repetitions = repetitions
        self._free_seats = list(range(seats))[::-1]
        self._free_places = list(range(places))[::-1]
        self._prompt_word = seats * repetitions
        self._seat: dict[int, int] = {}
        self._place: dict[int, int] = {}
        self._sequence: dict[int, int] = {}
        self._last_commit: dict[int, int] = {}
        self._standing: dict[tuple[int, int], int] = {}
        """Which token stands at a (sequence, position)."""
        self._spot: dict[int, tuple[int, int]] = {}

    def admit(self, item: Pass, enters: Callable[[int, int], None]) -> None:
        """Give seats and places to the pass's new tokens and sequences; `enters(sequence, place)` for each sequence."""
        for row in item.rows:
            if row.sequence not in self._place:
                if not self._free_places:
                    raise RefusedError(f"sequence {row.sequence}: more sequences are live than the machine has places")
                self._place[row.sequence] = self._free_places.pop()
                enters(row.sequence, self._place[row.sequence])
            if row.token not in self._seat:
                self._sit(row)

    def _sit(self, row: Row) -> None:
        if row.depth:
            raise RefusedError(f"token {row.token} enters at depth {row.depth}; tokens enter at depth 0")
        spot = (row.sequence, row.position)
        if spot in self._standing:
            raise RefusedError(f"position {row.position} of sequence {row.sequence} is in flight twice; "
                               "keys and values are kept once a position")
        if not self._free_seats:
            raise RefusedError(f"token {row.token}: more tokens are in flight than the machine has seats")
        self._seat[row.token] = self._free_seats.pop()
        self._sequence[row.token] = row.sequence
        self._standing[spot] = row.token
        self._spot[row.token] = spot

    def _rise(self, token: int) -> None:
        self._free_seats.append(self._seat.pop(token))
        del self._sequence[token]

    def seat(self, item: Pass) -> Seated:
        """The indices of an admitted pass."""
        rows = item.rows
        exits = set(item.exits)
        read = [index for index, row in enumerate(rows) if row.token in exits]
        return Seated(
            [self._seat[row.token] for row in rows],
            [self._word(row) if row.depth == 0 else 0 for row in rows],
            [row.position for row in rows],
            [self._place[row.sequence] for row in rows],
            [row.depth for row in rows],
            read,
            [self._seat[rows[i].token] * self._repetitions + rows[i].depth + item.repetitions - 1 for i in read],
        )

    def _word(self, row: Row) -> int:
        """Where a row's input token lies."""
        if row.parent is None:
            return self._prompt_word + self._place[row.sequence]
        token, exit = row.source or (row.parent, self._repetitions)
        if token not in self._seat:
            raise RefusedError(f"token {row.token} reads a prediction of token {token}, which has left its seat")
        return self._seat[token] * self._repetitions + exit - 1

    def commit(self, token: int) -> None:
        """The token stays where it is until its sequence commits the next."""
        sequence = self._sequence[token]
        del self._standing[self._spot.pop(token)]
        if sequence in self._last_commit:
            self._rise(self._last_commit[sequence])
        self._last_commit[sequence] = token

    def squash(self, tokens: tuple[int, ...]) -> None:
        """Free the tokens' seats."""
        for token in tokens:
            del self._standing[self._spot.pop(token)]
            self._rise(token)

    def retire(self, sequence: int) -> None:
        """Free the sequence's place and its last token's seat."""
        if sequence in self._last_commit:
            self._rise(self._last_commit.pop(sequence))
        if sequence in self._place:
            self._free_places.append(self._place.pop(sequence))
