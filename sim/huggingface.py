"""A decoder's shape from a Hugging Face config.json: the keys of each known family, as the fields of a description.

    config.json -> nodes that know their place -> the family's keys -> Model, every number with the key it is from

A key that a family writes in its public files must be there; a few are allowed to be missing where the library's own
default is certain (the head dimension d / heads, as many key-value heads as query heads, tied or not). What is not
said is not guessed: an unknown family, experts and an unknown quantization are refused. Without a dtype the weights
count as bf16. Ignored: biases, norms, windows, scales of quantized weights and what stays unquantized beside them.
Key names and defaults are those of transformers; of ouro (total_ut_steps) and huginn_raven those of the released code.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .reading.document import ConfigError, Node, Place, Problem, Scalar, shortened
from .reading.json_text import read_json
from .registry import normal

if TYPE_CHECKING:
    from .config import Loaded
    from .model import Model

DTYPES = {"float32": "fp32", "float": "fp32", "bfloat16": "bf16", "float16": "fp16", "half": "fp16"}
"""What torch_dtype may say. FP8 and 4-bit weights are said by quantization_config."""
QUANTIZED = {"fp8": (("fp8", "fbgemm_fp8"), None), "int4": (("awq", "gptq"), 4)}
"""How weights are stored: by which quant_method, with how many bits."""
EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
MOST = 1_000_000_000
"""No count of a decoder is larger."""
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


def model_from_config(path: str | Path, settings: Iterable[tuple[str, str]] = (), prefix: str = "") -> Loaded[Model]:
    """The decoder of a config.json, with overrides as `config.load` takes them. Raises ConfigError."""
    from .config import Loaded, apply
    from .model import Model
    from .reading.checking import checked
    from .reading.provenance import Reading, read_file

    config, reading = Config(Path(path), read_json(path)), Reading()
    fields = _fields(config)
    kv, q = fields["kv_heads"], fields["q_heads"]
    if isinstance(kv, Number) and isinstance(q, Number) and q.value % kv.value:
        config.refuse(kv.key, f"{kv.value} key-value heads do not divide {q.value} query heads")
    tree = read_file(Model, _node(config, fields), reading)
    model = checked(Model, tree, prefix, reading)
    if model is None or reading.problems:
        raise ConfigError(reading.problems)
    return apply(Loaded(model, {}, "", (), Path(path), tree), settings, prefix)


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
        from .reading.provenance import did_you_mean

        known = sorted((*FAMILIES, *OTHERS))
        hint = did_you_mean(family, known) or f" (known: {', '.join(known)})"
        config.refuse("model_type", f"{shortened(family)} is no decoder family that is known here{hint}")
    path = config.path.resolve()
    name = normal(path.parent.name if path.name == "config.json" else path.stem) or family
    title = config.value("_name_or_path")
    known_as = title if isinstance(title, str) and title.strip() and title.isprintable() else name
    return {"name": name, "title": known_as, **fields, **_dtypes(config)}


def _stack(config: Config, family: Family) -> dict[str, Entry]:
    """A plain stack of layers, or one that is applied several times."""
    d, heads = config.count(family.d_model), config.count(family.q_heads)
    if config.value("word_embed_proj_dim", d.value) != d.value:
        config.refuse("word_embed_proj_dim", f"embeddings that differ from {d.key}={d.value} are not described here")
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


def _dtypes(config: Config) -> dict[str, Entry]:
    """Weights as quantization_config stores them, everything else in the model's dtype; bf16 where none is said."""
    key = "dtype" if config.value("dtype") is not None else "torch_dtype"
    said = config.value(key, "bfloat16")
    name = said.removeprefix("torch.") if isinstance(said, str) else ""
    if name not in DTYPES:
        config.refuse(key, f"{config.shown(key)} is none of {', '.join(DTYPES)}")
    own = DTYPES[name]
    return {"dtype.weights": _quantized(config) or own, "dtype.kv": own, "dtype.activations": own}


