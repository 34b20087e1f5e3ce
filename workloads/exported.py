"""A trained decoder in one small file: bf16 bit patterns in an .npz, nothing pickled, readable without torch's formats.

Weights are rounded to bf16 before a trace is recorded, so whoever has the exported file can record the trace again.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from speedsim.files import whole_file
from speedsim.units import InputError

from .decoder import Decoder, Shape

LARGEST_WEIGHTS = 8_000_000
"""Bytes of an exported file at most: it is meant to be kept beside the code."""


def round_weights(decoder: Decoder) -> None:
    """Round every weight to bf16, kept in fp32."""
    for parameter in decoder.parameters():
        parameter.data = parameter.data.bfloat16().float()


def export_weights(decoder: Decoder, path: Path) -> None:
    """Write the weights as bf16 bit patterns (.npz, nothing pickled), readable by `load_weights`.

    InputError where the file would exceed LARGEST_WEIGHTS.
    """
    arrays = {name: tensor.bfloat16().view(torch.int16).numpy().view(np.uint16)
              for name, tensor in decoder.state_dict().items()}
    size = sum(array.nbytes for array in arrays.values())
    if size > LARGEST_WEIGHTS:
        raise InputError(f"{path}: {size} bytes of weights, more than {LARGEST_WEIGHTS}")
    with whole_file(path) as stream:
        np.savez(stream, shape=np.frombuffer(json.dumps(asdict(decoder.shape)).encode(), dtype=np.uint8), **arrays)


def load_weights(path: Path) -> Decoder:
    """The decoder in a file of `export_weights`, its weights in fp32. InputError where the file is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > 2 * LARGEST_WEIGHTS:
            raise InputError(f"{path}: {size} bytes unpacked, more than any exported decoder")
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        if any(array.dtype != np.uint16 for name, array in arrays.items() if name != "shape"):
            raise ValueError("weights are not 16-bit patterns")
        decoder = Decoder(Shape(**json.loads(arrays.pop("shape").tobytes())))
        weights = {name: torch.from_numpy((array.astype(np.uint32) << 16).view(np.float32))
                   for name, array in arrays.items()}
        decoder.load_state_dict(weights)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: no exported decoder: {' '.join(str(error).split())[:120]}") from error
    return decoder
