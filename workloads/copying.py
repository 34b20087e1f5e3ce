"""A task of known predictability: copy a source, or its marked lines, with a known share of wrong words.

    source: copy or summarise, then lines of words, some marked
    target: all lines or the marked ones, each word replaced with probability NOISE

Words are drawn evenly from V, so with q = NOISE (1 - 1/V), the share of words that are really replaced, a target word
costs h(q) + q ln(V - 1) nats at least (h: the entropy of a coin) and the best top-1 share on words is 1 - q. A decoder
that falls short of these has not learnt the task; what its exits agree on is then about the task, not about language.
Ids are made directly, without a tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

SOURCE, TARGET, COPY, SUMMARISE, LINE, MARKED = range(1, 7)
WORDS = 7
"""The first id that is a word."""
NOISE = 0.04
LINES = 6
PER_LINE = 7


def known(vocabulary: int) -> dict[str, float]:
    """What no decoder can beat on the words of a target: nats a word, top-1 share."""
    words = vocabulary - WORDS
    wrong = NOISE * (1 - 1 / words)
    coin = -wrong * math.log(wrong) - (1 - wrong) * math.log(1 - wrong)
    return {"word_nats": coin + wrong * math.log(words - 1), "word_top1": 1 - wrong}


def documents(count: int, vocabulary: int, seed: int = 0) -> Iterator[tuple[str, list[int]]]:
    """(kind_number, ids behind the separator) of `count` documents, copy and summarise in turn."""
    random = np.random.Generator(np.random.Philox(seed))
    for number in range(count):
        kind = (COPY, SUMMARISE)[number % 2]
        words = random.integers(WORDS, vocabulary, size=(LINES, PER_LINE))
        marked = np.zeros(LINES, dtype=bool)
        marked[random.choice(LINES, size=LINES // 2, replace=False)] = True
        lines = [[MARKED if m else LINE, *line] for m, line in zip(marked, words.tolist(), strict=True)]
        chosen = lines if kind == COPY else [line for m, line in zip(marked, lines, strict=True) if m]
        target = np.array([word for line in chosen for word in line])
        wrong = (random.random(len(target)) < NOISE) & (target >= WORDS)
        target[wrong] = random.integers(WORDS, vocabulary, size=int(wrong.sum()))
        source = [word for line in lines for word in line]
        name = "copy" if kind == COPY else "summarise"
        yield f"{name}_{number:05}", [SOURCE, kind, *source, TARGET, *target.tolist()]
