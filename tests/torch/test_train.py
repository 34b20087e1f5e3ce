"""Training: the loss is the paper's, a killed run ends where a whole one does, held-out loss is a plain mean."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from speedsim.workloads import train  # noqa: E402
from speedsim.workloads.corpora import Corpus  # noqa: E402
from speedsim.workloads.decoder import Decoder, Shape  # noqa: E402
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


def test_with_two_exits_the_loss_is_the_weighted_sum_exactly():
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 2}))
    tokens = torch.arange(18).view(2, 9)
    loss, last = train.weighted_exit_loss(decoder, tokens, torch.Generator())
    first_exit, last_exit = losses(decoder, tokens)
    torch.testing.assert_close(loss, first_exit / 3 + 2 * last_exit / 3)
    torch.testing.assert_close(last, last_exit.detach())


def test_with_one_exit_the_loss_is_its_own():
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 1}))
    tokens = torch.arange(18).view(2, 9)
    loss, last = train.weighted_exit_loss(decoder, tokens, torch.Generator())
    assert loss.item() == last.item() == losses(decoder, tokens)[0].item()


def test_drawing_exits_leaves_the_expected_loss_as_it_is():
    torch.manual_seed(0)
    decoder = Decoder(Shape(**SHAPE | {"repetitions": 4}))
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(6 if weight.dim() == 2 else 1)
        tokens = torch.randint(31, (2, 33), generator=torch.Generator().manual_seed(1))
        draw = torch.Generator().manual_seed(2)
        drawn = torch.stack([train.weighted_exit_loss(decoder, tokens, draw)[0] for _ in range(600)])
        exact = sum(w * each for w, each in zip(train.exit_weights(4), losses(decoder, tokens), strict=True))
    assert abs(float(drawn.mean() - exact)) < 4 * float(drawn.std()) / 600**0.5


def test_batches_go_on_from_any_step_as_if_never_stopped():
    ids = np.arange(200)
    whole = [b.tolist() for b in itertools.islice(train.batches(ids, 3, 8, 1, 0), 30)]
    for start in (1, 7, 8, 16, 29):
        assert [b.tolist() for b in itertools.islice(train.batches(ids, 3, 8, 1, start), 30 - start)] == whole[start:]
    assert whole != [b.tolist() for b in itertools.islice(train.batches(ids, 3, 8, 2, 0), 30)]


@pytest.mark.parametrize("tokens", [200, 193, 192, 209])
def test_an_epoch_shows_no_window_twice_and_every_batch_is_full(tokens):
    """192 .. 209 tokens hold 23 to 26 windows of 8, one of which the offset takes."""
    per_epoch = ((tokens - 1) // 8 - 1) // 3
    shown = [b for b in itertools.islice(train.batches(np.arange(tokens), 3, 8, 0, 0), per_epoch)]
    assert all(b.shape == (3, 9) for b in shown)
    begins = [int(row[0]) for b in shown for row in b]
    assert len(set(begins)) == len(begins)
    assert len({b % 8 for b in begins}) == 1
    assert max(begins) + 8 < tokens


def test_a_stream_shorter_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="20 tokens hold no batch of 4 windows of 8"):
        next(train.batches(np.arange(20), 4, 8, 0, 0))


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
    assert train.evaluate(trained, ids, 8)[-1] < train.evaluate(untrained, ids, 8)[-1] - 0.5


@pytest.mark.parametrize("size", [1, 3, 8])
def test_held_out_loss_is_the_mean_over_all_windows(size):
    """30 tokens hold three windows of 9: tokens 1 .. 27 count once each."""
    decoder = Decoder(Shape(**SHAPE))
    ids = corpus().splits["test"][:30]
    with torch.no_grad():
        each = torch.stack([torch.stack(losses(decoder, torch.from_numpy(ids[None, b:b + 10]))) for b in (0, 9, 18)])
    assert train.evaluate(decoder, ids, 9, size) == pytest.approx(each.mean(0).tolist(), rel=1e-5)


def test_the_last_window_counts_when_it_just_fits():
    decoder = Decoder(Shape(**SHAPE))
    ids = corpus().splits["test"]
    assert train.evaluate(decoder, ids[:9], 8) == pytest.approx(
        [x.item() for x in losses(decoder, torch.from_numpy(ids[None, :9]))], rel=1e-5)
    with pytest.raises(ValueError, match="8 tokens hold no window of 8"):
        train.evaluate(decoder, ids[:8], 8)


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
