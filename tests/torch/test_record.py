"""Recording: prompts nobody trained on, a trace that can be made again from the exported weights, an honest card."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from speedsim import trace  # noqa: E402
from speedsim.units import InputError  # noqa: E402
from speedsim.workloads import batches, corpora, exported, prompts, record, train  # noqa: E402
from speedsim.workloads.corpora import Corpus, module_of, read  # noqa: E402
from speedsim.workloads.decoder import Decoder, Shape, greedy  # noqa: E402
from speedsim.workloads.evaluation import examine  # noqa: E402

SHAPE = {"d_model": 16, "q_heads": 2, "kv_heads": 1, "head_dim": 8, "ffn": 24, "vocab": 31, "group_layers": 2,
         "repetitions": 6}
CONFIG = {"model": "tiny_2x6", "corpus": "tiny", "vocabulary": 31, "seed": 5, "shape": SHAPE, "steps": 4, "warmup": 2,
          "decay_from": 0.6, "batch": 2, "length": 8, "matrix_rate": 0.02, "table_rate": 0.01}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(*files, seed=0):
    """A corpus of (path, split, tokens) files; tokens: how many, drawn at random, or which."""
    random = np.random.default_rng(seed)
    streams = {"train": [], "validation": [], "test": []}
    for _, split, tokens in files:
        ids = random.integers(1, 31, size=tokens).tolist() if isinstance(tokens, int) else list(tokens)
        streams[split] += [0, *ids]
    listed = [{"path": path, "split": split, "sha256": path} for path, split, _ in files]
    return Corpus({split: np.array(ids, dtype=np.int64) for split, ids in streams.items()}, listed, Path("corpus"))


def ordinary():
    return made(("a.py", "train", 300), ("b/x.py", "train", 100), ("c/y.py", "test", 200), ("c/z.py", "test", 35),
                ("d.py", "test", 90), ("e.py", "validation", 120))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A trained tiny decoder beside its corpus."""
    folder = tmp_path_factory.mktemp("home")
    corpus = ordinary()
    (folder / "corpus_tiny").mkdir()
    for split, ids in corpus.splits.items():
        np.save(folder / "corpus_tiny" / f"{split}.npy", ids.astype(np.uint16))
    (folder / "corpus_tiny" / "files.json").write_text(json.dumps({"python": "3.11.0 (tiny)", "files": corpus.files}))
    (folder / "tiny.yaml").write_text(json.dumps(CONFIG))
    train.train(CONFIG, folder / "tiny", corpus)
    return folder


def recorded(home, out, *more):
    status = record.main([str(home / "tiny" / "checkpoint.pt"), str(home / "tiny.yaml"), str(out), "--sequences", "5",
                          "--prompt", "10", "--count", "20", "--threads", "1", *more])
    assert status == 0
    card = json.loads(out.with_name(out.name + ".card.json").read_text())
    return trace.load(out.with_name(out.name + ".parquet")), card


# ------------------------------------------------------------------------------------------------------------- prompts


def test_prompts_are_held_out_text_and_do_not_overlap():
    corpus = ordinary()
    asked = prompts.held_out_prompts(corpus, 10, 11, seed=3)
    texts = dict(corpus.documents("test")) | dict(corpus.documents("validation"))
    taken: dict[str, list[int]] = {}
    for path, start, ids, _ in asked:
        assert ids.tolist() == texts[path][start:start + 11].tolist()
        assert len(ids) == 11
        taken.setdefault(path, []).append(start)
    for starts in taken.values():
        assert len(starts) <= prompts.PER_DOCUMENT
        assert all(b - a >= 11 for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False))
    assert not {module_of(path) for path in taken} & {"a", "b"}


def test_the_validation_split_is_touched_only_when_the_test_split_is_used_up():
    corpus = ordinary()
    assert {p.path for p in prompts.held_out_prompts(corpus, 11, 11, 0)} == {"c/y.py", "c/z.py", "d.py"}
    assert [p.path for p in prompts.held_out_prompts(corpus, 13, 11, 0)].count("e.py") == 2
    with pytest.raises(InputError, match="15 prompts of 11 tokens in the held-out files, not 16"):
        prompts.held_out_prompts(corpus, 16, 11, 0)


def test_the_seed_alone_decides_the_places():
    corpus = ordinary()
    places = [[(p.path, p.start) for p in prompts.held_out_prompts(corpus, 6, 11, seed)] for seed in (1, 1, 2)]
    assert places[0] == places[1] != places[2]


def test_a_held_out_file_of_a_trained_module_is_refused():
    corpus = made(("a/x.py", "train", 100), ("a/y.py", "test", 100))
    with pytest.raises(InputError, match=r"a/y\.py is held out, its module is trained on"):
        prompts.held_out_prompts(corpus, 2, 11, 0)


