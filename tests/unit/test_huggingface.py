"""config.json of Hugging Face: every known family as a Model, everything else refused on one line that says where."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim.config import load
from speedsim.huggingface import FAMILIES, OTHERS, model_from_config
from speedsim.model import Model
from speedsim.reading.document import ConfigError
from speedsim.reading.json_text import read_json

MODELS = Path(__file__).parents[2] / "workloads" / "models"
LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
STACK = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "vocab_size": 100, "head_dim": 16}
SMALLEST: dict[str, dict[str, Any]] = {name: STACK for name in FAMILIES} | {
    "gpt2": {"n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100},
    "opt": STACK | {"ffn_dim": 256},
    "ouro": STACK | {"total_ut_steps": 4},
    "t5": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_heads": 4, "num_layers": 2, "vocab_size": 100},
    "mt5": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_heads": 4, "num_layers": 2, "vocab_size": 100},
    "huginn_raven": {
        "n_embd": 64, "n_heads": 4, "intermediate_size": 128, "vocab_size": 100, "n_layers_in_prelude": 2,
        "n_layers_in_recurrent_block": 4, "n_layers_in_coda": 2, "mean_recurrence": 32,
    },
}


def written(tmp_path: Path, config: object, name: str = "config.json") -> Path:
    path = tmp_path / name
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2), encoding="utf-8")
    return path


def model(tmp_path: Path, config: object) -> Model:
    return model_from_config(written(tmp_path, config)).value


def refusal(tmp_path: Path, config: object) -> str:
    """What is said, after the file's name."""
    path = written(tmp_path, config)
    with pytest.raises(ConfigError) as caught:
        model_from_config(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(str(path))


@pytest.mark.parametrize("family", [*FAMILIES, *OTHERS])
def test_every_known_family_becomes_a_model(tmp_path: Path, family: str) -> None:
    m = model(tmp_path, SMALLEST[family] | {"model_type": family})
    assert (m.d_model, m.q_heads, m.head_dim, m.vocab) == (64, 4, 16, 100)
    assert m.repetitions == {"ouro": 4, "huginn_raven": 32}.get(family, 1)
    assert m.group_layers == (4 if family == "huginn_raven" else 2)


def test_a_llama_with_grouped_queries_is_read_key_by_key(tmp_path: Path) -> None:
    m = model(tmp_path, LLAMA)
    assert (m.d_model, m.q_heads, m.kv_heads, m.head_dim, m.ffn) == (4096, 32, 8, 128, 14336)
    assert (m.vocab, m.group_layers, m.repetitions, m.tied, m.gated) == (128256, 32, 1, False, True)
    assert m.total_bytes // 2 == pytest.approx(8.03e9, rel=0.001)


def test_a_public_config_gives_the_shipped_model(tmp_path: Path) -> None:
    ouro = {"model_type": "ouro", "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24,
            "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128, "vocab_size": 49152,
            "tie_word_embeddings": False, "total_ut_steps": 4, "torch_dtype": "bfloat16"}
    shipped = load(Model, MODELS / "ouro_1_4b.yaml").value
    read = model(tmp_path, ouro)
    assert (read.linear, read.group_layers, read.repetitions) == (shipped.linear, 24, 4)
    assert read.total_bytes == shipped.total_bytes


def test_huginn_has_prelude_block_coda_and_adapter(tmp_path: Path) -> None:
    huginn = {"model_type": "huginn_raven", "n_embd": 5280, "n_heads": 55, "num_key_value_heads": 55,
              "intermediate_size": 17920, "vocab_size": 65536, "padded_vocab_size": 65536, "tie_embeddings": True,
              "n_layers_in_prelude": 2, "n_layers_in_recurrent_block": 4, "n_layers_in_coda": 2,
              "mean_recurrence": 32, "injection_type": "linear", "torch_dtype": "bfloat16"}
    shipped = load(Model, MODELS / "huginn_3_5b.yaml").value
    read = model(tmp_path, huginn)
    assert (read.prelude, read.group_layers, read.coda, read.repetitions) == (2, 4, 2, 32)
    assert (read.adapter, read.tied, read.total_bytes) == (True, True, shipped.total_bytes)
    assert not model(tmp_path, huginn | {"injection_type": "add"}).adapter


def test_a_t5_is_its_decoder_with_cross_attention(tmp_path: Path) -> None:
    t5 = {"model_type": "t5", "d_model": 768, "d_kv": 64, "d_ff": 2048, "num_heads": 12, "num_layers": 12,
          "num_decoder_layers": 6, "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    m = model(tmp_path, t5)
    assert (m.cross_attention, m.gated, m.tied, m.group_layers) == (True, True, False, 6)
    del t5["feed_forward_proj"], t5["num_decoder_layers"], t5["tie_word_embeddings"]
    m = model(tmp_path, t5)
    assert (m.gated, m.tied, m.group_layers) == (False, True, 12)


def test_gpt2_without_an_inner_width_takes_four_times_its_own(tmp_path: Path) -> None:
    gpt2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "vocab_size": 50257, "n_inner": None}
    m = model(tmp_path, gpt2)
    assert (m.ffn, m.kv_heads, m.gated, m.tied) == (3072, 12, False, True)
    assert model(tmp_path, gpt2 | {"n_inner": 1024}).ffn == 1024


def test_a_head_dimension_of_its_own_is_not_derived(tmp_path: Path) -> None:
    gemma = {"model_type": "gemma", "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
             "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "vocab_size": 256000}
    m = model(tmp_path, gemma)
    assert (m.head_dim, m.tied) == (256, True)
    del gemma["head_dim"]
    assert refusal(tmp_path, gemma) == ":1:1: head_dim: missing"


@pytest.mark.parametrize(("change", "weights", "rest"), [
    ({}, "bf16", "bf16"),
    ({"torch_dtype": "float16"}, "fp16", "fp16"),
    ({"torch_dtype": None, "dtype": "float32"}, "fp32", "fp32"),
    ({"torch_dtype": None}, "bf16", "bf16"),
    ({"quantization_config": None}, "bf16", "bf16"),
    ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8", "bf16"),
    ({"quantization_config": {"quant_method": "awq", "bits": 4}, "torch_dtype": "float16"}, "int4", "fp16"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "int4", "bf16"),
])
def test_quantization_stores_the_weights_and_nothing_else(
    tmp_path: Path, change: dict[str, Any], weights: str, rest: str,
) -> None:
    dtype = model(tmp_path, LLAMA | change).dtype
    assert (dtype.weights, dtype.kv, dtype.activations) == (weights, rest, rest)


@pytest.mark.parametrize(("change", "said"), [
    ({"model_type": "lama"}, ":2:3: model_type: lama is no decoder family that is known here (did you mean llama?)"),
    ({"model_type": None}, ":2:3: model_type: missing (it is null)"),
    ({"model_type": 3}, ":2:3: model_type: text expected, got 3"),
    ({"hidden_size": "4096"}, ":3:3: hidden_size: a whole number expected, got the text 4096"),
    ({"hidden_size": True}, ":3:3: hidden_size: a whole number expected, got true"),
    ({"hidden_size": 4096.0}, ":3:3: hidden_size: a whole number expected, got 4096.0"),
    ({"hidden_size": -1}, ":3:3: hidden_size: -1 is below 1"),
    ({"hidden_size": 10**10}, ":3:3: hidden_size: 10000000000 is beyond any model"),
    ({"hidden_size": [4096]}, ":3:3: hidden_size: one value expected, got a list"),
    ({"hidden_size": 4095},
     ":6:3: num_attention_heads: 32 heads do not divide hidden_size=4095, and head_dim is missing"),
    ({"num_hidden_layers": 0}, ":5:3: num_hidden_layers: 0 is below 1"),
    ({"num_key_value_heads": 5}, ":7:3: num_key_value_heads: 5 key-value heads do not divide 32 query heads"),
    ({"tie_word_embeddings": 1}, ":9:3: tie_word_embeddings: true or false expected, got 1"),
    ({"num_local_experts": 8}, ":11:3: num_local_experts: 8 experts: a mixture of experts is not described here, "
                               "only decoders whose tokens all read the same weights"),
    ({"quantization_config": {"quant_method": "gptq", "bits": 3}},
     ":11:3: quantization_config: gptq with 3 bits is not known; only fp8, and awq and gptq with 4 bits"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}},
     ":11:3: quantization_config: bitsandbytes is not known; only fp8, and awq and gptq with 4 bits"),
    ({"quantization_config": {}}, ":11:3: quantization_config: its quant_method is missing"),
])
def test_a_wrong_value_is_refused_where_it_stands(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert refusal(tmp_path, LLAMA | change) == said


def test_a_wrong_dtype_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    said = refusal(tmp_path, LLAMA | {"torch_dtype": "int3"})
    assert said == ":10:3: torch_dtype: the text int3 is none of float32, float, bfloat16, float16, half"


def test_a_missing_key_names_the_nearest_one_that_is_there(tmp_path: Path) -> None:
    config = {("hiden_size" if key == "hidden_size" else key): value for key, value in LLAMA.items()}
    assert refusal(tmp_path, config) == ":1:1: hidden_size: missing (did you mean hiden_size?)"


def test_one_expert_is_no_mixture(tmp_path: Path) -> None:
    assert model(tmp_path, LLAMA | {"num_local_experts": 1}).ffn == 14336


@pytest.mark.parametrize(("text", "said"), [
    ("", ":1:1: the file is empty"),
    ("[1]", ":1:1: keys with values are expected, got a list"),
    ('{"a": 1,}', ":1:9: not valid JSON: a key in double quotes expected"),
    ('{"a": 1\n "b": 2}', ":2:2: not valid JSON: ',' expected"),
    ('{"a": tru}', ":1:7: a: not valid JSON: expecting value"),
    ('{"a": "x', ":1:7: a: not valid JSON: unterminated string starting at"),
    ('{"a": 1} b', ":1:10: not valid JSON: text behind the end"),
    ('// a comment\n{}', ":1:1: not valid JSON: expecting value"),
    ('{"hidden_size":\n NaN}', ":2:2: hidden_size: NaN is not a finite number"),
    ('{"a": -Infinity}', ":1:7: a: -Infinity is not a finite number"),
    ('{"a": 1e999}', ":1:7: a: 1e999 is not a finite number"),
    ('{"a": 1' + "0" * 5000 + "}", ":1:7: a: a number of too many digits"),
    ('{"a": 1,\n "a": 2}', ":2:2: a: given twice (first in line 1)"),
    ('{"a": {"b": 1,\n "b": 2}}', ":2:2: a.b: given twice (first in line 1)"),
    ('{"a": ' + "[" * 100_000, ":1:71: nested deeper than 64 levels"),
])
def test_text_that_is_no_json_is_refused_where_it_breaks(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path, text) == said


def test_a_file_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        model_from_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=":1:1: not UTF-8 text"):
        model_from_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(ConfigError, match="larger than 1,000,000 bytes"):
        model_from_config(tmp_path / "config.json")


