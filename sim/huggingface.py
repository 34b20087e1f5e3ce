"""A decoder's shape from a Hugging Face config.json: the keys of each known family, as the fields of a description.

    config.json -> nodes that know their place -> the family's keys -> Model, every number with the key it is from

A key that a family writes in its public files must be there; a few are allowed to be missing where the library's own
default is certain (the head dimension d / heads, as many key-value heads as query heads, tied or not). What is not
said is not guessed: an unknown family, experts and an unknown quantization are refused. Without a dtype the weights
count as bf16. Ignored: biases, norms, windows, scales of quantized weights and what stays unquantized beside them.
Key names and defaults are those of transformers; of ouro (total_ut_steps) and huginn_raven those of the released code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .document import MAX_BYTES, MAX_DEPTH, ConfigError, Node, Place, Problem, Scalar, shortened

if TYPE_CHECKING:
    from .config import Loaded
    from .model import Model

DTYPES = {"float32": "fp32", "float": "fp32", "bfloat16": "bf16", "float16": "fp16", "half": "fp16"}
"""What torch_dtype may say. FP8 and 4-bit weights are said by quantization_config."""
QUANTIZED = {
    ("fp8", None): "fp8", ("fbgemm_fp8", None): "fp8", ("awq", 4): "int4", ("gptq", 4): "int4",
}
"""Storage of the weights by (quant_method, bits)."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
NO_MIXTURE = "a mixture of experts is not described here, only decoders whose tokens all read the same weights"


class Number(NamedTuple):
    """A count from the file (`key`), or what stands for it (`key` tells how it came about)."""

    value: int
    place: Place
    key: str
    derived: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """The keys of a family whose decoder is a plain stack of layers."""

    d_model: str = "hidden_size"
    q_heads: str = "num_attention_heads"
    kv_heads: str | None = "num_key_value_heads"
    head_dim: str | None = "head_dim"
    own_head_dim: bool = False
    """The head dimension is a key of its own, never d_model / heads."""
    ffn: str = "intermediate_size"
    ffn_default: int | None = None
    """The feed-forward width in d_model where the key is null."""
    layers: str = "num_hidden_layers"
    repetitions: str | None = None
    gated: bool = True
    tied: bool = False
    """Where the file does not say."""


_PLAIN = Family()
FAMILIES: dict[str, Family] = {
    "llama": _PLAIN, "mistral": _PLAIN, "qwen2": _PLAIN, "qwen3": Family(own_head_dim=True), "olmo2": _PLAIN,
    "phi3": _PLAIN,
    "gemma": Family(own_head_dim=True, tied=True), "gemma2": Family(own_head_dim=True, tied=True),
    "gpt2": Family("n_embd", "n_head", None, None, False, "n_inner", 4, "n_layer", gated=False, tied=True),
    "gpt_neox": Family(kv_heads=None, head_dim=None, gated=False),
    "opt": Family(kv_heads=None, head_dim=None, ffn="ffn_dim", gated=False, tied=True),
    "ouro": Family(repetitions="total_ut_steps"),
}
OTHERS = ("t5", "mt5", "huginn_raven")
"""Families with a reader of their own."""


def model_from_config(path: str | Path, changes: Iterable[tuple[str, str]] = ()) -> Loaded[Model]:
    """The decoder of a config.json, with overrides as in --set. Raises ConfigError, which says where."""
    from .config import Loaded, apply
    from .model import Model
    from .provenance import Reading, read_file

    config = Config.read(path)
    fields = _fields(config)
    root = Node(config.root.place, entries={key: _node(config, key, entry) for key, entry in fields.items()})
    tree = read_file(Model, root, Reading())
    number = {key: entry.value for key, entry in fields.items() if isinstance(entry, Number)}
    if number["q_heads"] % number["kv_heads"]:
        key = fields["kv_heads"]
        assert isinstance(key, Number)
        config.refuse(key.key, f"{key.value} key-value heads do not divide {number['q_heads']} query heads")
    blank = Model(name="", title="", gated=False, **number)
    return apply(Loaded(blank, {}, "", (), Path(path), tree), changes)


Entry = Number | bool | str


