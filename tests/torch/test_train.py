"""Training: the loss is the paper's, a killed run ends where a whole one does, held-out loss is a plain mean."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from speedsim.units import InputError  # noqa: E402
from speedsim.workloads import batches, copying, train  # noqa: E402
from speedsim.workloads.corpora import Corpus  # noqa: E402
from speedsim.workloads.decoder import Decoder, Shape  # noqa: E402
from speedsim.workloads.evaluation import examine  # noqa: E402
from torch.nn import functional  # noqa: E402

SHAPE = {"d_model": 16, "q_heads": 2, "kv_heads": 1, "head_dim": 8, "ffn": 24, "vocab": 31, "group_layers": 1,
         "repetitions": 3}
CONFIG = {"model": "tiny", "corpus": "tiny", "vocabulary": 31, "seed": 5, "shape": SHAPE, "steps": 7, "warmup": 2,
          "decay_from": 0.6, "batch": 2, "length": 8, "matrix_rate": 0.02, "table_rate": 0.01}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def corpus():
    """Text with a pattern: each token is mostly one more than the one before."""
    random = np.random.default_rng(0)
    ids = np.cumsum(1 + (random.random(400) < 0.1)) % 31
    return Corpus({"train": ids[:200], "validation": ids[200:300], "test": ids[300:]}, [], Path("none"))


def test_exits_weigh_in_proportion_to_their_number():
    assert train.exit_weights(3).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert float(train.exit_weights(6).sum()) == pytest.approx(1)


def losses(decoder, tokens):
    target = tokens[:, 1:].flatten()
    return [functional.cross_entropy(decoder.head(x).flatten(0, 1), target) for x in decoder(tokens[:, :-1])]


def batch(tokens):
    return batches.Batch(tokens[:, :-1], tokens[:, 1:])


def exit_losses(decoder, ids, length, size=8):
    return examine(decoder, batches.in_order(ids, length, size=size))["exit_losses"]


def test_with_two_exits_the_loss_is_the_weighted_sum_exactly():
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 2}))
    tokens = torch.arange(18).view(2, 9)
    loss, last = train.weighted_exit_loss(decoder, batch(tokens), torch.Generator())
    first_exit, last_exit = losses(decoder, tokens)
    torch.testing.assert_close(loss, first_exit / 3 + 2 * last_exit / 3)
    torch.testing.assert_close(last, last_exit.detach())


def test_with_one_exit_the_loss_is_its_own():
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 1}))
    tokens = torch.arange(18).view(2, 9)
    loss, last = train.weighted_exit_loss(decoder, batch(tokens), torch.Generator())
    assert loss.item() == last.item() == losses(decoder, tokens)[0].item()


def test_drawing_exits_leaves_the_expected_loss_as_it_is():
    torch.manual_seed(0)
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 4}))
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
        tokens = torch.randint(31, (2, 33), generator=torch.Generator().manual_seed(1))
        draw = torch.Generator().manual_seed(2)
        drawn = torch.stack([train.weighted_exit_loss(decoder, batch(tokens), draw)[0] for _ in range(600)])
        exact = sum(w * each for w, each in zip(train.exit_weights(4), losses(decoder, tokens), strict=True))
    assert abs(float(drawn.mean() - exact)) < 4 * float(drawn.std()) / 600**0.5


def shown(*given, most):
    """The windows of the first batches, each with the token behind it."""
    return [torch.cat([b.tokens, b.target[:, -1:]], dim=1).tolist()
            for b in itertools.islice(batches.batches(*given), most)]


def test_batches_go_on_from_any_step_as_if_never_stopped():
    ids = np.arange(200)
    whole = shown(ids, 3, 8, 1, 0, most=30)
    for start in (1, 7, 8, 16, 29):
        assert shown(ids, 3, 8, 1, start, most=30 - start) == whole[start:]
    assert whole != shown(ids, 3, 8, 2, 0, most=30)


@pytest.mark.parametrize("tokens", [200, 193, 192, 209])
def test_an_epoch_shows_no_window_twice_and_every_batch_is_full(tokens):
    """192 .. 209 tokens hold 23 to 26 windows of 8, one of which the offset takes."""
    per_epoch = ((tokens - 1) // 8 - 1) // 3
    windows = [torch.tensor(b) for b in shown(np.arange(tokens), 3, 8, 0, 0, most=per_epoch)]
    assert all(b.shape == (3, 9) for b in windows)
    begins = [int(row[0]) for b in windows for row in b]
    assert len(set(begins)) == len(begins)
    assert len({b % 8 for b in begins}) == 1
    assert max(begins) + 8 < tokens


def test_a_stream_shorter_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="20 tokens hold no batch of 4 windows of 8"):
        next(batches.batches(np.arange(20), 4, 8, 0, 0))


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    config = {"warmup": 4, "decay_from": 0.5, "steps": 20}
    assert [train.learning_share(s, config) for s in (0, 1, 3, 9, 10, 15, 19)] == [0.25, 0.5, 1, 1, 1, 0.5, 0.1]


class KilledError(Exception):
    pass


def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    whole = train.train(CONFIG, tmp_path / "whole", corpus()).state_dict()
    monkeypatch.setattr(train, "CHECKPOINT_EVERY_S", -1)
    descend, left = train.descend, iter((3, 2, 99))

    for steps in left:
        calls = itertools.count()

        def until_killed(*given, calls=calls, steps=steps):
            if next(calls) == steps:
                raise KilledError
            return descend(*given)

        monkeypatch.setattr(train, "descend", until_killed)
        torch.manual_seed(12345)
        if steps < 99:
            with pytest.raises(KilledError):
                train.train(CONFIG, tmp_path / "killed", corpus())
        else:
            resumed = train.train(CONFIG, tmp_path / "killed", corpus()).state_dict()
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_finished_run_is_not_trained_further(tmp_path):
    done = train.train(CONFIG, tmp_path, corpus()).state_dict()
    again = train.train(CONFIG, tmp_path, corpus()).state_dict()
    assert all(torch.equal(done[name], again[name]) for name in done)


def test_a_checkpoint_holds_plain_data_and_is_never_half_there(tmp_path, monkeypatch):
    train.train(CONFIG, tmp_path, corpus())
    saved = tmp_path / "checkpoint.pt"
    state = torch.load(saved, weights_only=True)
    assert set(state) == {"decoder", "optimizers", "step", "cpu_s"}
    assert state["step"] == CONFIG["steps"]
    before = saved.read_bytes()
    decoder = Decoder(Shape(**SHAPE))

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        train.save(saved, decoder, train.optimisers(decoder, CONFIG), 1, 0.0)
    assert saved.read_bytes() == before


def test_a_checkpoint_can_be_read_without_its_optimizers(tmp_path):
    trained = train.train(CONFIG, tmp_path, corpus())
    decoder = Decoder(Shape(**SHAPE))
    step, cpu_s = train.restore(tmp_path / "checkpoint.pt", decoder)
    assert step == 7
    assert cpu_s > 0
    assert all(torch.equal(a, b) for a, b in zip(decoder.parameters(), trained.parameters(), strict=True))


def test_training_learns(tmp_path):
    trained = train.train(CONFIG | {"steps": 60}, tmp_path, corpus())
    untrained = Decoder(Shape(**SHAPE))
    ids = corpus().splits["test"]
    assert exit_losses(trained, ids, 8)[-1] < exit_losses(untrained, ids, 8)[-1] - 0.5


@pytest.mark.parametrize("size", [1, 3, 8])
def test_held_out_loss_is_the_mean_over_all_windows(size):
    """30 tokens hold three windows of 9: tokens 1 .. 27 count once each."""
    decoder = Decoder(Shape(**SHAPE))
    ids = corpus().splits["test"][:30]
    with torch.no_grad():
        each = torch.stack([torch.stack(losses(decoder, torch.from_numpy(ids[None, b:b + 10]))) for b in (0, 9, 18)])
    assert exit_losses(decoder, ids, 9, size) == pytest.approx(each.mean(0).tolist(), rel=1e-5)


def test_the_last_window_counts_when_it_just_fits():
    decoder = Decoder(Shape(**SHAPE))
    ids = corpus().splits["test"]
    assert exit_losses(decoder, ids[:9], 8) == pytest.approx(
        [x.item() for x in losses(decoder, torch.from_numpy(ids[None, :9]))], rel=1e-5)
    with pytest.raises(ValueError, match="8 tokens hold no window of 8"):
        exit_losses(decoder, ids[:8], 8)


def test_the_command_trains_by_name_into_a_folder_of_that_name(tmp_path, monkeypatch, capsys):
    pytest.importorskip("yaml")
    asked = []
    monkeypatch.setattr(train, "train", lambda config, folder: asked.append((config["model"], str(folder))))
    train.main(["speed_2x6_copy", "--threads", "1"])
    (tmp_path / "own.yaml").write_text("model: mine")
    train.main([str(tmp_path / "own.yaml"), str(tmp_path / "kept"), "--threads", "1"])
    assert asked == [("speed_2x6_copy", "runs/speed_2x6_copy"), ("mine", str(tmp_path / "kept"))]
    with pytest.raises(InputError, match="nor one of speed_2x6_copy"):
        train.main(["speed_9x9"])


def test_the_command_tells_its_arguments(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    assert "workloads/training" in capsys.readouterr().out


def test_the_shipped_configurations_build_their_decoders():
    yaml = pytest.importorskip("yaml")
    folder = Path(train.__file__).parent / "training"
    files = sorted(folder.glob("*.yaml"))
    assert len(files) >= 2
    for path in files:
        config = yaml.safe_load(path.read_text())
        assert config["model"] == path.stem
        assert config["shape"]["vocab"] == config["vocabulary"]
        assert len(train.optimisers(Decoder(Shape(**config["shape"])), config)) == 2


# --------------------------------------------------------------------------------------------- sources with targets

PAIRED = SHAPE | {"vocab": 40, "cross_attention": True, "encoder": 1, "positions": "relative"}


def pairs(count=30):
    """Copies of short sources, some of different lengths."""
    random = np.random.default_rng(0)
    streams, files = {split: [] for split in ("train", "validation", "test")}, []
    for number in range(count):
        split = ("train", "train", "validation", "test")[number % 4]
        words = random.integers(7, 40, size=3 + number % 3).tolist()
        streams[split] += [0, copying.SOURCE, *words, copying.TARGET, *words]
        files.append({"path": f"copy_{number}", "split": split, "sha256": ""})
    return Corpus({k: np.array(v) for k, v in streams.items()}, files, Path("none"), paired=True)


def test_only_a_targets_tokens_are_predicted_with_its_end():
    first, second = pairs().pairs("train")[:2]
    apart = batches.of_pairs([first, second], encodes=True)
    assert apart.tokens[0].tolist() == [2, *first.target, 0]
    assert apart.target[0].tolist() == [*first.target, 0, -100]
    assert apart.source.tolist() == [[*first.source, 0], second.source.tolist()]
    within = batches.of_pairs([first, second], encodes=False)
    assert within.source is None
    assert within.tokens[0].tolist()[:8] == [1, *first.source, 2, *first.target]
    assert within.target[0].tolist()[:8] == [-100] * 4 + [*first.target, 0]


def test_padding_changes_nothing():
    """A pair's loss is the same alone and beside a longer one."""
    decoder = Decoder(Shape(**PAIRED))
    short, long = sorted(pairs().pairs("train"), key=lambda p: len(p.source))[::len(pairs().pairs("train")) - 1]
    for encodes, one in ((True, decoder), (False, Decoder(Shape(**SHAPE | {"vocab": 40})))):
        alone = [examine(one, [batches.of_pairs([p], encodes)])["exit_losses"] for p in (short, long)]
        both = examine(one, [batches.of_pairs([short, long], encodes)])
        weights = [len(p.target) + 1 for p in (short, long)]
        assert both["tokens"] == sum(weights)
        mean = [sum(w * x for w, x in zip(weights, xs, strict=True)) / sum(weights) for xs in zip(*alone, strict=True)]
        assert both["exit_losses"] == pytest.approx(mean, rel=1e-5)


