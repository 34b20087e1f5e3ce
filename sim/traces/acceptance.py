"""Described acceptance: how often a proposer's tokens agree with the text, where nothing was recorded token by token.

    chain    probability that the next proposed token is right if all before it are, level by level
    ranks    probability that the right token is the proposer's first, second, ... choice, level by level
    length   tokens committed per verification, the target's own included: 1 + a + ... + a^k = length gives a

Each position of a text has one draw per proposer, keyed by (seed, proposer, sequence, position): whoever asks, in
whatever order, hears the same facts, and a chain and a tree of one proposer agree.
Ignored: that hard positions stand together in real text; the last level that is given holds for all deeper ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from typing import Protocol
from zlib import crc32

import numpy as np

from ..units import InputError
from .statistics import draws

EVERYONE = ""
"""The proposer whose acceptance holds for all that are not named."""

_CHUNK = 1024
"""Positions drawn at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """A proposer's acceptance; `name` is its file's. One of chain, ranks and length is given."""

    name: str
    title: str = ""
    chain: tuple[float, ...] = ()
    ranks: tuple[tuple[float, ...], ...] = ()
    """One list a level: probabilities of the first choice, the second, ...; what is missing from 1 is no choice."""
    length: float | None = None
    sharpness: float = 0.0
    """What the proposer's own confidence tells: 0 nothing (it is always the mean), 1 everything (it knows)."""

    def __post_init__(self) -> None:
        if (bool(self.chain) + bool(self.ranks) + (self.length is not None)) != 1:
            raise ValueError("one of chain, ranks and length is expected")
        for p in (*self.chain, self.sharpness, *(p for level in self.ranks for p in level)):
            if not 0 <= p <= 1:
                raise ValueError(f"{p:g} is no probability")
        if any(not level or sum(level) > 1 + 1e-9 for level in self.ranks):
            raise ValueError("ranks: a level is a list of probabilities with a sum of at most 1")
        if self.length is not None and not 1 <= self.length < inf:
            raise ValueError(f"length={self.length:g}: a verification commits 1 token or more, a finite number")

    @staticmethod
    def parse(text: str) -> Acceptance | None:
        """`0.8`, `0.8,0.65,0.5` (level by level) or `length:2.8`; None: it is none of these, so a name. ValueError."""
        if text.startswith("length:"):
            return Acceptance(name=text, length=float(text.removeprefix("length:")))
        try:
            return Acceptance(name=text, chain=tuple([float(p) for p in text.split(",")]))
        except ValueError:
            if text[:1].isdigit() or text[:1] in "-.":
                raise
            return None

    def level(self, number: int, levels: int) -> tuple[float, ...]:
        """Probabilities of the choices at level `number` (from 0) of a proposal `levels` deep."""
        if self.ranks:
            return self.ranks[min(number, len(self.ranks) - 1)]
        if self.chain:
            return (self.chain[min(number, len(self.chain) - 1)],)
        assert self.length is not None
        return (rate_of_length(self.length, levels),)


def rate_of_length(length: float, k: int) -> float:
    """The acceptance rate a with 1 + a + ... + a^k = length. InputError if k tokens cannot reach it."""
    if length > k + 1:
        raise InputError(f"--acceptance length:{length:g}: {k} proposed tokens commit at most {k + 1} a verification")
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**i for i in range(k + 1)) < length else (low, middle)
    return high


class Facts(Protocol):
    """What proposers said, recorded or described."""

    def knows(self, proposer: str) -> bool:
        """Whether it can answer for this proposer."""
        ...

    def ranks(self, proposer: str, sequence: int, position: int, levels: int) -> list[int]:
        """Which of the proposer's choices (0: the first) is right at each level behind `position`, up to the first
        level at which none is; at most `levels`."""
        ...

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """The probability that the proposer gives to its first choice behind `position`."""
        ...


class Described:
    """Facts drawn from descriptions."""

    def __init__(self, by_proposer: Mapping[str, Acceptance], seed: int = 0) -> None:
        self._given, self._seed = by_proposer, seed
        self._drawn: dict[tuple[str, int, int], list[tuple[float, float]]] = {}
        self._deepest: dict[str, int] = {}

    def knows(self, proposer: str) -> bool:
        """Whether it, or everyone, is described."""
        return proposer in self._given or EVERYONE in self._given

    def ranks(self, proposer: str, sequence: int, position: int, levels: int) -> list[int]:
        """Draw by draw; a length stands for the deepest proposal so far."""
        given = self._of(proposer)
        deepest = self._deepest[proposer] = max(levels, self._deepest.get(proposer, 0))
        found: list[int] = []
        for number in range(levels):
            draw = self._draw(proposer, sequence, position + 1 + number)[0]
            below = accumulate(given.level(number, deepest))
            right = next((choice for choice, up_to in enumerate(below) if draw < up_to), None)
            if right is None:
                break
            found.append(right)
        return found

    def confidence(self, proposer: str, sequence: int, position: int) -> float:
        """High or low, so that it is right on average: P(right | confidence) = confidence."""
        given = self._of(proposer)
        a, sharp = given.level(0, self._deepest.get(proposer, 1))[0], given.sharpness
        right, other = self._draw(proposer, sequence, position + 1)
        high, low = a + sharp * (1 - a), a * (1 - sharp)
        return high if other < (high if right < a else low) else low

    def _of(self, proposer: str) -> Acceptance:
        return self._given.get(proposer) or self._given[EVERYONE]

    def _draw(self, proposer: str, sequence: int, position: int) -> tuple[float, float]:
        """Two numbers from 0 to 1 that belong to the position."""
        chunk, place = divmod(position, _CHUNK)
        key = (proposer, sequence, chunk)
        if key not in self._drawn:
            name = crc32(f"{proposer}/{sequence}/{chunk}".encode())
            raw = draws((self._seed, name), 2 * _CHUNK) >> np.uint64(11)
            numbers: list[float] = (raw * 2.0**-53).tolist()
            self._drawn[key] = list(zip(numbers[::2], numbers[1::2], strict=True))
        return self._drawn[key][place]
