"""Recording from local Hugging Face models, tiny and random: exits say what the model says, no code is run."""

from __future__ import annotations

import argparse

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from speedsim import trace  # noqa: E402
from speedsim.cli import main  # noqa: E402
from speedsim.traces.steps import read as read_steps  # noqa: E402
from speedsim.units import InputError, NotCoveredError  # noqa: E402
from speedsim.workloads import record_hf  # noqa: E402

SIZE = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
        "max_position_embeddings": 256, "bos_token_id": None, "eos_token_id": None}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def llama(layers=6, seed=0, **more):
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(**SIZE | {"num_hidden_layers": layers, "num_key_value_heads": 2,
                                                "initializer_range": 0.4} | more)
    return transformers.LlamaForCausalLM(config).eval()


def looped(unique=2, loops=3):
    """A Llama whose layers are `unique` modules applied `loops` times; only without a cache, which they would share."""
    model = llama(unique * loops)
    for index in range(unique, unique * loops):
        model.model.layers[index] = model.model.layers[index % unique]
    generate = model.generate
    model.generate = lambda *given, **options: generate(*given, **options, use_cache=False)
    return model


def prompts(count=3, tokens=9):
    draw = torch.Generator().manual_seed(1)
    return [torch.randint(61, (tokens,), generator=draw) for _ in range(count)]


@pytest.mark.parametrize("build", [llama, lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(
    vocab_size=61, n_embd=32, n_head=4, n_layer=6, n_positions=256, initializer_range=0.4, eos_token_id=None))])
def test_the_logit_lens_reads_the_layers_asked_for_and_the_last(build):
    torch.manual_seed(0)
    model = build().eval()
    sequences, how = record_hf.record_exits(model, prompts(), 20, [2, 4])
    assert how == {"exits": "logit lens", "layers": [2, 4, 6], "tokens_that_one_pass_predicts_otherwise": 0}
    for sequence, prompt in zip(sequences, prompts(), strict=True):
        assert (sequence.first, sequence.count, sequence.end) == (8, 20, "length")
        text = torch.cat([prompt, torch.from_numpy(sequence.text.copy())])
        with torch.no_grad():
            said = model(text[None, :-1], output_hidden_states=True)
            head, norm = model.get_output_embeddings(), record_hf.final_norm(model)
            early = head(norm(said.hidden_states[2][0, 8:])).argmax(-1)
        assert said.logits[0, 8:].argmax(-1).tolist() == sequence.text.tolist()
        assert early.tolist() == sequence.exit_tokens[:, 0].tolist()


def test_a_looped_models_exits_are_the_ends_of_its_loops():
    model = looped()
    sequences, how = record_hf.record_exits(model, prompts(1), 15)
    assert (how["exits"], how["layers"]) == ("ends of loops", [1, 2, 3])
    (only,) = sequences
    text = torch.cat([prompts(1)[0], torch.from_numpy(only.text.copy())])
    with torch.no_grad():
        states = model(text[None, :-1], output_hidden_states=True, use_cache=False).hidden_states
        first = model.lm_head(model.model.norm(states[2][0, 8:])).argmax(-1)
    assert first.tolist() == only.exit_tokens[:, 0].tolist()
    assert (only.exit_tokens[:, 0] != only.exit_tokens[:, 2]).any()
    with pytest.raises(InputError, match="the model is looped, 3 times"):
        record_hf.record_exits(model, prompts(1), 5, [1])


def test_assisted_generation_is_recorded_step_by_step():
    """The drafter is the model itself, so everything it proposes is right; then another, which is mostly wrong."""
    model = llama(2)
    (same,) = record_hf.record_steps(model, llama(2), prompts(1), 30)
    assert same.accepted == same.drafted
    assert abs(same.count - 30) <= 1
    (other,) = record_hf.record_steps(model, llama(2, seed=5), prompts(1), 30)
    assert sum(other.accepted) < sum(same.accepted)
    assert all(a <= d for a, d in zip(other.accepted, other.drafted, strict=True))
    assert abs(other.count - 30) <= 1