def test_text_that_stands_in_the_training_text_is_no_prompt():
    copied, own = list(range(1, 12)), list(range(11, 0, -1))
    corpus = made(("a.py", "train", [7, *copied, 9]), ("b.py", "test", copied), ("c.py", "test", own))
    assert [p.path for p in prompts.held_out_prompts(corpus, 1, 11, 0)] == ["c.py"]
    with pytest.raises(InputError, match="1 prompts"):
        prompts.held_out_prompts(corpus, 2, 11, 0)


def test_a_match_between_two_tokens_is_no_match():
    """As bytes, 1 1 of 16 bits stands in 256 257 at an odd place."""
    text = np.array([256, 257, 1], dtype=np.uint16).tobytes()
    assert not prompts._stands_in(text, np.array([1, 1]))
    assert prompts._stands_in(text, np.array([257, 1]))


# ------------------------------------------------------------------------------------------------ sources with targets


def copies(count=40):
    """A corpus of copies: odd ones are held out."""
    random = np.random.default_rng(1)
    streams, files = {"train": [], "validation": [], "test": []}, []
    for number in range(count):
        split = ("train", "train", "test", "validation")[number % 4]
        words = random.integers(7, 31, size=3 + number % 2).tolist()
        streams[split] += [0, 1, *words, 2, *words]
        files.append({"path": f"copy_{number}", "split": split, "sha256": ""})
    return Corpus({k: np.array(v) for k, v in streams.items()}, files, Path("copies"), paired=True)


@pytest.mark.parametrize("encodes", [True, False])
def test_a_sequence_behind_a_source_ends_with_the_text(encodes):
    shape = Shape(**SHAPE | ({"cross_attention": True, "encoder": 1} if encodes else {}))
    torch.manual_seed(3)
    decoder = Decoder(shape)
    with torch.no_grad():
        decoder.embed.weight[0] *= 40
    asked = prompts.held_out_pairs(copies(), 12, 8, 0, encodes)
    made = record.record(decoder, asked, 9, ends=True)
    for prompt, sequence in zip(asked, made, strict=True):
        assert sequence.first == (0 if encodes else len(prompt.ids) - 1)
        assert sequence.source_tokens == (len(prompt.source) if encodes else 0)
        assert (sequence.end == "eos") == (sequence.text[-1] == 0)
        assert not (sequence.text[:-1] == 0).any()
        source = None if prompt.source is None else torch.from_numpy(prompt.source).view(1, -1)
        alone = torch.cat(list(greedy(decoder, torch.from_numpy(prompt.ids).view(1, -1), 9, source)))
        assert (sequence.exit_tokens == alone.numpy()[:sequence.count]).all()


def test_held_out_sources_are_new_and_there_are_enough():
    corpus = copies()
    asked = prompts.held_out_pairs(corpus, 20, 8, 0, encodes=True)
    assert {p.kind for p in asked} == {"copy"}
    assert [p.path for p in asked[:10]] != [p.path for p in prompts.held_out_pairs(corpus, 20, 8, 1, True)[:10]]
    with pytest.raises(InputError, match="20 held-out sources of 8 tokens or fewer, not 21"):
        prompts.held_out_pairs(corpus, 21, 8, 0, encodes=True)


def test_only_targets_are_scored_beside_a_five_gram():
    decoder = Decoder(Shape(**SHAPE))
    scores = record.held_out(decoder, copies(), 8)
    assert scores["pairs"] == 10
    assert scores["tokens"] == 10 * 4.0
    assert scores["five_gram_loss"] > 0


# -------------------------------------------------------------------------------------------------- the trace, the card


def test_the_trace_holds_what_greedy_decoding_predicted(home, tmp_path):
    made_trace, card = recorded(home, tmp_path / "t")
    assert (made_trace.model, made_trace.repetitions, len(made_trace.sequences)) == ("tiny_2x6", 6, 5)
    assert {(s.first, s.count, s.end, s.source_tokens) for s in made_trace.sequences} == {(10, 20, "length", 0)}
    decoder = Decoder(Shape(**SHAPE))
    train.restore(home / "tiny" / "checkpoint.pt", decoder)
    exported.round_weights(decoder)
    corpus = read(home / "corpus_tiny")
    texts = dict(corpus.documents("test")) | dict(corpus.documents("validation"))
    path, start = card["prompts"]["from"][2]
    prompt = torch.from_numpy(texts[path][start:start + 11]).view(1, -1)
    exits = torch.cat(list(greedy(decoder, prompt, 20)))
    assert made_trace.sequences[2].exit_tokens.tolist() == exits.tolist()


def test_the_same_seed_records_the_same_trace(home, tmp_path):
    runs = (("a", "0"), ("b", "0"), ("c", "1"))
    digests = [recorded(home, tmp_path / name, "--seed", seed)[0].digest for name, seed in runs]
    assert digests[0] == digests[1] != digests[2]
    assert (tmp_path / "a.parquet").read_bytes() != (tmp_path / "c.parquet").read_bytes()


