"""What a trace says about speculation: how often exits disagree, when they settle, what that bounds.

    r = the repetition at which a position's prediction last changed        (1: the first exit was right and stayed)
    SPEED decodes n tokens in G + r_1 + ... + r_(n-1) passes, plain decoding in n G        (arXiv:2310.12072)

Shares carry 95 % Wilson intervals, in which tokens count as independent. The mean of r carries a bootstrap interval
over whole sequences, because tokens of one text are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

BLOCK = 32
"""Positions over which the settle repetition is averaged along the text."""


def draws(key: tuple[int, int], count: int) -> NDArray[np.uint64]:
    """Uniform 64-bit draws (Philox) that are the same on every platform and with every version of numpy."""
    return np.random.Philox(key=np.array(key, dtype=np.uint64)).random_raw(count)


def settle(exit_tokens: Tokens) -> NDArray[np.int64]:
    """[count]: the repetition 1 .. G at which each position's prediction last changed."""
    flipped = np.diff(exit_tokens, axis=1) != 0
    behind = np.argmax(flipped[:, ::-1], axis=1) if flipped.shape[1] else np.zeros(len(exit_tokens), np.int64)
    return np.where(flipped.any(axis=1), exit_tokens.shape[1] - behind, 1)


def summary(sequences: list[Tokens], seed: int = 0, prompts: Sequence[str] = ()) -> dict[str, Any]:
    """The figures of sequences of exit tokens [count, G], in plain JSON values; `prompts` names each one's kind.

    flip_rates: per boundary between exits. mean_settle: E[r], its interval null with one sequence. gain_bound: G/E[r].
    speed_passes and plain_passes: sweeps of the group by the closed forms. looping_share: sequences in which a 4-gram
    occurs 8 times or more. first_exit_agrees: positions whose first exit already says what the last says.
    mean_settle_along: E[r] of BLOCK positions after BLOCK positions of all sequences. mean_settle_by_prompt: by kind.
    runs: mean and longest run of positions that settle at once, and of those that do not. burstiness: correlation
    between neighbours of not settling at once, null where all or none do. bounds: see `bounds`.
    """
    exits = np.concatenate(sequences)
    counts = np.array([len(s) for s in sequences])
    settled = [settle(s) for s in sequences]
    r = np.concatenate(settled)
    prompts = prompts or [""] * len(sequences)
    g, mean = exits.shape[1], float(r.mean())
    ends = np.cumsum(counts)
    sums = np.add.reduceat(r, ends - counts)
    low, high = _bootstrap(sums, counts, seed)
    flips = (np.diff(exits, axis=1) != 0).sum(axis=0).tolist()
    return {
        "tokens": len(exits), "sequences": len(sequences), "repetitions": g,
        "flip_rates": [{"exits": [j, j + 1], **_wilson(n, len(exits))} for j, n in enumerate(flips, 1)],
        "settle_histogram": {str(k): int(n) for k, n in enumerate(np.bincount(r, minlength=g + 1)) if k},
        "mean_settle": {"value": mean, "low": low, "high": high},
        "gain_bound": g / mean,
        "speed_passes": int(g * len(sums) + sums.sum() - r[ends - 1].sum()),
        "plain_passes": g * len(exits),
        "looping_share": sum(loops(s[:, -1]) for s in sequences) / len(sequences),
        "first_exit_agrees": _wilson(agrees := int((exits[:, 0] == exits[:, -1]).sum()), len(exits)),
        "mean_settle_along": {"positions_each": BLOCK, "means": along(settled)},
        "mean_settle_by_prompt": {kind: float(np.concatenate([one for one, own in zip(settled, prompts, strict=True)
                                                              if own == kind]).mean())
                                  for kind in sorted(set(prompts)) if kind},
        "runs": {name: _runs(settled, quiet) for name, quiet in (("settled_at_once", True), ("restless", False))},
        "burstiness": burstiness(settled),
        "bounds": bounds(g, mean, agrees / len(exits)),
    }


def bounds(repetitions: int, mean_settle: float, first_agrees: float) -> dict[str, float]:
    """Gains over plain decoding that no machine exceeds where a pass costs the same with more rows.

    every_exit: SPEED, G / E[r]. first_exit_checked_at_the_end: one proposal of the first exit, accepted where the last
    agrees, G / (p + (1 - p) G). everything_right: G.
    """
    p, g = first_agrees, repetitions
    return {"every_exit": g / mean_settle, "first_exit_checked_at_the_end": g / (p + (1 - p) * g),
            "everything_right": float(g)}


def along(settled: list[NDArray[np.int64]]) -> list[float]:
    """E[r] of the first BLOCK positions of all sequences, of the next, and so on.

    Text that runs in circles gets easier to predict: where the means fall, the loops flatter the trace.
    """
    longest = max(len(each) for each in settled)
    blocks = (np.concatenate([each[at:at + BLOCK] for each in settled]) for at in range(0, longest, BLOCK))
    return [float(block.mean()) for block in blocks]


def burstiness(settled: list[NDArray[np.int64]]) -> float | None:
    """Correlation between neighbours of the indicator r > 1; None where it is constant."""
    before = np.concatenate([each[:-1] for each in settled]) > 1
    after = np.concatenate([each[1:] for each in settled]) > 1
    if not before.size or before.std() == 0 or after.std() == 0:
        return None
    both = float((before & after).mean()) - float(before.mean()) * float(after.mean())
    return both / float(before.std() * after.std())


def _runs(settled: list[NDArray[np.int64]], quiet: bool) -> dict[str, float | int] | None:
    """Mean and longest run of positions with r = 1 (or, if not `quiet`, r > 1); None where there is none."""
    lengths = []
    for each in settled:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], ((each == 1) == quiet).astype(np.int8), [0]))))
        lengths.append(edges[1::2] - edges[::2])
    every = np.concatenate(lengths)
    return {"mean": float(every.mean()), "longest": int(every.max())} if len(every) else None


def _wilson(hits: int, trials: int, z: float = 1.959963984540054) -> dict[str, float]:
    """A share with its 95 % interval (Wilson 1927)."""
    p, n = hits / trials, trials
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return {"rate": p, "low": max(0.0, (centre - spread) / (1 + z * z / n)),
            "high": min(1.0, (centre + spread) / (1 + z * z / n))}


def _bootstrap(sums: NDArray[np.int64], counts: NDArray[np.int64], seed: int, resamples: int = 1000
               ) -> tuple[float | None, float | None]:
    """95 % interval of sum / count over resampled sequences; a single sequence says nothing about its spread."""
    n = len(sums)
    if n == 1:
        return None, None
    means = []
    for number in range(resamples):
        drawn = (draws((seed, number), n) % np.uint64(n)).astype(np.int64)
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def loops(text: Tokens) -> bool:
    """Whether one 4-gram of a text [count] occurs 8 times or more: greedy decoding has run into a circle."""
    rank = np.unique(text, return_inverse=True)[1].astype(np.int64)
    for distance in (1, 2):  # pairs of tokens, then pairs of pairs
        if len(rank) <= distance:
            return False
        rank = np.unique(rank[:-distance] * (rank.max() + 1) + rank[distance:], return_inverse=True)[1]
    return bool(np.bincount(rank).max() >= 8)
