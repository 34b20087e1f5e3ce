"""Train a reference decoder on a corpus: weighted exit loss, checkpoints, resume.

    loss = sum_i w_i L_i,   w_i = i / (1 + ... + G)            (SPEED, arXiv:2310.12072)

The last exit is read for every token; of the others one is drawn per token with probability proportional to its weight
and counted with their weights' sum, which has the same expectation at two head reads a token instead of G.
Matrices of the group are updated with Muon, the embedding and the norms with AdamW; the learning rate warms up,
stays, and falls linearly to zero. Batches and draws depend on the seed and the step alone, so a run that was killed
goes on from its last checkpoint (one every five minutes) to the same weights as a run that was not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .corpora import Corpus, build, windows
from .decoder import Decoder, Shape

CHECKPOINT_EVERY_S = 300

Ids = NDArray[np.int64]
Optimizers = list[torch.optim.Optimizer]


def exit_weights(repetitions: int) -> Tensor:
    """w_i = i / (1 + ... + G), one weight an exit."""
    rank = torch.arange(1, repetitions + 1, dtype=torch.float32)
    return rank / rank.sum()


def weighted_exit_loss(decoder: Decoder, tokens: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """(loss to descend, loss of the last exit) over sequences [batch, time + 1]."""
    states = decoder(tokens[:, :-1])
    target = tokens[:, 1:].flatten()
    weights = exit_weights(len(states))
    last = functional.cross_entropy(decoder.head(states[-1]).flatten(0, 1).float(), target)
    if len(states) == 1:
        return last, last.detach()
    earlier = torch.stack(states[:-1], dim=-2).flatten(0, 1)
    chosen = torch.multinomial(weights[:-1], len(target), replacement=True, generator=draw)
    sampled = earlier[torch.arange(len(target)), chosen]
    early = functional.cross_entropy(decoder.head(sampled).float(), target)
    return weights[-1] * last + (1 - weights[-1]) * early, last.detach()


def batches(ids: Ids, size: int, length: int, seed: int, start: int) -> Iterator[Tensor]:
    """Endless batches [size, length + 1] from step `start` on.

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
            yield torch.from_numpy(np.stack([ids[b:b + length + 1] for b in chosen * length + offset]))
            step += 1


def learning_share(step: int, config: dict[str, Any]) -> float:
    """Share of the full learning rate at a step: warm-up, plateau, linear fall to zero."""
    rise: float = min(1.0, (step + 1) / config["warmup"])
    fall_from = config["decay_from"] * config["steps"]
    fall: float = 1.0 if step < fall_from else (config["steps"] - step) / (config["steps"] - fall_from)
    return rise * fall


def optimisers(decoder: Decoder, config: dict[str, Any]) -> Optimizers:
    """Muon over the group's matrices, AdamW over the rest."""
    matrices = [p for p in decoder.group.parameters() if p.dim() == 2]
    others = [p for n, p in decoder.named_parameters() if p.dim() != 2 or n.startswith("embed")]
    return [
        torch.optim.Muon(matrices, lr=config["matrix_rate"], momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=config["table_rate"], betas=(0.9, 0.95), weight_decay=0.0),
    ]


@torch.no_grad()
def evaluate(decoder: Decoder, ids: Ids, length: int, size: int = 8) -> list[float]:
    """Mean loss in nats per token of each exit over all windows of the stream, `size` windows at a time.

    Every window starts without a past, at position 0. ValueError where the stream holds no window.
    """
    begins = windows(ids, length)
    if not len(begins):
        raise ValueError(f"{len(ids)} tokens hold no window of {length}")
    total = torch.zeros(decoder.shape.repetitions, dtype=torch.float64)
    for place in range(0, len(begins), size):
        tokens = torch.from_numpy(np.stack([ids[b:b + length + 1] for b in begins[place:place + size]]))
        target = tokens[:, 1:].flatten()
        for number, state in enumerate(decoder(tokens[:, :-1])):
            logits = decoder.head(state).flatten(0, 1)
            total[number] += functional.cross_entropy(logits, target, reduction="sum").double()
    return [float(t) / (len(begins) * length) for t in total]


