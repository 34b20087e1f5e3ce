"""Prompts that nobody trained on: seeded pieces of held-out files, or held-out sources.

They come from families that were not trained on and stand nowhere in the training text as a whole; both are checked,
not assumed. The test split is used up before the validation split is touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from speedsim.units import InputError

from .batches import fitting, opening
from .corpora import Corpus, module_of

PER_DOCUMENT = 4
"""Prompts from one file at most."""


class Prompt(NamedTuple):
    """A piece of a held-out file, or what stands before a held-out target."""

    path: str
    start: int
    """Its first token's place in the file."""
    ids: NDArray[np.int64]
    source: NDArray[np.int64] | None = None
    """What the encoder reads, where there is one."""

    @property
    def kind(self) -> str:
        """What the file's name begins with: a family, or a kind of task."""
        return re.split("[/_]", self.path, maxsplit=1)[0]


def held_out_prompts(corpus: Corpus, count: int, length: int, seed: int) -> list[Prompt]:
    """`count` prompts of `length` tokens at seeded places, none overlapping another, at most PER_DOCUMENT of a file.

    The test split is used up before the validation split is touched. InputError where there are not enough.
    """
    trained = {module_of(file["path"]) for file in corpus.files if file["split"] == "train"}
    text = corpus.splits["train"].astype(np.uint16).tobytes()
    random = np.random.default_rng(seed)
    found: list[Prompt] = []
    for split in ("test", "validation"):
        places = [place for document in corpus.documents(split) for place in _places(*document, length, random)]
        for index in random.permutation(len(places)):
            if len(found) == count:
                return found
            if module_of(places[index].path) in trained:
                raise InputError(f"{corpus.folder}: {places[index].path} is held out, its module is trained on")
            if not _stands_in(text, places[index].ids):
                found.append(places[index])
    if len(found) < count:
        raise InputError(f"{corpus.folder}: {len(found)} prompts of {length} tokens in the held-out files, not {count}")
    return found


def _places(path: str, ids: NDArray[np.int64], length: int, random: np.random.Generator) -> Iterator[Prompt]:
    """A few pieces of a file, side by side from a drawn offset."""
    slots = len(ids) // length
    offset = random.integers(len(ids) - slots * length + 1)
    for slot in random.permutation(slots)[:PER_DOCUMENT]:
        start = int(offset + slot * length)
        yield Prompt(path, start, ids[start:start + length])


def _stands_in(text: bytes, ids: NDArray[np.int64]) -> bool:
    """Whether the ids stand one after the other in a text of 16-bit ids."""
    wanted, at = ids.astype(np.uint16).tobytes(), -1
    while (at := text.find(wanted, at + 1)) >= 0:
        if at % 2 == 0:
            return True
    return False


def held_out_pairs(corpus: Corpus, count: int, length: int, seed: int, encodes: bool) -> list[Prompt]:
    """What stands before `count` held-out targets, in a seeded order, sources and targets of `length` tokens at most.

    InputError where there are not enough, or where a held-out family is trained on.
    """
    trained = {module_of(file["path"]) for file in corpus.files if file["split"] == "train"}
    known = {pair.source.tobytes() for pair in corpus.pairs("train")}
    random = np.random.default_rng(seed)
    found: list[Prompt] = []
    for split in ("test", "validation"):
        pairs = [pair for pair in fitting(corpus.pairs(split), length) if pair.source.tobytes() not in known]
        for index in random.permutation(len(pairs)):
            if len(found) == count:
                return found
            pair = pairs[index]
            if module_of(pair.path) in trained:
                raise InputError(f"{corpus.folder}: {pair.path} is held out, its family is trained on")
            found.append(Prompt(pair.path, 0, opening(pair, encodes), pair.source if encodes else None))
    if len(found) < count:
        raise InputError(f"{corpus.folder}: {len(found)} held-out sources of {length} tokens or fewer, not {count}")
    return found