@settings(max_examples=200, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.integers(-10**9, 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=12,
).filter(lambda value: isinstance(value, dict)), st.sampled_from([None, 1]))
def test_any_valid_json_is_read_as_the_standard_parser_reads_it(value: Any, indent: int | None) -> None:
    def plain(node: Any) -> Any:
        if node.entries is not None:
            return {key: plain(entry) for key, entry in node.entries.items()}
        return [plain(item) for item in node.items] if node.items is not None else node.value

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(value, indent=indent), encoding="utf-8")
        assert plain(read_json(path)) == value


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=3))
def test_a_damaged_file_is_a_model_or_a_config_error(at: int, damage: bytes) -> None:
    data = json.dumps(LLAMA, indent=1).encode()
    at = min(at, len(data))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_bytes(data[:at] + damage + data[at + len(damage):])
        said = ""
        try:
            model_from_config(path)
        except ConfigError as error:
            said = str(error)
        assert "\n" not in said


def test_a_model_is_named_after_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "Llama-3.1-8B"
    folder.mkdir()
    assert model(folder, LLAMA).name == "llama_3_1_8b"
    assert model_from_config(written(tmp_path, LLAMA, "My-Model.json")).value.name == "my_model"
    assert model(tmp_path, LLAMA | {"_name_or_path": "meta-llama/Llama-3.1-8B"}).title == "meta-llama/Llama-3.1-8B"


def test_every_number_names_the_key_it_is_from(tmp_path: Path) -> None:
    claims = model_from_config(written(tmp_path, LLAMA)).provenance
    assert (claims["ffn"].kind, claims["ffn"].source, claims["ffn"].line) == (
        "datasheet", "config.json: intermediate_size", 4)
    assert (claims["head_dim"].kind, claims["head_dim"].source) == (
        "derived", "config.json: hidden_size / num_attention_heads")
    assert all(claim.source for claim in claims.values())


def test_settings_change_a_read_model(tmp_path: Path) -> None:
    loaded = model_from_config(written(tmp_path, LLAMA), [("repetitions", "4")])
    assert (loaded.value.repetitions, loaded.provenance["repetitions"].kind) == (4, "what_if")
    assert loaded.digest != model_from_config(tmp_path / "config.json").digest
    with pytest.raises(ConfigError, match="repetition"):
        model_from_config(tmp_path / "config.json", [("repetition", "4")], "model.")


def test_reading_json_needs_the_standard_library_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('pydantic', 'ruamel', 'ruamel.yaml', 'numpy', 'simpy', 'torch', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "import conftest, speedsim.huggingface\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