def test_an_encoder_decoder_learns_from_pairs(tmp_path):
    config = CONFIG | {"shape": PAIRED, "vocabulary": 40, "steps": 40, "batch": 5}
    trained = train.train(config, tmp_path, pairs())
    scored = batches.held_out(pairs(), "test", True, 8)
    before = examine(Decoder(Shape(**PAIRED)), scored)["exit_losses"][-1]
    assert examine(trained, scored)["exit_losses"][-1] < before - 0.2


def test_figures_per_exit_count_what_they_say():
    decoder = Decoder(Shape(**SHAPE))
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(8 if weight.dim() == 2 else 1)
    ids = corpus().splits["test"]
    tokens = torch.from_numpy(ids[None, :33])
    with torch.no_grad():
        exits = torch.stack([decoder.head(x).argmax(-1)[0] for x in decoder(tokens[:, :-1])], dim=-1)
    found = examine(decoder, [batch(tokens)])
    assert found["top1"] == pytest.approx((exits == tokens[0, 1:, None]).float().mean(0).tolist())
    assert found["agreement"] == pytest.approx((exits == exits[:, -1:]).float().mean(0).tolist())
    assert found["flip_rates"] == pytest.approx((exits[:, 1:] != exits[:, :-1]).float().mean(0).tolist())
    from speedsim.trace import settle

    counts = np.bincount(settle(exits.numpy()), minlength=4)[1:].tolist()
    assert list(found["settle_histogram"].values()) == counts
    assert sum(counts) == 32


def test_the_copy_task_is_as_predictable_as_it_says():
    """The best guess at a target's word is its source's: right in all but the known share."""
    known = copying.known(256)
    right = words = 0
    for name, ids in copying.documents(600, 256, seed=9):
        middle = ids.index(copying.TARGET)
        source, target = np.array(ids[2:middle]), np.array(ids[middle + 1:])
        if name.startswith("summarise"):
            lines = source.reshape(copying.LINES, -1)
            source = lines[lines[:, 0] == copying.MARKED].ravel()
        assert len(source) == len(target)
        words += (target >= copying.WORDS).sum()
        right += ((source == target) & (target >= copying.WORDS)).sum()
    assert right / words == pytest.approx(known["word_top1"], abs=4 * (0.04 * 0.96 / words) ** 0.5)
    assert known["word_nats"] == pytest.approx(0.3871, abs=1e-3)
