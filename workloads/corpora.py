"""Corpora to train on, made from what a machine already has (texts.py) or from a task (copying.py).

    A python      standard library sources        B prose   English manual pages and documentation
    C german      German to English paragraphs    D copy    copy and summarise, of known predictability

A corpus is a list of files with their sha256, a byte-level BPE vocabulary learnt on the training share, and one stream
of token ids per split: every file's ids behind a separator. A file of C holds a source and a target, each behind its
mark. Files are split by family (the first part of the path), so that no held-out prompt comes from a family whose text
was trained on; the documents of D are drawn independently and are families of their own.

Text is scored in windows of `length` tokens (see `windows`), the same ones for every model that is compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import copying, texts

END = "<|end|>"
"""Stands before every file; id 0 of every vocabulary."""
MARKS = ("<|source|>", "<|target|>")
"""Ids 1 and 2 where a file holds a source and a target."""
SOURCE, TARGET = copying.SOURCE, copying.TARGET

SPLITS = ("train", "validation", "test")
TASK_DOCUMENTS = 20_000

_HELD_OUT_OF_20 = {"validation": 1, "test": 1}
"""Shares of twenty: 5 % of the modules validate, 5 % test, the rest is trained on."""


class Pair(NamedTuple):
    """A text and its translation, as ids without marks."""

    path: str
    source: NDArray[np.int64]
    target: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Corpus:
    """Token ids per split, the list of source files, the folder that holds the vocabulary if it has one."""

    splits: dict[str, NDArray[np.int64]]
    files: list[dict[str, str]]
    """path, split and sha256 of each source file, in the order of the streams."""
    folder: Path
    python: str = ""
    """The version of Python whose library this is; the text differs from one patch release to the next."""
    paired: bool = False
    """Whether every file is a source and a target, each behind its mark."""
    known: dict[str, float] | None = None
    """What is known of a task's predictability."""

    def documents(self, split: str) -> list[tuple[str, NDArray[np.int64]]]:
        """(path, token ids without the separator) of each of the split's files that is not empty."""
        ids = self.splits[split]
        paths = [file["path"] for file in self.files if file["split"] == split]
        starts = np.flatnonzero(ids == 0)
        if len(starts) != len(paths):
            raise ValueError(f"{self.folder}: {len(starts)} documents in the {split} split of {len(paths)} files")
        parts = [part[1:] for part in np.split(ids, starts)[1:]]
        return [(path, part) for path, part in zip(paths, parts, strict=True) if len(part)]

    def pairs(self, split: str) -> list[Pair]:
        """The split's (source, target) files; ValueError where a file is not one of each."""
        found = []
        for path, ids in self.documents(split):
            middle = np.flatnonzero(ids == TARGET)
            if len(middle) != 1 or ids[0] != SOURCE:
                raise ValueError(f"{self.folder}: {path} is no source and target")
            found.append(Pair(path, ids[1:middle[0]], ids[middle[0] + 1:]))
        return found

    def digest(self) -> str:
        """sha256 over the paths, splits and hashes of the files: two corpora with one digest hold the same text."""
        listed = [[file["path"], file["split"], file["sha256"]] for file in self.files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def module_of(path: str) -> str:
    """The family (module, package, catalogue) that a file belongs to: the first part of its path."""
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


def build(folder: Path, vocabulary: int = 4096, root: Path | None = None, name: str = "python") -> Corpus:
    """Make the corpus `name` in `folder`, or read it back where it was made before; `root` is where texts are found."""
    if not (folder / "files.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name not in NAMES:
            raise ValueError(f"corpus {name}: is none of {', '.join(NAMES)}")
        _write(folder, *NAMES[name](folder, vocabulary, root))
    return read(folder)


class Document(NamedTuple):
    """A file's ids without the separator, and the sha256 of its text."""

    path: str
    ids: list[int]
    sha256: str


def _plain(find: Callable[[Path | None], Iterable[tuple[str, ...]]], marks: tuple[str, ...]) -> Any:
    """A maker of documents from texts: the parts of a file stand behind one mark each, or alone without marks."""
    def make(folder: Path, vocabulary: int, root: Path | None) -> tuple[list[Document], dict[str, Any]]:
        from tokenizers import ByteLevelBPETokenizer

        listed = list(find(root))
        tokenizer = ByteLevelBPETokenizer()
        train = [text for path, *parts in listed if split_of(path) == "train" for text in parts]
        tokenizer.train_from_iterator(train, vocab_size=vocabulary, special_tokens=[END, *marks], show_progress=False)
        tokenizer.save(str(folder / "tokenizer.json"))
        special = range(len(marks) + 1)
        made = []
        for path, *parts in listed:
            ids: list[int] = []
            for number, text in enumerate(parts, 1):  # a text may spell a mark too
                ids += [number] if marks else []
                ids += [i for i in tokenizer.encode(text).ids if i not in special]
            made.append(Document(path, ids, hashlib.sha256("\0".join(parts).encode()).hexdigest()))
        return made, {"paired": True} if marks else {}

    return make


def _task(_folder: Path, vocabulary: int, _root: Path | None) -> tuple[list[Document], dict[str, Any]]:
    """The documents of the copy task, and what files.json says of it beside their list."""
    made = copying.documents(TASK_DOCUMENTS, vocabulary)
    return ([Document(path, ids, hashlib.sha256(str(ids).encode()).hexdigest()) for path, ids in made],
            {"paired": True, "known": copying.known(vocabulary)})


NAMES = {
    "python": _plain(texts.python_sources, ()),
    "prose": _plain(texts.english_prose, ()),
    "german": _plain(texts.german_english, MARKS),
    "copy": _task,
}


def _write(folder: Path, documents: list[Document], told: dict[str, Any]) -> None:
    """The streams and the list of files; the list is written last, so a corpus is whole or not there."""
    streams: dict[str, list[int]] = {split: [] for split in SPLITS}
    files = []
    for path, ids, sha256 in documents:
        streams[split_of(path)].extend([0, *ids])
        files.append({"path": path, "split": split_of(path), "sha256": sha256})
    for split, stream in streams.items():
        np.save(folder / f"{split}.npy", np.array(stream, dtype=np.uint16))
    made: dict[str, Any] = {"python": sys.version, "files": files, **told}
    partial = folder / "files.partial"
    partial.write_text(json.dumps(made, indent=0))
    os.replace(partial, folder / "files.json")


def read(folder: Path) -> Corpus:
    """The corpus that was made in `folder`. OSError where none was, ValueError where it is damaged."""
    made = json.loads((folder / "files.json").read_text())
    splits = {split: np.load(folder / f"{split}.npy", allow_pickle=False).astype(np.int64) for split in SPLITS}
    return Corpus(splits, made["files"], folder, made["python"].split()[0],
                  made.get("paired", False), made.get("known"))
