"""What a decoder is trained on and scored on, step by step: windows of a stream, or sources with their targets.

Batches depend on the seed and the step alone, so a run that was killed sees what it would have seen. Predictions that
do not count (behind the end of a target) have the target NOTHING.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .corpora import SOURCE, TARGET, Corpus, Pair, windows

NOTHING = -100
"""No target, in the framework's own convention."""

Ids = NDArray[np.int64]


class Batch(NamedTuple):
    """Inputs and what is to be predicted from them, [batch, time]; the source of cross-attention [batch, source]."""

    tokens: Tensor
    target: Tensor
    source: Tensor | None = None


def of_windows(rows: Sequence[Ids]) -> Batch:
    """Windows of a stream, each one token longer than what is predicted."""
    ids = torch.from_numpy(np.stack(rows))
    return Batch(ids[:, :-1], ids[:, 1:])


def of_pairs(pairs: Sequence[Pair], encodes: bool) -> Batch:
    """Targets behind their mark, up to and with the end (id 0); the sources apart, or before them without an encoder.

    Only a target's tokens are predicted.
    """
    before = [opening(pair, encodes) for pair in pairs]
    tokens = [np.concatenate((start, pair.target)) for start, pair in zip(before, pairs, strict=True)]
    targets = [np.array([NOTHING] * (len(start) - 1) + [*pair.target, 0])
               for start, pair in zip(before, pairs, strict=True)]
    source = filled([pair.source for pair in pairs], 0) if encodes else None
    return Batch(filled(tokens, 0), filled(targets, NOTHING), source)


def opening(pair: Pair, encodes: bool) -> Ids:
    """What stands before a target: its mark, behind the source where no encoder reads that."""
    before = [] if encodes else [SOURCE, *pair.source]
    return np.array([*before, TARGET])


def filled(rows: Sequence[Ids], padding: int) -> Tensor:
    """Rows of different lengths as one tensor [rows, longest]."""
    made = np.full((len(rows), max(map(len, rows))), padding, dtype=np.int64)
    for row, ids in zip(made, rows, strict=True):
        row[:len(ids)] = ids
    return torch.from_numpy(made)


def batches(ids: Ids, size: int, length: int, seed: int, start: int) -> Iterator[Batch]:
    """Endless batches of `size` windows of `length` from step `start` on.

    An epoch is the stream cut into windows from a seeded offset, in a seeded order; windows that fill no batch are left
    out. ValueError where the stream is shorter than one batch.
    """
    count = (len(ids) - 1) // length - 1
    per_epoch = count // size
    if per_epoch < 1:
        raise ValueError(f"{len(ids)} tokens hold no batch of {size} windows of {length}")
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        random = np.random.default_rng((seed, epoch))
        offset = random.integers(length)
        order = random.permutation(count)
        for chosen in order[place * size:per_epoch * size].reshape(-1, size):
            yield of_windows([ids[b:b + length + 1] for b in chosen * length + offset])
            step += 1


def pair_batches(pairs: Sequence[Pair], encodes: bool, size: int, seed: int, start: int) -> Iterator[Batch]:
    """Endless batches of `size` pairs from step `start` on, in a seeded order; the rest of an epoch is left out."""
    per_epoch = len(pairs) // size
    if per_epoch < 1:
        raise ValueError(f"{len(pairs)} pairs hold no batch of {size}")
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(pairs))
        for chosen in order[place * size:per_epoch * size].reshape(-1, size):
            yield of_pairs([pairs[i] for i in chosen], encodes)
            step += 1


def fitting(pairs: Sequence[Pair], length: int) -> list[Pair]:
    """The pairs neither side of which is longer than `length` tokens."""
    return [pair for pair in pairs if 0 < len(pair.source) <= length and 0 < len(pair.target) <= length]


def training(corpus: Corpus, encodes: bool, size: int, length: int, seed: int, start: int) -> Iterator[Batch]:
    """The training split's batches from step `start` on; `length` bounds a window, or each side of a pair."""
    if corpus.paired:
        return pair_batches(fitting(corpus.pairs("train"), length), encodes, size, seed, start)
    return batches(corpus.splits["train"], size, length, seed, start)


def held_out(corpus: Corpus, split: str, encodes: bool, length: int, most: int | None = None, size: int = 8
             ) -> list[Batch]:
    """A split's batches in order, its first `most` windows or pairs. ValueError where the split holds none."""
    if not corpus.paired:
        return in_order(corpus.splits[split], length, most, size)
    pairs = fitting(corpus.pairs(split), length)[:most]
    if not pairs:
        raise ValueError(f"{corpus.folder}: the {split} split holds no pair of {length} tokens or fewer")
    return [of_pairs(pairs[at:at + size], encodes) for at in range(0, len(pairs), size)]


def in_order(ids: Ids, length: int, most: int | None = None, size: int = 8) -> list[Batch]:
    """All windows of a stream, each without a past. ValueError where it holds none."""
    begins = windows(ids, length)[:most]
    if not len(begins):
        raise ValueError(f"{len(ids)} tokens hold no window of {length}")
    return [of_windows([ids[b:b + length + 1] for b in begins[at:at + size]]) for at in range(0, len(begins), size)]