def _fields(config: Config) -> dict[str, Entry]:
    """The fields of a Model by name; `dtype.weights` and the like are dotted."""
    for key in EXPERTS:
        if isinstance(count := config.value(key), int) and count > 1:
            config.refuse(key, f"{count} experts: {NO_MIXTURE}")
    family = config.text("model_type")
    if family in FAMILIES:
        fields = _stack(config, FAMILIES[family])
    elif family in ("t5", "mt5"):
        fields = _t5(config, family)
    elif family == "huginn_raven":
        fields = _huginn(config)
    else:
        from .provenance import did_you_mean

        known = sorted((*FAMILIES, *OTHERS))
        hint = did_you_mean(family, known) or f" (known: {', '.join(known)})"
        config.refuse("model_type", f"{shortened(family)} is no decoder family that is known here{hint}")
    name = config.path.parent.name if config.path.name == "config.json" else config.path.stem
    name = "_".join(name.lower().replace("-", " ").replace(".", " ").split()) or family
    title = config.value("_name_or_path")
    return {"name": name, "title": title if isinstance(title, str) and title.strip() else name, **fields, **_dtypes(config)}


def _stack(config: Config, family: Family) -> dict[str, Entry]:
    """A plain stack of layers, or one that is applied several times."""
    d, heads = config.count(family.d_model), config.count(family.q_heads)
    if config.value("word_embed_proj_dim", d.value) != d.value:
        config.refuse("word_embed_proj_dim", f"embeddings narrower than {family.d_model}={d.value} are not described here")
    one = Number(1, config.root.place, "a stack that is applied once", derived=True)
    return {
        "d_model": d, "q_heads": heads, "kv_heads": config.count_or(family.kv_heads, heads),
        "head_dim": config.count(family.head_dim) if family.own_head_dim and family.head_dim
        else _head_dim(config, family.head_dim, d, heads),
        "ffn": config.count(family.ffn) if family.ffn_default is None else config.count_or(
            family.ffn, Number(family.ffn_default * d.value, d.place, f"{family.ffn_default} {d.key}", derived=True)),
        "gated": family.gated, "vocab": config.count("vocab_size"), "group_layers": config.count(family.layers),
        "repetitions": config.count(family.repetitions) if family.repetitions else one,
        "tied": config.flag("tie_word_embeddings", family.tied),
    }


def _head_dim(config: Config, key: str | None, d: Number, heads: Number) -> Number:
    if key is not None and config.value(key) is not None:
        return config.count(key)
    if d.value % heads.value:
        config.refuse(heads.key, f"{heads.value} heads do not divide {d.key}={d.value}, and head_dim is missing")
    return Number(d.value // heads.value, heads.place, f"{d.key} / {heads.key}", derived=True)


def _t5(config: Config, family: str) -> dict[str, Entry]:
    """The decoder of an encoder-decoder."""
    heads, layers = config.count("num_heads"), config.count("num_layers")
    act = config.value("feed_forward_proj", "relu" if family == "t5" else "gated-gelu")
    if not isinstance(act, str):
        config.refuse("feed_forward_proj", f"text expected, got {config.shown('feed_forward_proj')}")
    return {
        "d_model": config.count("d_model"), "q_heads": heads, "kv_heads": heads, "head_dim": config.count("d_kv"),
        "ffn": config.count("d_ff"), "gated": act.startswith("gated"), "vocab": config.count("vocab_size"),
        "group_layers": config.count_or("num_decoder_layers", layers), "cross_attention": True,
        "repetitions": Number(1, config.root.place, "a stack that is applied once", derived=True),
        "tied": config.flag("tie_word_embeddings", family == "t5"),
    }


def _huginn(config: Config) -> dict[str, Entry]:
    """Prelude, recurrent block and coda; retrofitted models carry the same keys."""
    d = config.count("n_embd", "hidden_size")
    heads = config.count("n_heads", "num_attention_heads")
    injection = config.value("injection_type", "linear")
    if injection not in ("linear", "add", "none"):
        config.refuse("injection_type", f"{config.shown('injection_type')} is none of linear, add, none")
    return {
        "d_model": d, "q_heads": heads, "kv_heads": config.count_or("num_key_value_heads", heads),
        "head_dim": _head_dim(config, "head_dim", d, heads), "ffn": config.count("intermediate_size"), "gated": True,
        "vocab": config.count("padded_vocab_size", "vocab_size"),
        "prelude": config.count("n_layers_in_prelude", least=0), "coda": config.count("n_layers_in_coda", least=0),
        "group_layers": config.count("n_layers_in_recurrent_block"), "repetitions": config.count("mean_recurrence"),
        "adapter": injection == "linear",
        "tied": config.flag("tie_embeddings", config.flag("tie_word_embeddings", True)),
    }
