"""Train a reference decoder on a corpus: weighted exit loss, checkpoints, resume.

    loss = sum_i w_i L_i,   w_i = i / (1 + ... + G)            (SPEED, arXiv:2310.12072)

The last exit is read for every token; of the others one is drawn per token with probability proportional to its weight
and counted with their weights' sum, which has the same expectation at two head reads a token instead of G.
Matrices of the layers are updated with Muon, tables and norms with AdamW; the learning rate warms up,
stays, and falls linearly to zero. Batches and draws depend on the seed and the step alone, so a run that was killed
goes on from its last checkpoint (one every five minutes) to the same weights as a run that was not.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from speedsim.units import InputError
from torch import Tensor
from torch.nn import functional

from .batches import NOTHING, Batch, held_out, training
from .corpora import Corpus, build
from .decoder import Decoder, Shape
from .evaluation import examine

CHECKPOINT_EVERY_S = 300
VALIDATED = 200
"""Windows or pairs of the validation split that a line of the log is made from."""

Optimizers = list[torch.optim.Optimizer]


def exit_weights(repetitions: int) -> Tensor:
    """w_i = i / (1 + ... + G), one weight an exit."""
    rank = torch.arange(1, repetitions + 1, dtype=torch.float32)
    return rank / rank.sum()


def weighted_exit_loss(decoder: Decoder, batch: Batch, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """(loss to descend, loss of the last exit) over the predictions of a batch that count."""
    counts = (batch.target != NOTHING).flatten()
    states = [x.flatten(0, 1)[counts] for x in decoder(batch.tokens, batch.source)]
    target = batch.target.flatten()[counts]
    weights = exit_weights(len(states))
    last = functional.cross_entropy(decoder.head(states[-1]).float(), target)
    if len(states) == 1:
        return last, last.detach()
    earlier = torch.stack(states[:-1], dim=-2)
    chosen = torch.multinomial(weights[:-1], len(target), replacement=True, generator=draw)
    sampled = earlier[torch.arange(len(target)), chosen]
    early = functional.cross_entropy(decoder.head(sampled).float(), target)
    return weights[-1] * last + (1 - weights[-1]) * early, last.detach()


def learning_share(step: int, config: dict[str, Any]) -> float:
    """Share of the full learning rate at a step: warm-up, plateau, linear fall to zero."""
    rise: float = min(1.0, (step + 1) / config["warmup"])
    fall_from = config["decay_from"] * config["steps"]
    fall: float = 1.0 if step < fall_from else (config["steps"] - step) / (config["steps"] - fall_from)
    return rise * fall


def optimisers(decoder: Decoder, config: dict[str, Any]) -> Optimizers:
    """Muon over the layers' matrices, AdamW over tables, head and norms."""
    tables = ("embed.weight", "unembed.weight", "bias.table.weight")
    matrices = [p for n, p in decoder.named_parameters() if p.dim() == 2 and not n.endswith(tables)]
    others = [p for n, p in decoder.named_parameters() if p.dim() != 2 or n.endswith(tables)]
    return [
        torch.optim.Muon(matrices, lr=config["matrix_rate"], momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=config["table_rate"], betas=(0.9, 0.95), weight_decay=0.0),
    ]


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


def descend(decoder: Decoder, optimizers: Optimizers, batch: Batch, step: int, config: dict[str, Any]) -> float:
    """One step down the weighted exit loss on a batch; return the last exit's loss."""
    for optimizer, rate in zip(optimizers, (config["matrix_rate"], config["table_rate"]), strict=True):
        optimizer.param_groups[0]["lr"] = rate * learning_share(step, config)
        optimizer.zero_grad(set_to_none=True)
    draw = torch.Generator().manual_seed(config["seed"] * 1_000_003 + step)
    with torch.autocast("cpu", torch.bfloat16):
        loss, last = weighted_exit_loss(decoder, batch, draw)
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
    corpus = corpus or build(folder.parent / f"corpus_{config['corpus']}", config["vocabulary"], name=config["corpus"])
    torch.manual_seed(config["seed"])
    decoder = Decoder(Shape(**config["shape"]))
    optimizers = optimisers(decoder, config)
    saved = folder / "checkpoint.pt"
    step, cpu_s = restore(saved, decoder, optimizers) if saved.exists() else (0, 0.0)
    begun, last_save, smooth = time.process_time() - cpu_s, time.monotonic(), None
    encodes = decoder.encoder is not None
    for batch in training(corpus, encodes, config["batch"], config["length"], config["seed"], step):
        if step >= config["steps"]:
            break
        last = descend(decoder, optimizers, batch, step, config)
        step += 1
        smooth = last if smooth is None else 0.98 * smooth + 0.02 * last
        if step % 20 == 0:
            line: dict[str, Any] = {"step": step, "last_exit": round(smooth, 4),
                                    "share": round(learning_share(step - 1, config), 4),
                                    "cpu_s": round(time.process_time() - begun)}
            if step % 500 == 0:
                line["validation"] = _told(examine(decoder, held_out(corpus, "validation", encodes, config["length"],
                                                                     VALIDATED)))
            print(json.dumps(line), flush=True)
        if time.monotonic() - last_save > CHECKPOINT_EVERY_S:
            save(saved, decoder, optimizers, step, time.process_time() - begun)
            last_save = time.monotonic()
    save(saved, decoder, optimizers, step, time.process_time() - begun)
    return decoder


def _told(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures for a line of the log, rounded."""
    return {key: [round(x, 4) for x in value] if isinstance(value, list) else value for key, value in figures.items()}


def configuration(name: str) -> Path:
    """The file of this name in workloads/training, or the path itself. InputError where there is neither."""
    shipped = Path(__file__).with_name("training") / f"{name}.yaml"
    path = shipped if shipped.is_file() else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in shipped.parent.glob("*.yaml")))
        raise InputError(f"train {name}: no such file, nor one of {known}")
    return path


def main(arguments: list[str] | None = None) -> None:
    """`speedsim train CONFIG [FOLDER] [--threads N]`."""
    import yaml

    parser = argparse.ArgumentParser(prog="train", description="Train a reference decoder, or go on where it stopped.")
    parser.add_argument("config", help="a file like those of workloads/training, or the name of one of them")
    parser.add_argument("folder", type=Path, nargs="?", help="where checkpoint.pt is kept, the corpus beside it "
                        "(default runs/CONFIG)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: every core")
    given = parser.parse_args(arguments)
    path = configuration(given.config)
    torch.set_num_threads(given.threads)
    train(yaml.safe_load(path.read_text()), given.folder or Path("runs") / path.stem)


if __name__ == "__main__":
    main()