def save(path: Path, decoder: Decoder, optimizers: Optimizers, step: int, cpu_s: float) -> None:
    """Write everything that a resumed run needs; the file appears whole or not at all."""
    partial = path.with_suffix(".partial")
    held = [o.state_dict() for o in optimizers]
    with partial.open("wb") as stream:
        torch.save({"decoder": decoder.state_dict(), "optimizers": held, "step": step, "cpu_s": cpu_s}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, path)


def restore(path: Path, decoder: Decoder, optimizers: Optimizers | None = None) -> tuple[int, float]:
    """Fill the decoder, and the optimizers where given, from a checkpoint; return (steps done, CPU seconds spent)."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    decoder.load_state_dict(state["decoder"])
    for optimizer, held in zip(optimizers or (), state["optimizers"], strict=optimizers is not None):
        optimizer.load_state_dict(held)
    return state["step"], state["cpu_s"]


def descend(decoder: Decoder, optimizers: Optimizers, tokens: Tensor, step: int, config: dict[str, Any]) -> float:
    """One step down the weighted exit loss on a batch; return the last exit's loss."""
    for optimizer, rate in zip(optimizers, (config["matrix_rate"], config["table_rate"]), strict=True):
        optimizer.param_groups[0]["lr"] = rate * learning_share(step, config)
        optimizer.zero_grad(set_to_none=True)
    draw = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16):
        loss, last = weighted_exit_loss(decoder, tokens, draw)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return float(last)


def train(config: dict[str, Any], folder: Path, corpus: Corpus | None = None) -> Decoder:
    """Train, or go on from the last checkpoint in `folder`; return the finished decoder.

    Without a corpus the one of the configuration is made, or read, beside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    corpus = corpus or build(folder.parent / f"corpus_{config['corpus']}", config["vocabulary"])
    torch.manual_seed(config["seed"])
    decoder = Decoder(Shape(**config["shape"]))
    optimizers = optimisers(decoder, config)
    saved = folder / "checkpoint.pt"
    step, cpu_s = restore(saved, decoder, optimizers) if saved.exists() else (0, 0.0)
    begun, last_save, smooth = time.process_time() - cpu_s, time.monotonic(), None
    for tokens in batches(corpus.splits["train"], config["batch"], config["length"], config["seed"], step):
        if step >= config["steps"]:
            break
        last = descend(decoder, optimizers, tokens, step, config)
        step += 1
        smooth = last if smooth is None else 0.98 * smooth + 0.02 * last
        if step % 20 == 0:
            line: dict[str, Any] = {"step": step, "last_exit": round(smooth, 4),
                                    "share": round(learning_share(step - 1, config), 4),
                                    "cpu_s": round(time.process_time() - begun)}
            if step % 500 == 0:
                losses = evaluate(decoder, corpus.splits["validation"], config["length"])
                line["validation"] = [round(x, 4) for x in losses]
            print(json.dumps(line), flush=True)
        if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
            save(saved, decoder, optimizers, step, time.process_time() - begun)
            last_save = time.monotonic()
    save(saved, decoder, optimizers, step, time.process_time() - begun)
    return decoder


def main(arguments: list[str] | None = None) -> None:
    """`python -m speedsim.workloads.train CONFIG FOLDER [THREADS]`."""
    import yaml

    parser = argparse.ArgumentParser(prog="train", description="Train a reference decoder, or go on where it stopped.")
    parser.add_argument("config", type=Path, help="a file of workloads/training")
    parser.add_argument("folder", type=Path, help="where checkpoint.pt is kept; the corpus is made beside it")
    parser.add_argument("threads", type=int, nargs="?", default=os.cpu_count() or 1, help="default: every core")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    train(yaml.safe_load(given.config.read_text()), given.folder)


if __name__ == "__main__":
    main()
