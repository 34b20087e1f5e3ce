"""Train a reference decoder on a corpus: weighted exit loss, checkpoints, resume.

    loss = sum_i w_i L_i,   w_i = i / (1 + ... + G)            (SPEED, arXiv:2310.12072)

The last exit is read for every token; of the others one is drawn per token with probability proportional to its weight
and counted with their weights' sum, which has the same expectation at two head reads a token instead of G.
Matrices of the group are updated with Muon, the embedding and the norms with AdamW; the learning rate warms up,
stays, and falls linearly to zero. A checkpoint every five minutes holds everything a resumed run needs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .corpora import Corpus, build
from .decoder import Decoder, Shape

CHECKPOINT_EVERY_S = 300


def exit_weights(repetitions: int) -> Tensor:
    """w_i = i / (1 + ... + G), one weight an exit."""
    rank = torch.arange(1, repetitions + 1, dtype=torch.float32)
    return rank / rank.sum()


def weighted_exit_loss(decoder: Decoder, tokens: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """(loss to descend, loss of the last exit) over sequences [batch, time + 1]."""
    states = decoder(tokens[:, :-1])
    target = tokens[:, 1:].flatten()
    weights = exit_weights(len(states))
    last = F.cross_entropy(decoder.head(states[-1]).flatten(0, 1).float(), target)
    if len(states) == 1:
        return last, last.detach()
    earlier = torch.stack(states[:-1], dim=-2).flatten(0, 1)
    chosen = torch.multinomial(weights[:-1], len(target), replacement=True, generator=draw)
    sampled = earlier[torch.arange(len(target)), chosen]
    early = F.cross_entropy(decoder.head(sampled).float(), target)
    return weights[-1] * last + (1 - weights[-1]) * early, last.detach()


def batches(ids: np.ndarray, size: int, length: int, seed: int, start: int) -> Iterator[Tensor]:
    """Endless batches [size, length + 1]: windows of the stream in an order seeded per epoch, from step `start` on."""
    windows = (len(ids) - 1) // length
    per_epoch = windows // size
    step = start
    while True:
        epoch, place = divmod(step, per_epoch)
        random = np.random.default_rng((seed, epoch))
        offset = random.integers(length)
        order = random.permutation(windows - 1)
        for place_now in range(place, per_epoch):
            chosen = order[place_now * size:(place_now + 1) * size] * length + offset
            yield torch.from_numpy(np.stack([ids[c:c + length + 1] for c in chosen if c + length < len(ids)]))
            step += 1


def learning_share(step: int, config: dict[str, Any]) -> float:
    """Share of the full learning rate at a step: warm-up, plateau, linear fall to zero."""
    rise = min(1.0, (step + 1) / config["warmup"])
    fall_from = config["decay_from"] * config["steps"]
    fall = 1.0 if step < fall_from else (config["steps"] - step) / (config["steps"] - fall_from)
    return rise * fall


def optimisers(decoder: Decoder, config: dict[str, Any]) -> list[torch.optim.Optimizer]:
    """Muon over the group's matrices, AdamW over the rest."""
    matrices = [p for p in decoder.group.parameters() if p.dim() == 2]
    others = [p for n, p in decoder.named_parameters() if p.dim() != 2 or n.startswith("embed")]
    return [
        torch.optim.Muon(matrices, lr=config["matrix_rate"], momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=config["table_rate"], betas=(0.9, 0.95), weight_decay=0.0),
    ]


@torch.no_grad()
def evaluate(decoder: Decoder, ids: np.ndarray, length: int) -> list[float]:
    """Mean loss in nats per token of each exit over the whole stream."""
    total, count = torch.zeros(decoder.shape.repetitions, dtype=torch.float64), 0
    for begin in range(0, len(ids) - length - 1, 8 * length):
        rows = [ids[b:b + length + 1] for b in range(begin, begin + 8 * length, length) if b + length < len(ids)]
        tokens = torch.from_numpy(np.stack(rows))
        target = tokens[:, 1:].flatten()
        for number, state in enumerate(decoder(tokens[:, :-1])):
            total[number] += F.cross_entropy(decoder.head(state).flatten(0, 1), target, reduction="sum").double()
        count += len(target)
    return [float(t) / count for t in total]


def train(config: dict[str, Any], folder: Path, corpus: Corpus | None = None) -> Decoder:
    """Train, or go on from the last checkpoint in `folder`; return the finished decoder."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = corpus or build(folder.parent / f"corpus_{config['corpus']}", config["vocabulary"])
    torch.manual_seed(config["seed"])
    decoder = Decoder(Shape(**config["shape"]))
    optimizers = optimisers(decoder, config)
    peak = [o.param_groups[0]["lr"] for o in optimizers]
    step, cpu_s = 0, 0.0
    saved = folder / "checkpoint.pt"
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        decoder.load_state_dict(state["decoder"])
        for optimizer, held in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(held)
        step, cpu_s = state["step"], state["cpu_s"]

    def save() -> None:
        partial = saved.with_suffix(".partial")
        held = [o.state_dict() for o in optimizers]
        spent = cpu_s + time.process_time() - begun
        torch.save({"decoder": decoder.state_dict(), "optimizers": held, "step": step, "cpu_s": spent}, partial)
        os.replace(partial, saved)

    begun, last_save = time.process_time(), time.monotonic()
    smooth = None
    for tokens in batches(corpus.splits["train"], config["batch"], config["length"], config["seed"], step):
        if step >= config["steps"]:
            break
        share = learning_share(step, config)
        for optimizer, rate in zip(optimizers, peak, strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
            optimizer.zero_grad(set_to_none=True)
        draw = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
        with torch.autocast("cpu", torch.bfloat16):
            loss, last = weighted_exit_loss(decoder, tokens, draw)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        step += 1
        smooth = float(last) if smooth is None else 0.98 * smooth + 0.02 * float(last)
        if step % 20 == 0:
            spent = cpu_s + time.process_time() - begun
            line = {"step": step, "last_exit": round(smooth, 4), "share": round(share, 4), "cpu_s": round(spent)}
            if step % 500 == 0:
                line["validation"] = [round(x, 4) for x in evaluate(decoder, corpus.splits["validation"], 384)]
            print(json.dumps(line), flush=True)
        if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
            save()
            last_save = time.monotonic()
    save()
    return decoder


def main() -> None:
    """`python -m speedsim.workloads.train CONFIG.yaml FOLDER [THREADS]`."""
    import sys

    import yaml

    config = yaml.safe_load(Path(sys.argv[1]).read_text())
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else os.cpu_count() or 1)
    train(config, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
