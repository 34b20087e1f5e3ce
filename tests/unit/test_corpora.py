"""The corpus: whole modules on one side of the split, documents that know their file, windows without gaps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speedsim.workloads import corpora
from speedsim.workloads.corpora import Corpus


def library(folder: Path) -> Path:
    """A small library: a package, modules of every split, and what is to be left out."""
    names = {split: [f"m{i}" for i in range(200) if corpora.split_of(f"m{i}.py") == split] for split in corpora.SPLITS}
    root = folder / "library"
    package = names["test"][0]
    files = {
        f"{names['train'][0]}.py": "def f(x):\n    return x + 1\n" * 30,
        f"{names['train'][1]}.py": "print('<|end|>')\n",
        f"{names['validation'][0]}.py": "value = 3\n",
        f"{package}/__init__.py": "", f"{package}/inner.py": "x = f(2)\n",
        f"{package}/tests/case.py": "no", "test/big.py": "no", "encodings/cp1.py": "no", "site-packages/a.py": "no",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture
def built(tmp_path: Path) -> Corpus:
    pytest.importorskip("tokenizers")
    return corpora.build(tmp_path / "corpus", 300, library(tmp_path))


def by_hand(files: dict[str, str], **streams: list[int]) -> Corpus:
    listed = [{"path": path, "split": split, "sha256": ""} for path, split in files.items()]
    return Corpus({s: np.array(streams.get(s, []), dtype=np.int64) for s in corpora.SPLITS}, listed, Path("corpus"))


@given(st.lists(st.sampled_from("abcxyz_"), min_size=1, max_size=6).map("".join), st.integers(0, 3))
def test_a_package_never_spans_two_splits(name: str, seed: int) -> None:
    splits = {corpora.split_of(path, seed) for path in (f"{name}.py", f"{name}/__init__.py", f"{name}/a/b.py")}
    assert len(splits) == 1


def test_about_five_percent_of_the_modules_are_held_out_for_each_purpose() -> None:
    splits = [corpora.split_of(f"module{i}.py") for i in range(4000)]
    for split in ("validation", "test"):
        assert abs(splits.count(split) / 4000 - 0.05) < 4 * (0.05 * 0.95 / 4000) ** 0.5


def test_tests_and_generated_tables_are_left_out(built: Corpus) -> None:
    assert len(built.files) == 5
    assert not any("tests" in f["path"] or "encodings" in f["path"] for f in built.files)


def test_a_document_is_a_file_that_is_not_empty(built: Corpus) -> None:
    from tokenizers import Tokenizer

    (path, ids), = built.documents("test")
    assert path.endswith("/inner.py")
    assert Tokenizer.from_file(str(built.folder / "tokenizer.json")).decode(ids.tolist()) == "x = f(2)\n"
    assert sum(file["split"] == "test" for file in built.files) == 2


def test_text_that_spells_the_separator_makes_no_document_of_its_own(built: Corpus) -> None:
    documents = built.documents("train")
    assert len(documents) == 2
    assert all((ids != 0).all() for _, ids in documents)


def test_a_corpus_is_made_once_and_read_back(built: Corpus, tmp_path: Path) -> None:
    (tmp_path / "library" / "another.py").write_text("late = True\n")
    again = corpora.build(tmp_path / "corpus", 300, tmp_path / "library")
    assert again.digest() == built.digest()
    assert again.python == json.loads((built.folder / "files.json").read_text())["python"].split()[0]
    for split in corpora.SPLITS:
        assert again.splits[split].tolist() == built.splits[split].tolist()


def test_a_build_that_was_killed_is_made_anew(built: Corpus, tmp_path: Path) -> None:
    os.remove(built.folder / "files.json")
    (built.folder / "test.npy").write_bytes(b"half")
    assert corpora.build(tmp_path / "corpus", 300, tmp_path / "library").digest() == built.digest()


def test_the_digest_sees_every_file() -> None:
    base = by_hand({"a.py": "train", "b.py": "test"})
    assert base.digest() == by_hand({"a.py": "train", "b.py": "test"}).digest()
    assert base.digest() != by_hand({"a.py": "train"}).digest()
    assert base.digest() != by_hand({"a.py": "train", "b.py": "validation"}).digest()


def test_a_stream_of_other_files_is_refused() -> None:
    with pytest.raises(ValueError, match="2 documents in the test split of 1 files"):
        by_hand({"a.py": "test"}, test=[0, 5, 6, 0, 7]).documents("test")
    (path, ids), = by_hand({"a.py": "test", "b.py": "test"}, test=[0, 0, 7]).documents("test")
    assert (path, ids.tolist()) == ("b.py", [7])


@given(st.integers(0, 50), st.integers(1, 12))
def test_windows_predict_every_token_once_but_the_tail(tokens: int, length: int) -> None:
    begins = corpora.windows(np.arange(tokens), length)
    predicted = [t for b in begins for t in range(b + 1, b + length + 1)]
    assert predicted == list(range(1, len(begins) * length + 1))
    assert len(predicted) <= max(0, tokens - 1) < len(predicted) + length
