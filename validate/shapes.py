"""Decoder shapes as resolved JSON, and decoders of random weights built from them.

A machine with a GPU may lack the libraries that read the YAML model files, so the shapes that the campaign needs lie
beside this file as plain JSON: the fields of sim/model.py, nothing else. `python -m validate models` writes them from
the YAML files; a test keeps the two equal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from speedsim.model import Dtypes, Model
from speedsim.workloads.decoder import Decoder, Shape

from .refusal import RefusedError

FOLDER = Path(__file__).parent / "models"
_TIMED = ("d_model", "q_heads", "kv_heads", "head_dim", "ffn", "vocab", "group_layers", "repetitions")
"""Fields of a model that the harness builds its decoder from; the others are left out, and said so."""
TORCH_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def names() -> list[str]:
    """Names of the shapes beside this file."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load(name: str) -> Model:
    """The shape `name`, or the one in a JSON file."""
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name.replace('-', '_').replace('.', '_')}.json"
    if not path.is_file():
        raise RefusedError(f"{path}: no such model; there are {', '.join(names())}")
    try:
        return of_fields(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise RefusedError(f"{path}: {error}") from error


def of_fields(values: Mapping[str, Any]) -> Model:
    """A model from its resolved fields, each plain or as `{"value": ..., "kind": ..., "source": ...}`."""
    values = {key: v["value"] if isinstance(v, dict) and "value" in v else v for key, v in values.items()}
    known = {field.name for field in fields(Model)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no field of a model")
    plain = dict(values)
    plain["dtype"] = Dtypes(**plain.get("dtype", {}))
    return Model(**plain)


def write(model: Model, path: Path) -> None:
    """The model as resolved JSON; fields that have their default are left out."""
    usual = {field.name for field in fields(Model) if getattr(model, field.name) == field.default}
    values = {key: value for key, value in asdict(model).items() if key == "dtype" or key not in usual}
    path.write_text(json.dumps(values, indent=1) + "\n")


def decoder_shape(model: Model) -> tuple[Shape, list[str]]:
    """What the reference decoder is built from, and what it leaves out of the model."""
    notes = []
    if model.prelude or model.coda or model.adapter:
        notes.append(f"{model.name}: timed as {model.group_layers} x {model.repetitions} layers, without its prelude "
                     f"of {model.prelude}, coda of {model.coda}{' and input adapter' if model.adapter else ''}")
    if not model.tied:
        notes.append(f"{model.name}: its head is timed as the embedding's transpose, of the same size")
    if model.cross_attention:
        notes.append(f"{model.name}: timed without cross-attention")
    if not model.gated:
        raise RefusedError(f"{model.name}: the reference decoder has a gated feed-forward part, this model has none")
    return Shape(**{name: getattr(model, name) for name in _TIMED}), notes


def random_decoder(shape: Shape, device: str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0,
                   stir: float = 1.0) -> Decoder:
    """A decoder of seeded random weights, built on the device it runs on.

    `stir` scales what each layer adds to the stream; above 1 the exits disagree more often, as a trained model's do.
    """
    with torch.device("meta"):
        decoder = Decoder(shape)
    decoder = decoder.to(dtype).to_empty(device=device).requires_grad_(False).eval()
    draw = torch.Generator(device).manual_seed(seed)
    depth = shape.group_layers * shape.repetitions
    for name, weight in decoder.named_parameters():
        if weight.dim() == 1:
            weight.fill_(1.0)
        else:
            into_stream = name.endswith(("out.weight", "down.weight"))
            scale = stir / (2 * depth) ** 0.5 if into_stream else 1.0
            weight.normal_(0.0, scale * weight.shape[1] ** -0.5, generator=draw)
    return decoder