def _quantized(config: Config) -> str | None:
    key = "quantization_config"
    node = config.entries.get(key)
    if node is None or _is_null(node):
        return None
    inner = node.entries or {}
    if "quant_method" not in inner:
        config.refuse(key, "its quant_method is missing")
    method, bits = inner["quant_method"].value, inner["bits"].value if "bits" in inner else None
    for stored, (name, width) in QUANTIZED.items():
        if method in name and width in (None, bits):
            return stored
    shown = shortened(str(method)) if bits is None else f"{shortened(str(method))} with {shortened(str(bits))} bits"
    config.refuse(key, f"{shown} is not known; only fp8, and awq and gptq with 4 bits")


def _node(config: Config, fields: dict[str, Entry]) -> Node:
    """The fields as a description would state them: numbers with kind and source, at their place in the config."""
    root = Node(config.root.place, entries={})
    for name, entry in fields.items():
        place = entry.place if isinstance(entry, Number) else config.root.place
        if isinstance(entry, Number):
            source = f"{config.path.name}: {entry.key}"
            said: dict[str, Scalar] = {
                "value": entry.value, "kind": "derived" if entry.derived else "datasheet", "source": source,
            }
            node = Node(place, entries={k: Node(place, value=v, text=str(v)) for k, v in said.items()})
        else:
            node = Node(place, value=entry, text=str(entry))
        block = root
        *blocks, last = name.split(".")
        for part in blocks:
            assert block.entries is not None
            block = block.entries.setdefault(part, Node(place, entries={}))
        assert block.entries is not None
        block.entries[last] = node
    return root


def _is_null(node: Node) -> bool:
    return node.value is None and node.entries is None and node.items is None


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of a config.json, and how to ask for them; what is wrong is said with its place."""

    path: Path
    root: Node

    @property
    def entries(self) -> dict[str, Node]:
        """Every key, null ones too."""
        assert self.root.entries is not None
        return self.root.entries

    def refuse(self, key: str, text: str) -> NoReturn:
        """Say what is wrong with a key, where it stands."""
        node = self.entries.get(key, self.root)
        raise ConfigError([Problem(node.place, key, text)])

    def shown(self, key: str) -> str:
        """What a message calls the value of a key that is there."""
        node = self.entries[key]
        return f"the text {shortened(node.text)}" if isinstance(node.value, str) else str(node)

    def value(self, key: str, default: Scalar = None) -> Scalar:
        """A scalar; the default where the key is missing or null, and never a list or block."""
        node = self.entries.get(key)
        if node is None or _is_null(node):
            return default
        if node.entries is not None or node.items is not None:
            self.refuse(key, f"one value expected, got {node}")
        return node.value

    def text(self, key: str) -> str:
        """A text that must be there."""
        value = self.value(key)
        if value is None:
            self._missing(key)
        if not isinstance(value, str):
            self.refuse(key, f"text expected, got {self.shown(key)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.value(key, default)
        if not isinstance(value, bool):
            self.refuse(key, f"true or false expected, got {self.shown(key)}")
        return value

    def count(self, *keys: str, least: int = 1) -> Number:
        """A whole number under the first of these keys that says something."""
        key = next((k for k in keys if self.value(k) is not None), None)
        if key is None:
            self._missing(keys[0])
        value = self.value(key)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(key, f"a whole number expected, got {self.shown(key)}")
        if not least <= value <= MOST:
            self.refuse(key, f"{self.shown(key)} is {f'below {least}' if value < least else 'beyond any model'}")
        return Number(value, self.entries[key].place, key)

    def count_or(self, key: str | None, default: Number) -> Number:
        """The same with a default; a number that repeats another key's is derived from it."""
        if key is not None and self.value(key) is not None:
            return self.count(key)
        return default._replace(derived=True)

    def _missing(self, key: str) -> NoReturn:
        from .reading.provenance import did_you_mean

        null = " (it is null)" if key in self.entries else did_you_mean(key, self.entries)
        self.refuse(key, f"missing{null}")
