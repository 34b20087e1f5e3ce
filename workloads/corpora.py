"""Text to train on, made from what a machine already has: the Python standard library's sources, without tests.

A corpus is a list of files with their sha256, a byte-level BPE vocabulary learnt on the training share, and one stream
of token ids per split: every file's ids behind a separator. Files are split by module (the first part of the path), so
that no held-out prompt comes from a module whose text was trained on. Generated tables (code pages, the pydoc topics)
are left out: they are not prose and not code, and a model that learns them says nothing about text.

Text is scored in windows of `length` tokens (see `windows`), the same ones for every model that is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = "<|end|>"
"""Stands before every file; id 0 of every vocabulary."""

SPLITS = ("train", "validation", "test")

_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "__pycache__", "encodings", "pydoc_data", "_bundled"}
_HELD_OUT_OF_20 = {"validation": 1, "test": 1}
"""Shares of twenty: 5 % of the modules validate, 5 % test, the rest is trained on."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Token ids per split, the list of source files, the folder that holds the vocabulary."""

    splits: dict[str, NDArray[np.int64]]
    files: list[dict[str, str]]
    """path, split and sha256 of each source file, in the order of the streams."""
    folder: Path
    python: str = ""
    """The version of Python whose library this is; the text differs from one patch release to the next."""

    def documents(self, split: str) -> list[tuple[str, NDArray[np.int64]]]:
        """(path, token ids without the separator) of each of the split's files that is not empty."""
        ids = self.splits[split]
        paths = [file["path"] for file in self.files if file["split"] == split]
        starts = np.flatnonzero(ids == 0)
        if len(starts) != len(paths):
            raise ValueError(f"{self.folder}: {len(starts)} documents in the {split} split of {len(paths)} files")
        parts = [part[1:] for part in np.split(ids, starts)[1:]]
        return [(path, part) for path, part in zip(paths, parts, strict=True) if len(part)]

    def digest(self) -> str:
        """sha256 over the paths, splits and hashes of the files: two corpora with one digest hold the same text."""
        listed = [[file["path"], file["split"], file["sha256"]] for file in self.files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def python_sources(root: Path | None = None) -> Iterator[tuple[str, str]]:
    """(path below the library, text) of every standard library source, in sorted order."""
    library = root or Path(os.__file__).parent
    for path in sorted(library.rglob("*.py")):
        relative = path.relative_to(library)
        if _LEFT_OUT.isdisjoint(relative.parts):
            yield relative.as_posix(), path.read_text(encoding="utf-8", errors="replace")


def module_of(path: str) -> str:
    """The module or package that a file belongs to: the first part of its path."""
    return path.split("/", maxsplit=1)[0].removesuffix(".py")


def split_of(path: str, seed: int = 0) -> str:
    """The split of a file: a seeded hash of its module, so that a package never spans two splits."""
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{module_of(path)}".encode()).digest()[:4]) % 20
    for split, share in _HELD_OUT_OF_20.items():
        if draw < share:
            return split
        draw -= share
    return "train"


def windows(ids: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Where the windows of a stream begin: one from b reads ids[b:b+length] and predicts ids[b+1:b+length+1].

    They follow one another without a gap, so tokens 1 .. windows x length are each predicted once; a tail that fills no
    window is left out.
    """
    return np.arange(max(0, len(ids) - 1) // length) * length


def build(folder: Path, vocabulary: int = 4096, root: Path | None = None) -> Corpus:
    """Make the corpus in `folder`, or read it back where it was made before."""
    if not (folder / "files.json").exists():
        _make(folder, vocabulary, root)
    return read(folder)


def _make(folder: Path, vocabulary: int, root: Path | None) -> None:
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True, exist_ok=True)
    texts = list(python_sources(root))
    tokenizer = ByteLevelBPETokenizer()
    train = [text for path, text in texts if split_of(path) == "train"]
    tokenizer.train_from_iterator(train, vocab_size=vocabulary, special_tokens=[END], show_progress=False)
    tokenizer.save(str(folder / "tokenizer.json"))
    streams: dict[str, list[int]] = {split: [] for split in SPLITS}
    files = []
    for path, text in texts:
        streams[split_of(path)].extend([0, *filter(None, tokenizer.encode(text).ids)])  # the text may spell END too
        files.append({"path": path, "split": split_of(path), "sha256": hashlib.sha256(text.encode()).hexdigest()})
    for split, ids in streams.items():
        np.save(folder / f"{split}.npy", np.array(ids, dtype=np.uint16))
    made: dict[str, Any] = {"python": sys.version, "files": files}
    partial = folder / "files.partial"
    partial.write_text(json.dumps(made, indent=0))
    os.replace(partial, folder / "files.json")


def read(folder: Path) -> Corpus:
    """The corpus that was made in `folder`. OSError where none was, ValueError where it is damaged."""
    made = json.loads((folder / "files.json").read_text())
    splits = {split: np.load(folder / f"{split}.npy", allow_pickle=False).astype(np.int64) for split in SPLITS}
    return Corpus(splits, made["files"], folder, made["python"].split()[0])