@pytest.mark.parametrize(("layers", "said"), [(None, "say at which of its 6 layers"), ([0], "rising numbers"),
                                              ([3, 2], "rising numbers"), ([7], "rising numbers"), ([], "rising")])
def test_layers_that_are_none_are_refused(layers, said):
    with pytest.raises(InputError, match=said):
        record_hf.record_exits(llama(), prompts(1), 4, layers)


def test_a_model_whose_head_is_not_behind_its_norm_is_refused(monkeypatch):
    monkeypatch.setattr(record_hf, "final_norm", lambda _: torch.nn.Linear(32, 32))
    with pytest.raises(NotCoveredError, match="do not give what the model says"):
        record_hf.record_exits(llama(), prompts(1), 30, [2])
    with pytest.raises(NotCoveredError, match="has no list of layers"):
        record_hf.layers_of(torch.nn.Linear(2, 2))


def asked(folder, out, **more):
    given = {"hf": str(folder), "out": str(out), "layers": "2,4", "draft": None, "prompts": None, "sequences": 3,
             "prompt": 9, "count": 12, "dtype": "float32", "seed": 0}
    return argparse.Namespace(**given | more)


def test_a_folder_is_recorded_to_a_trace_that_plays(tmp_path):
    llama().save_pretrained(tmp_path / "model")
    assert record_hf.main(asked(tmp_path / "model", tmp_path / "t.parquet")) == 0
    made = trace.load(tmp_path / "t.parquet")
    assert (made.model, made.repetitions, made.tokens) == ("model", 3, 36)
    assert made.source["exits"] == "logit lens"
    assert made.source["prompts_from"] == "random ids"
    llama(1, seed=3).save_pretrained(tmp_path / "draft")
    assert record_hf.main(asked(tmp_path / "model", tmp_path / "s.jsonl", draft=str(tmp_path / "draft"))) == 0
    steps, _ = read_steps(tmp_path / "s.jsonl")
    assert (steps.source["drafter"], len(steps.sequences)) == ("draft", 3)


def test_what_is_no_model_is_refused_and_nothing_is_unpickled(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no config\.json"):
        record_hf.main(asked(tmp_path / "empty", tmp_path / "t.parquet"))
    llama().save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    torch.save({"x": torch.zeros(1)}, tmp_path / "model" / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(InputError, match="--hf"):
        record_hf.main(asked(tmp_path / "model", tmp_path / "t.parquet"))


def test_the_command_passes_its_options_on(tmp_path, monkeypatch, capsys):
    from speedsim.verbs import trace as verb

    monkeypatch.setattr(verb, "_recorder", lambda: record_hf.main)
    llama().save_pretrained(tmp_path / "model")
    options = ["--sequences", "2", "--prompt", "5", "--count", "6"]
    out = tmp_path / "t.jsonl"
    assert main(["trace", "record", "--hf", str(tmp_path / "model"), "--layers", "3", "--out", str(out), *options]) == 0
    assert trace.load(out).tokens == 12
    assert main(["trace", "record", "--hf", str(tmp_path), "--layers", "3", "--out", str(out), *options]) == 2
    assert "no config.json" in capsys.readouterr().err


def test_the_recipe_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    import re
    import shlex
    from pathlib import Path

    from speedsim.verbs import trace as verb

    monkeypatch.setattr(verb, "_recorder", lambda: record_hf.main)
    monkeypatch.chdir(tmp_path)
    llama(20).save_pretrained(tmp_path / "my_model")
    llama(1, seed=3).save_pretrained(tmp_path / "my_drafter")
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text()
    recipe = page[page.index("## Your own model, in ten minutes"):]
    commands = re.search(r"^```sh\n(.*?)^```$", recipe, re.MULTILINE | re.DOTALL)[1].splitlines()
    assert len(commands) >= 3
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
        assert capsys.readouterr().out
