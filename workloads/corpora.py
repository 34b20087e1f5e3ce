"""Text to train on, made from what a machine already has: the Python standard library's sources, without tests.

A corpus is a list of files with their sha256, a byte-level BPE vocabulary learnt on the training share, and one stream
of token ids per split. Files are split by module (the first part of the path), so that no held-out prompt comes from a
module whose text was trained on. Generated tables (code pages, the pydoc topics) are left out: they are not prose
and not code, and a model that learns them says nothing about text.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

END = "<|end|>"
"""Stands between files; id 0 of every vocabulary."""

_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data", "_bundled"}
_HELD_OUT_OF_20 = {"validation": 1, "test": 1}
"""Shares of twenty: 5 % of the modules validate, 5 % test, the rest is trained on."""


@dataclass(frozen=True)
class Corpus:
    """Token ids per split, the vocabulary file and the list of source files."""

    splits: dict[str, np.ndarray]
    files: list[dict[str, str]]
    folder: Path

    def documents(self, split: str) -> list[np.ndarray]:
        """The split's token ids, one array a file, without the separator."""
        ids = self.splits[split]
        ends = np.flatnonzero(ids == 0)
        return [part[part != 0] for part in np.split(ids, ends) if (part != 0).any()]


def python_sources(root: Path | None = None) -> Iterator[tuple[str, str]]:
    """(path below the library, text) of every standard library source, in sorted order."""
    library = root or Path(os.__file__).parent
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if _LEFT_OUT.isdisjoint(relative.parts):
            yield relative.as_posix(), path.read_text(encoding="utf-8", errors="replace")


def split_of(path: str, seed: int = 0) -> str:
    """The split of a file: a seeded hash of its module, so that a package never spans two splits."""
    module = path.split("/")[0].removesuffix(".py")
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{module}".encode()).digest()[:4]) % 20
    for split, share in _HELD_OUT_OF_20.items():
        if draw < share:
            return split
        draw -= share
    return "train"


def build(folder: Path, vocabulary: int = 4096, root: Path | None = None) -> Corpus:
    """Make the corpus in `folder`, or read it back where it was made before."""
    if (folder / "files.json").exists():
        return _read(folder)
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True, exist_ok=True)
    texts = list(python_sources(root))
    tokenizer = ByteLevelBPETokenizer()
    train = [text for path, text in texts if split_of(path) == "train"]
    tokenizer.train_from_iterator(train, vocab_size=vocabulary, special_tokens=[END], show_progress=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    streams: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    files = []
    for path, text in texts:
        streams[split_of(path)].extend([0, *tokenizer.encode(text).ids])
        files.append({"path": path, "split": split_of(path), "sha256": hashlib.sha256(text.encode()).hexdigest()})
    for split, ids in streams.items():
        np.save(folder / f"{split}.npy", np.array(ids, dtype=np.uint16))
    (folder / "files.json").write_text(json.dumps({"python": sys.version, "files": files}, indent=0))
    return _read(folder)


def _read(folder: Path) -> Corpus:
    files = json.loads((folder / "files.json").read_text())["files"]
    splits = {s: np.load(folder / f"{s}.npy").astype(np.int64) for s in ("train", "validation", "test")}
    return Corpus(splits, files, folder)
