"""How good a decoder's exits are on held-out text, exit by exit: the figures of a training log and of a trace's card.

Everything here is read with the true text as input (teacher forcing), so every exit is asked the same questions; a
trace, where the decoder reads what it wrote itself, has its own flip rates (traces/statistics.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn import functional

from .batches import NOTHING, Batch
from .decoder import Decoder


@torch.no_grad()
def examine(decoder: Decoder, batches: Iterable[Batch]) -> dict[str, Any]:
    """Figures per exit over all predictions that count, in plain JSON values.

    exit_losses: nats per token. top1: share of exits that predict the true token. agreement: share that say what the
    last exit says. flip_rates: share that differ from the exit before. settle_histogram: tokens by the repetition at
    which the prediction last changed.
    """
    repetitions = decoder.shape.repetitions
    losses = torch.zeros(repetitions, dtype=torch.float64)
    right, agree = torch.zeros(repetitions), torch.zeros(repetitions)
    flips, settled, tokens = torch.zeros(repetitions - 1), torch.zeros(repetitions + 1), 0
    for batch in batches:
        counts = batch.target.flatten() != NOTHING
        target = batch.target.flatten()[counts]
        said = []
        for number, state in enumerate(decoder(batch.tokens, batch.source)):
            logits = decoder.head(state).flatten(0, 1)[counts].float()
            losses[number] += functional.cross_entropy(logits, target, reduction="sum").double()
            said.append(logits.argmax(-1))
        exits = torch.stack(said, dim=-1)
        right += (exits == target.unsqueeze(-1)).sum(0)
        agree += (exits == exits[:, -1:]).sum(0)
        changed = exits[:, 1:] != exits[:, :-1]
        flips += changed.sum(0)
        rank = changed * torch.arange(2, repetitions + 1)
        settled += torch.bincount(rank.amax(-1).clamp(min=1) if repetitions > 1 else torch.ones(len(exits)).long(),
                                  minlength=repetitions + 1)
        tokens += len(target)
    return {
        "tokens": tokens, "exit_losses": (losses / tokens).tolist(), "top1": _shares(right, tokens),
        "agreement": _shares(agree, tokens), "flip_rates": _shares(flips, tokens),
        "settle_histogram": {str(r): int(n) for r, n in enumerate(settled.tolist()) if r},
    }


def _shares(hits: torch.Tensor, trials: int) -> list[float]:
    return [float(h) / trials for h in hits.tolist()]