def test_the_trace_can_be_recorded_again_from_the_exported_weights(home, tmp_path):
    made_trace, card = recorded(home, tmp_path / "t", "--weights", str(tmp_path / "w.npz"))
    decoder = exported.load_weights(tmp_path / "w.npz")
    corpus = read(home / "corpus_tiny")
    asked = prompts.held_out_prompts(corpus, 5, 11, 0)
    assert [[p.path, p.start] for p in asked] == card["prompts"]["from"]
    again = record.record(decoder, asked, 20)
    assert [s.exit_tokens.tolist() for s in again] == [s.exit_tokens.tolist() for s in made_trace.sequences]


def test_the_card_says_what_the_decoder_is_worth(home, tmp_path):
    made_trace, card = recorded(home, tmp_path / "t", "--windows", "3")
    assert card["digest"] == made_trace.digest
    assert card["quality"] == made_trace.source["quality"] == "weak"
    assert card["reasons"] == made_trace.source["reasons"]
    assert (card["steps"], card["training"]) == (4, CONFIG)
    assert card["held_out"]["tokens"] == 24
    assert len(card["held_out"]["exit_losses"]) == 6
    assert card["held_out"]["five_gram_loss"] > 0
    assert [rate["paper"]["WMT-ENDE"] for rate in card["flip_rates"]] == [0.164, 0.061, 0.028, 0.018, 0.012]
    assert sum(card["settle_histogram"].values()) == card["tokens"] == 100
    corpus = read(home / "corpus_tiny")
    assert card["corpus"] == {"python": "3.11.0", "files_sha256": corpus.digest(), "splits": {
        "train": {"files": 2, "modules": 2, "tokens": 402}, "validation": {"files": 1, "modules": 1, "tokens": 121},
        "test": {"files": 3, "modules": 2, "tokens": 328}}}
    assert str(tmp_path) not in json.dumps(card)


def test_the_card_shows_whether_loops_flatter_the_trace(home, tmp_path):
    made_trace, card = recorded(home, tmp_path / "t", "--count", "40", "--windows", "1")
    each = [trace.settle(np.concatenate([s.exit_tokens[a:b] for s in made_trace.sequences])).mean()
            for a, b in ((0, 32), (32, 40))]
    assert card["mean_settle_along"] == {"positions_each": 32, "means": each}
    straight = [s for s in made_trace.sequences if not trace.loops(s.text)]
    assert card["without_loops"]["sequences"] == len(straight) == round(5 * (1 - card["looping_share"]))
    assert card["looping_share_of_real_text"] == 0
    assert record.looping_share(np.tile([1, 2, 3], 20), 30) == 1
    assert record.looping_share(np.arange(5), 30) is None


def test_the_bars_are_a_five_gram_and_the_first_exit():
    assert record.judge([2.0, 1.9], 2.0) == []
    assert ["5-gram" in r for r in record.judge([2.2, 2.0], 2.0)] == [True]
    assert ["than the first" in r for r in record.judge([1.94, 1.9], 2.0)] == [True]
    assert len(record.judge([2.0, 2.0], 1.0)) == 2
    assert len(record.judge([float("nan")] * 2, 1.0)) == 2


def test_held_out_loss_and_the_five_gram_are_over_the_same_tokens(home):
    corpus = read(home / "corpus_tiny")
    decoder = Decoder(Shape(**SHAPE))
    scores = record.held_out(decoder, corpus, 8, most=2)
    assert scores["windows"] == 2
    assert scores["exit_losses"] == examine(decoder, batches.in_order(corpus.splits["test"][:17], 8))["exit_losses"]
    assert record.held_out(decoder, corpus, 8)["tokens"] == (328 - 1) // 8 * 8


def test_the_papers_flip_rates_give_the_papers_mean_settle_repetition():
    """From its flip rates E[r] is 1.38-1.56 for 2x6 and 1.11-1.25 for 4x3."""
    for unique, repetitions, lowest, highest in ((2, 6, 1.38, 1.56), (4, 3, 1.11, 1.25)):
        shape = Shape(**SHAPE | {"group_layers": unique, "repetitions": repetitions})
        means = []
        for flips in record.paper_flips(shape).values():
            stay = np.cumprod([1 - flip for flip in reversed(flips)])
            means.append(1 + float((1 - stay).sum()))
        assert len(means) == 4
        assert round(min(means), 2) == pytest.approx(lowest, abs=0.011)
        assert round(max(means), 2) == pytest.approx(highest, abs=0.011)
    assert record.paper_flips(Shape(**SHAPE | {"group_layers": 3})) == {}


# ---------------------------------------------------------------------------------------------------------- the weights


