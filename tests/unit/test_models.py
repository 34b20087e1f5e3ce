"""The shipped models: closed figures of their bytes, published parameter counts, and who shares what with whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from speedsim.config import Loaded, load
from speedsim.model import Model

FOLDER = Path(__file__).parents[2] / "workloads" / "models"
SHAPES = {
    # name: d, q, kv, head, ffn, gated, vocab, U, G, P, C, tied
    "speed_2x6": (768, 12, 12, 64, 2048, True, 32128, 2, 6, 0, 0, True),
    "speed_2x8": (768, 12, 12, 64, 2048, True, 32128, 2, 8, 0, 0, True),
    "speed_4x3": (768, 12, 12, 64, 2048, True, 32128, 4, 3, 0, 0, True),
    "speed_4x4": (768, 12, 12, 64, 2048, True, 32128, 4, 4, 0, 0, True),
    "speed_12l": (768, 12, 12, 64, 2048, True, 32128, 12, 1, 0, 0, True),
    "speed_4l": (768, 12, 12, 64, 2048, True, 32128, 4, 1, 0, 0, True),
    "speed_2l": (768, 12, 12, 64, 2048, True, 32128, 2, 1, 0, 0, True),
    "speed_2x6_small": (256, 4, 4, 64, 704, True, 4096, 2, 6, 0, 0, True),
    "speed_4x3_small": (256, 4, 4, 64, 704, True, 4096, 4, 3, 0, 0, True),
    "t5_1_1_small": (512, 6, 6, 64, 1024, True, 32128, 8, 1, 0, 0, False),
    "t5_1_1_base": (768, 12, 12, 64, 2048, True, 32128, 12, 1, 0, 0, False),
    "t5_1_1_large": (1024, 16, 16, 64, 2816, True, 32128, 24, 1, 0, 0, False),
    "t5_1_1_xl": (2048, 32, 32, 64, 5120, True, 32128, 24, 1, 0, 0, False),
    "t5_1_0_small": (512, 8, 8, 64, 2048, False, 32128, 6, 1, 0, 0, True),
    "t5_1_0_base": (768, 12, 12, 64, 3072, False, 32128, 12, 1, 0, 0, True),
    "t5_1_0_large": (1024, 16, 16, 64, 4096, False, 32128, 24, 1, 0, 0, True),
    "ouro_1_4b": (2048, 16, 16, 128, 5632, True, 49152, 24, 4, 0, 0, False),
    "ouro_2_6b": (2048, 16, 16, 128, 5632, True, 49152, 48, 4, 0, 0, False),
    "huginn_3_5b": (5280, 55, 55, 96, 17920, True, 65536, 4, 32, 2, 2, True),
    "raven_llama_3_2_1b": (2048, 32, 8, 64, 8192, True, 128256, 6, 32, 4, 4, False),
    "raven_tinyllama": (2048, 32, 4, 64, 5632, True, 32000, 8, 32, 4, 4, False),
    "raven_olmo_2_1b": (2048, 16, 16, 128, 8192, True, 100352, 6, 32, 4, 4, False),
    "mor_360m": (960, 15, 5, 64, 2560, True, 49152, 10, 3, 1, 1, True),
    "recursive_gemma_2b": (2048, 8, 1, 256, 16384, True, 256128, 9, 2, 0, 0, True),
    "albert_base_like": (768, 12, 12, 64, 3072, False, 30000, 1, 12, 0, 0, True),
    "llama_7b": (4096, 32, 32, 128, 11008, True, 32000, 32, 1, 0, 0, False),
}
CROSS = ("speed_2x6", "speed_2x8", "speed_4x3", "speed_4x4", "speed_12l", "speed_4l", "speed_2l")
FILES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def loaded(name: str) -> Loaded[Model]:
    return load(Model, FOLDER / f"{name}.yaml")


def model(name: str) -> Model:
    return loaded(name).value


def parameters(shape: Model) -> int:
    """Weights held in memory, at two bytes each."""
    return shape.total_bytes // 2


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_the_tables(name: str) -> None:
    m = model(name)
    shape = (m.d_model, m.q_heads, m.kv_heads, m.head_dim, m.ffn, m.gated, m.vocab)
    assert (*shape, m.group_layers, m.repetitions, m.prelude, m.coda, m.tied) == SHAPES[name]


@pytest.mark.parametrize("name", CROSS)
def test_a_cross_model_differs_in_cross_attention_alone(name: str) -> None:
    plain, cross = model(name), model(f"{name}_cross")
    assert (plain.cross_attention, cross.cross_attention) == (False, True)
    assert cross.linear.items() - plain.linear.items() == {("cross_q", (768, 768)), ("cross_out", (768, 768))}
    assert (cross.group_layers, cross.repetitions, cross.head_bytes) == (
        plain.group_layers, plain.repetitions, plain.head_bytes)


@pytest.mark.parametrize("name", FILES)
def test_every_number_of_a_model_names_a_source(name: str) -> None:
    file = loaded(name)
    assert file.value.name == name
    assert [key for key, claim in file.provenance.items() if not claim.source] == []


def test_the_group_of_2x6_is_33_mb_with_cross_attention_and_28_mb_without() -> None:
    assert model("speed_2x6_cross").group_bytes == 2 * 8_257_536 * 2 == 33_030_144
    assert model("speed_2x6").group_bytes == 2 * 7_077_888 * 2 == 28_311_552


def test_plain_decoding_of_2x6_asks_for_247_mb_a_token() -> None:
    m = model("speed_2x6_cross")
    assert m.head_bytes == 32128 * 768 * 2 == 49_348_608
    assert m.repetitions * m.group_bytes + m.head_bytes == 247_529_472


def test_speed_asks_for_120_mb_a_token_at_an_expected_settling_of_1_46() -> None:
    m = model("speed_2x6_cross")
    assert (m.group_bytes + m.head_bytes) * 1.46 == pytest.approx(120.3e6, rel=1e-3)


@pytest.mark.parametrize(("name", "millions"), [
    ("ouro_1_4b", 1434), ("ouro_2_6b", 2668), ("raven_llama_3_2_1b", 1385), ("huginn_3_5b", 3565), ("llama_7b", 6738),
])
def test_a_shape_gives_the_published_parameter_count(name: str, millions: int) -> None:
    assert parameters(model(name)) == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.parametrize(("name", "millions"), [
    # The unshared models they were made from: embedding, layers, head.
    ("recursive_gemma_2b", 2506), ("mor_360m", 362),
])
def test_unrolled_sharing_is_the_model_it_was_made_from(name: str, millions: int) -> None:
    m = model(name)
    layers = (m.prelude + m.group_layers * m.repetitions + m.coda) * m.layer_bytes
    assert (layers + m.head_bytes) // 2 == pytest.approx(millions * 1e6, rel=0.01)


def test_the_unshared_baselines_are_the_shared_ones_unrolled() -> None:
    shared = model("speed_2x6")
    assert model("speed_12l").group_bytes == shared.repetitions * shared.group_bytes
    assert model("speed_12l").layers == shared.layers == model("speed_4x3").layers == 12


@pytest.mark.parametrize(("name", "trace"), [
    ("speed_2x6", "speed_2x6_python"), ("speed_4x3", "speed_4x3_python"),
    ("speed_2x6_small", "speed_2x6_python"), ("speed_4x3_small", "speed_4x3_python"),
    ("speed_2x8", None), ("speed_2x6_cross", None), ("ouro_1_4b", None),
])
def test_only_models_with_a_recording_name_a_trace(name: str, trace: str | None) -> None:
    assert model(name).default_trace == trace


@pytest.mark.parametrize("name", ["raven_olmo_2_1b", "recursive_gemma_2b", "albert_base_like"])
def test_what_was_written_from_memory_is_called_recalled(name: str) -> None:
    assert {claim.kind for claim in loaded(name).provenance.values()} == {"recalled"}


def test_a_file_may_be_confirmed_in_part() -> None:
    claims = loaded("raven_tinyllama").provenance
    assert (claims["group_layers"].kind, claims["ffn"].kind) == ("datasheet", "recalled")