def test_exported_weights_come_back_as_the_rounded_ones(tmp_path):
    torch.manual_seed(0)
    decoder = Decoder(Shape(**SHAPE))
    exported.export_weights(decoder, tmp_path / "w.npz")
    read_back = exported.load_weights(tmp_path / "w.npz")
    exported.round_weights(decoder)
    assert read_back.shape == decoder.shape
    for (name, a), b in zip(decoder.state_dict().items(), read_back.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert (tmp_path / "w.npz").stat().st_size < 2 * sum(p.numel() for p in decoder.parameters()) + 10_000


def test_weights_too_large_to_ship_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exported, "LARGEST_WEIGHTS", 1000)
    with pytest.raises(InputError, match="bytes of weights, more than 1000"):
        exported.export_weights(Decoder(Shape(**SHAPE)), tmp_path / "w.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_export_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('unpickled')",))

    np.savez(tmp_path / "trap.npz", shape=np.array([Trap()], dtype=object))
    (tmp_path / "pickle.npz").write_bytes(pickle.dumps(Trap()))
    (tmp_path / "empty.npz").write_bytes(b"")
    exported.export_weights(Decoder(Shape(**SHAPE)), tmp_path / "whole.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:3000])
    np.savez(tmp_path / "floats.npz", shape=np.frombuffer(json.dumps(SHAPE).encode(), np.uint8), embed=np.zeros(3))
    np.savez(tmp_path / "few.npz", shape=np.frombuffer(json.dumps(SHAPE).encode(), np.uint8))
    for name in ("trap", "pickle", "empty", "cut", "floats", "few", "absent"):
        with pytest.raises(InputError, match="no exported decoder"):
            exported.load_weights(tmp_path / f"{name}.npz")


# ------------------------------------------------------------------------------------------------------------- the door


def test_wrong_input_is_told_in_one_line(home, tmp_path, capsys):
    checkpoint, config, out = str(home / "tiny" / "checkpoint.pt"), str(home / "tiny.yaml"), str(tmp_path / "t")
    (tmp_path / "other.yaml").write_text(json.dumps(CONFIG | {"shape": SHAPE | {"d_model": 32}}))
    (tmp_path / "no.pt").write_bytes(pickle.dumps({"decoder": {}}, protocol=2))
    for arguments in (
        [str(tmp_path / "absent.pt"), config, out], [checkpoint, str(tmp_path / "absent.yaml"), out],
        [checkpoint, str(tmp_path / "other.yaml"), out], [str(tmp_path / "no.pt"), config, out],
        [checkpoint, config, out, "--sequences", "0"], [checkpoint, config, out, "--sequences", "1000"],
        [checkpoint, config, out, "--corpus", str(tmp_path)], [checkpoint, config, out, "--prompt", "5000"],
        [checkpoint, config, str(tmp_path / "none" / "t")],
    ):
        assert record.main([*arguments, "--threads", "1"]) == 2, arguments
        said = capsys.readouterr()
        assert said.err.count("\n") == 1, said.err
        assert said.out == ""
    assert not list(tmp_path.glob("t*"))


def test_the_command_of_the_docs_trains_and_records(tmp_path, monkeypatch):
    """With a shorter training and fewer texts; the figures of the docs are those of the cards."""
    import re

    import yaml

    root = Path(__file__).parents[2]
    page = (root / "docs" / "traces.md").read_text()
    lines = page[page.index("Another one is trained"):].split("```")[1].splitlines()
    trained, recorded_by = (line for line in lines if "speed" in line)
    config = yaml.safe_load((root / "workloads" / "training" / "speed_2x6_copy.yaml").read_text()) | {"steps": 2}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(corpora, "TASK_DOCUMENTS", 400)
    monkeypatch.setattr(yaml, "safe_load", lambda _: config)
    (tmp_path / "workloads" / "training").mkdir(parents=True)
    (tmp_path / "workloads" / "training" / "speed_2x6_copy.yaml").write_text("")
    train.main(trained.split()[2:])
    assert record.main([*recorded_by.split()[3:], "--sequences", "8", "--count", "4", "--threads", "1"]) == 0
    assert trace.load(tmp_path / "mine.parquet").model == "speed_2x6_copy"
    rows = re.findall(r"^\| (speed_\w+) \| [^|]* \| ([\d./ ]+) \| ([\d.]+) \|.*\| (\S+) \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for row in rows:
        card = json.loads((root / "workloads" / "traces" / f"{row[0]}.card.json").read_text())
        losses = card["held_out"]["exit_losses"]
        shown = [losses[-1], losses[0], card["held_out"]["five_gram_loss"]]
        assert row[1] == " / ".join(f"{x:.2f}" for x in shown)
        assert (row[2], row[3].strip("*")) == (f"{card['mean_settle']['value']:.2f}", card["quality"])
