"""Descriptions from files: what loads, where each number is from, and what every mistake is told."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from speedsim.config import ConfigError, Provenance, apply, from_plain, load, plain, resolved
from speedsim.units import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A part."""

    bandwidth_bytes_per_s: float
    capacity_bytes: int
    latency_ps: int | None = None
    peak_flop_per_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """An entry of a list."""

    name: str
    cost_ps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A small GPU."""

    name: str
    title: str = "untitled"
    count: int
    fast: bool = False
    curve: tuple[tuple[float, float], ...] = ()
    pair: tuple[float, float] | None = None
    bias: float = field(default=0.0, metadata={"signed": True})
    memory: Memory
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("count=13 is unlucky")
        if self.title == "wrong":
            raise ValueError("this card is refused")


GOOD = """\
name: card
sources: {clock: "read on the card"}
kind: assumed
count: {value: 132, kind: datasheet, source: "white paper"}
curve: [[0, 1], [0.5, 0.25]]
memory:
  kind: measured
  source: clock
  note: all of it on one day
  bandwidth: 4917 GB/s
  capacity: {value: 141 GB, kind: recalled}
  latency_ns: 350
  peak: {bf16: 989.4 TFLOP/s, fp8: {value: 1.979 PFLOP/s, kind: derived, source: twice bf16}}
steps:
- {name: a, cost: 1 us}
- {name: b}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str | bytes, name: str = "card.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    return put


def told(path: Path, cls: Any = Card, **options: Any) -> list[str]:
    """What a load complains of, without the folder."""
    with pytest.raises(ConfigError) as error:
        load(cls, path, **options)
    assert isinstance(error.value, InputError)
    assert "\n" not in str(error.value)
    more = f" (and {len(error.value.lines) - 1} more)" if len(error.value.lines) > 1 else ""
    assert str(error.value) == error.value.lines[0] + more
    return [line.replace(f"{path.parent}/", "") for line in error.value.lines]


def changed(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


# What loads


def test_keys_are_field_names_without_their_unit(write: Write) -> None:
    assert load(Card, write(GOOD)).value == Card(
        name="card", count=132, curve=((0.0, 1.0), (0.5, 0.25)),
        memory=Memory(bandwidth_bytes_per_s=4.917e12, capacity_bytes=141_000_000_000, latency_ps=350_000,
                      peak_flop_per_s={"bf16": 989.4e12, "fp8": 1.979e15}),
        steps=(Step(name="a", cost_ps=1_000_000), Step(name="b")))


def test_a_number_takes_its_kind_and_source_from_itself_or_the_block_around_it(write: Write) -> None:
    path = write(GOOD)
    claims = load(Card, path).provenance
    assert claims == {
        "count": Provenance("datasheet", "white paper", str(path), 4),
        "curve": Provenance("assumed", None, str(path), 5),
        "memory.bandwidth": Provenance("measured", "read on the card", str(path), 10),
        "memory.capacity": Provenance("recalled", "read on the card", str(path), 11),
        "memory.latency": Provenance("measured", "read on the card", str(path), 12),
        "memory.peak.bf16": Provenance("measured", "read on the card", str(path), 13),
        "memory.peak.fp8": Provenance("derived", "twice bf16", str(path), 13),
        "steps[0].cost": Provenance("assumed", None, str(path), 15),
    }


def test_the_name_is_the_files_unless_it_states_one(write: Write) -> None:
    assert load(Card, write(changed("name: card\n", ""), "other.yaml")).value.name == "other"
    assert load(Card, write(GOOD, "other.yaml")).value.name == "card"


def test_yes_and_no_are_text_and_1e3_is_a_number(write: Write) -> None:
    loaded = load(Card, write(GOOD + "title: no\npair: [1e3, 017]\n"))
    assert (loaded.value.title, loaded.value.pair) == ("no", (1000.0, 17.0))
    assert told(write(GOOD + "fast: yes\n")) == ["card.yaml:17:1: fast: true or false expected, got yes"]


def test_a_field_that_says_so_may_be_negative(write: Write) -> None:
    assert load(Card, write(GOOD + "bias: -0.5\n")).value.bias == -0.5


def test_null_leaves_an_optional_number_unknown(write: Write) -> None:
    loaded = load(Card, write(changed("latency_ns: 350", "latency: null")))
    assert loaded.value.memory.latency_ps is None
    assert "memory.latency" not in loaded.provenance


def test_the_digest_is_of_the_values_and_the_name_only(write: Write) -> None:
    digest = load(Card, write(GOOD)).digest
    assert load(Card, write(changed("white paper", "brochure"), "b.yaml")).digest == digest
    assert load(Card, write(GOOD + "bias: 0\n", "b.yaml")).digest == digest
    assert load(Card, write(changed("132", "131"))).digest != digest
    assert load(Card, write(changed("name: card", "name: b"))).digest != digest


def test_resolved_data_state_every_default_and_read_back_as_the_same_description(write: Write) -> None:
    loaded = load(Card, write(GOOD))
    data = resolved(loaded)
    assert data["count"] == {"value": 132, "kind": "datasheet", "source": "white paper"}
    assert data["bias"] == {"value": 0.0, "kind": "default", "source": None}
    assert data["curve"] == {"value": [[0.0, 1.0], [0.5, 0.25]], "kind": "assumed", "source": None}
    assert data["memory"]["peak_flop_per_s"]["fp8"] == {"value": 1.979e15, "kind": "derived", "source": "twice bf16"}
    assert [data["title"], data["pair"], data["fast"]] == ["untitled", None, False]
    assert [step["cost_ps"]["kind"] for step in data["steps"]] == ["assumed", "default"]
    for form in (data, plain(loaded.value)):
        assert from_plain(Card, json.loads(json.dumps(form))) == loaded.value


def test_a_description_and_its_errors_travel_between_processes(write: Write) -> None:
    loaded = load(Card, write(GOOD))
    assert pickle.loads(pickle.dumps(loaded)) == loaded
    with pytest.raises(ConfigError) as error:
        load(Card, write(""))
    assert pickle.loads(pickle.dumps(error.value)).lines == error.value.lines


@pytest.mark.parametrize(("data", "line"), [
    ([], "box.json: keys with values are expected, got []"),
    ({"name": "m"}, "box.json: memory: missing"),
    ({"nmae": "m"}, "box.json: nmae: unknown key"),
    ({"name": "m", "count": True, "memory": {}}, "box.json: count: int expected, got True"),
    ({"name": "m", "count": 1, "memory": {"bandwidth_bytes_per_s": "4 TB/s", "capacity_bytes": 1}},
     "box.json: memory.bandwidth_bytes_per_s: float expected, got '4 TB/s'"),
    ({"name": "m", "count": 1, "memory": {"bandwidth_bytes_per_s": 1, "capacity_bytes": 1}, "pair": [1]},
     "box.json: pair: tuple expected, got [1]"),
])
def test_plain_data_that_do_not_fit_are_refused(data: Any, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_plain(Card, data, "box.json")
    assert line in error.value.lines


def test_plain_data_are_read_where_only_the_standard_library_is(tmp_path: Path) -> None:
    code = f"""
import runpy, sys
for name in ("pydantic", "ruamel", "ruamel.yaml", "numpy", "simpy", "pyarrow"):
    sys.modules[name] = None
runpy.run_path({str(Path(__file__).parents[1] / "conftest.py")!r})
from speedsim.config import from_plain, plain
from speedsim.model import Model
model = Model(name="m", title="", d_model=8, q_heads=1, kv_heads=1, head_dim=8, ffn=8, gated=True, vocab=8,
              group_layers=1, repetitions=2)
assert from_plain(Model, plain(model)) == model
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


# Families


CHILD = """\
extends: card
kind: estimate
memory:
  bandwidth: 3 TB/s
  peak: {fp8: 1 PFLOP/s}
steps: []
"""


def test_a_child_says_only_what_differs_and_provenance_follows_the_value(write: Write) -> None:
    parent, child = load(Card, write(GOOD)), load(Card, write(CHILD, "child.yaml"))
    assert child.parents == ("card",)
    assert child.value.name == "child"
    assert child.value.steps == ()
    assert child.value.memory == Memory(
        bandwidth_bytes_per_s=3e12, capacity_bytes=141_000_000_000, latency_ps=350_000,
        peak_flop_per_s={"bf16": 989.4e12, "fp8": 1e15})
    assert child.provenance["memory.bandwidth"] == Provenance("estimate", None, str(child.path), 4)
    assert child.provenance["memory.peak.fp8"].kind == "estimate"
    assert child.provenance["memory.peak.bf16"] == parent.provenance["memory.peak.bf16"]


def test_a_parent_is_looked_for_beside_the_file_and_then_by_name(write: Write, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    far = write(GOOD, "far/card.yaml")
    assert load(Card, write(CHILD, "child.yaml"), find=lambda name: far).parents == ("card",)
    assert load(Card, write(changed("name: card", "name: near")), find=None).value.name == "near"
    assert load(Card, write(CHILD, "child.yaml"), find=lambda name: far).parents == ("near",)


def test_a_missing_parent_and_a_cycle_are_told_at_the_line_of_extends(write: Write) -> None:
    assert told(write(CHILD, "lonely.yaml"))[0] == "lonely.yaml:1:1: extends: no file 'card' beside this one"
    write("extends: b\n", "a.yaml")
    assert "a.yaml:1:1: extends: 'b' leads back to itself" in told(write("extends: a\n", "b.yaml"))
    assert "c.yaml:1:1: extends: 'c' leads back to itself" in told(write("extends: c\n", "c.yaml"))
    assert "d.yaml:1:1: extends: the name of one file is expected, got a list" in told(write("extends: [a]", "d.yaml"))


def test_a_mistake_in_a_parent_is_told_in_the_parents_file(write: Write) -> None:
    write(changed("141 GB", "141 GHz"))
    assert told(write(CHILD, "child.yaml")) == [
        "card.yaml:11:3: memory.capacity: a size expected, got a clock rate (141 GHz)"]


def test_a_block_of_a_child_does_not_lend_its_kind_to_the_parents_numbers(write: Write) -> None:
    write(changed("kind: assumed\n", ""))
    assert [line.split(": ", 2)[:2] for line in told(write(CHILD, "child.yaml"))] == [
        ["card.yaml:4:1", "curve"], ["card.yaml:14:13", "steps[0].cost"]]


# Overrides


def test_an_override_is_a_what_if_laid_over_the_file(write: Write) -> None:
    loaded = load(Card, write(GOOD))
    changes = [("memory.bandwidth", "3.35 TB/s"), ("memory.latency_us", "1"), ("curve", "[[0, 1]]"),
               ("memory.peak.bf16", "1 PFLOP/s"), ("pair", "null"), ("title", "0.24")]
    card = apply(loaded, changes).value
    assert card == load(Card, loaded.path, settings=changes).value
    assert (card.memory.bandwidth_bytes_per_s, card.memory.latency_ps) == (3.35e12, 1_000_000)
    assert (card.curve, card.pair, card.title) == (((0.0, 1.0),), None, "0.24")
    assert card.memory.peak_flop_per_s == {"bf16": 1e15, "fp8": 1.979e15}
    claim = apply(loaded, changes, "gpu.").provenance["memory.bandwidth"]
    assert claim == Provenance("what_if", "--set", "--set gpu.memory.bandwidth=3.35 TB/s", 0)
    assert loaded.value.memory.bandwidth_bytes_per_s == 4.917e12


def test_an_override_may_give_what_the_file_lacks(write: Write) -> None:
    path = write(changed("  bandwidth: 4917 GB/s\n", ""))
    assert load(Card, path, settings=[("memory.bandwidth", "1 TB/s")]).value.memory.bandwidth_bytes_per_s == 1e12


@pytest.mark.parametrize(("key", "text", "line"), [
    ("memory.bandwith", "3 TB/s", "g.memory.bandwith: unknown key (did you mean bandwidth?)"),
    ("memroy.bandwidth", "3 TB/s", "g.memroy: unknown key (did you mean memory?)"),
    ("memory.bandwidth", "3 us", "g.memory.bandwidth: a rate in bytes expected, got a time (3 us)"),
    ("memory.bandwidth", "", "g.memory.bandwidth: a number expected, got null"),
    ("memory.bandwidth", "[1", "g.memory.bandwidth: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ("memory", "3", "g.memory: a block of keys expected, got 3"),
    ("memory.kind", "measured", "g.memory.kind: no key of a description: names joined by dots, without kind or source"),
    ("count", "1.5", "g.count: a whole number expected, got 1.5"),
    ("count", "13", "g.count: count=13 is unlucky"),
    ("", "", "g.: no key of a description: names joined by dots, without kind or source"),
])
def test_a_wrong_override_is_told_as_it_was_written(write: Write, key: str, text: str, line: str) -> None:
    assert told(write(GOOD), settings=[(key, text)], prefix="g.") == [f"--set g.{key}={text}: {line}"]


# Mistakes


KINDS = "one of datasheet, recalled, measured, derived, estimate, fitted, assumed, what_if"


@pytest.mark.parametrize(("old", "new", "line"), [
    ("bandwidth: 4917", "bandwith: 4917", "10:3: memory.bandwith: unknown key (did you mean bandwidth?)"),
    ("count: {value: 132,", "count: {valeu: 132,", "4:1: count: a value expected, got a block of keys"),
    ("kind: recalled}", "kin: recalled}", "11:29: memory.capacity.kin: unknown key (did you mean kind?)"),
    ("  bandwidth: 4917 GB/s\n", "", "6:1: memory.bandwidth: missing"),
    ("4917 GB/s", "4917 us", "10:3: memory.bandwidth: a rate in bytes expected, got a time (4917 us)"),
    ("4917 GB/s", "4917 GBps",
     "10:3: memory.bandwidth: unit 'GBps' is unknown for a rate in bytes (did you mean GB/s?)"),
    ("4917 GB/s", "4917", "10:3: memory.bandwidth: 4917 has no unit; write it as in '4917 GB/s'"),
    ("4917 GB/s", "-4917 GB/s", "10:3: memory.bandwidth: -4917 GB/s is negative"),
    ("4917 GB/s", ".inf", "10:3: memory.bandwidth: inf is not a finite number"),
    ("4917 GB/s", "[1 GB/s]", "10:3: memory.bandwidth: a number expected, got a list"),
    ("4917 GB/s", "{a: 1}", "10:3: memory.bandwidth: a value expected, got a block of keys"),
    ("latency_ns: 350", "latency_ns: 350 ns",
     "12:3: memory.latency: a bare number expected, as the key names the unit ns, got '350 ns'"),
    ("latency_ns: 350", "latency_hours: 350", "12:3: memory.latency_hours: unknown key (did you mean latency?)"),
    ("latency_ns: 350", "latency_ns: 350\n  latency: 1 ns", "13:3: memory.latency: given twice (first in line 12)"),
    ("[0.5, 0.25]", "[0.5, .nan]", "5:1: curve: .nan is not a finite number"),
    ("[0.5, 0.25]", "[0.5, -1]", "5:1: curve: -1 is negative"),
    ("[0.5, 0.25]", "[0.5]", "5:1: curve[1][1]: missing"),
    ("[0.5, 0.25]", "[0.5, 1, 2]", "5:1: curve[1]: 2 values expected, got 3"),
    ("[0.5, 0.25]", "[0.5, x]", "5:1: curve[1][1]: a number expected, got x"),
    ("value: 132", "value: true", "4:1: count: a whole number expected, got true"),
    ("value: 132", "value: 1e3", "4:1: count: a whole number expected, got 1000.0 (write 1000)"),
    ("value: 132", "value: '132'", "4:1: count: a whole number expected, got 132"),
    ("value: 132", "value: null", "4:1: count: a whole number expected, got null"),
    ("value: 132", "value: 13", "4:1: count: count=13 is unlucky"),
    ("value: 132", f"value: {2**63}", f"4:1: count: {2**63} is too large"),
    ("value: 132", f"value: {'9' * 5000}", f"4:1: count: a whole number expected, got {'9' * 57}..."),
    ("name: card", "name: 12", "1:1: name: text expected, got 12 (write it in quotes)"),
    ("name: card", "name: card\ntitle: wrong", "1:1: this card is refused"),
    ("name: card", "name: card\nname: b", "2:1: name: given twice (first in line 1)"),
    ("kind: assumed", "kind: assumd", f"3:1: kind: {KINDS} expected, got assumd (did you mean assumed?)"),
    ("kind: recalled", "kind: [a]", f"11:29: memory.capacity.kind: {KINDS} expected, got a list"),
    (', source: "white paper"', "", "4:1: count: kind datasheet needs a source"),
    ("source: clock", "source: clokc", "8:3: memory.source: 'clokc' is no entry of sources (did you mean clock?)"),
    ("source: clock", "source: 5", "8:3: memory.source: text expected, got 5"),
    ('{clock: "read on the card"}', "clock", "2:1: sources: names with texts are expected, got clock"),
    ('"read on the card"', "5", "2:11: sources.clock: text expected, got 5"),
    ("- {name: b}", "- {nam: b}", "16:4: steps[1].nam: unknown key (did you mean name?)"),
    ("- {name: b}", "- {}", "16:3: steps[1].name: missing"),
    ("- {name: b}", "- b", "16:3: steps[1]: a block of keys expected, got b"),
    ("- {name: b}", "- {name: {b: 1}}", "16:4: steps[1].name: a value expected, got a block of keys"),
    ("{bf16: 989.4 TFLOP/s, ", "{bf16: 989.4 TFLOP, ",
     "13:10: memory.peak.bf16: unit 'TFLOP' is unknown for a rate in FLOP (did you mean TFLOPS?)"),
])
def test_a_mistake_is_told_with_its_place_and_key(write: Write, old: str, new: str, line: str) -> None:
    assert told(write(changed(old, new))) == [f"card.yaml:{line}"]


def test_a_number_without_a_kind_does_not_load(write: Write) -> None:
    lines = told(write(changed("kind: assumed\n", "")))
    assert lines[0] == "card.yaml:4:1: curve: a number without a kind; write {value: ..., kind: ..., source: ...}"
    assert len(lines) == 2


def test_all_problems_of_a_file_are_told_in_one_pass(write: Write) -> None:
    text = GOOD
    for old, new in (("132", "1.5"), ("4917 GB/s", "fast"), ("  capacity:", "  capcity:"), ("name: b", "")):
        text = text.replace(old, new)
    assert told(write(text)) == [
        "card.yaml:4:1: count: a whole number expected, got 1.5",
        "card.yaml:10:3: memory.bandwidth: a rate in bytes expected, such as '4917 GB/s', got 'fast'",
        "card.yaml:11:3: memory.capcity: unknown key (did you mean capacity?)",
        "card.yaml:16:3: steps[1].name: missing",
    ]


@pytest.mark.parametrize(("data", "line"), [
    ("", "card.yaml:1:1: the file is empty"),
    ("# only a comment\n", "card.yaml:1:1: the file is empty"),
    ("- 1\n", "card.yaml:1:1: keys with values are expected, got a list"),
    ("a: 1\n\tb: 2\n", "card.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token"
     " (a tab; indent with spaces)"),
    ("a: [1\n", "card.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ("a: &x 1\nb: *x\n", "card.yaml:1:4: anchors and aliases are not accepted; write the value out"),
    ("a: !!python/object 1\n", "card.yaml:1:4: tags are not accepted; write the value out"),
    ("[a]: 1\n", "card.yaml:1:1: a key must be a single word or number"),
    ("a: 1\n---\nb: 1\n", "card.yaml:3:1: a second document; one file holds one"),
    (b"a: 1\nb: \xff\xfe\n", "card.yaml:2:4: not UTF-8 text; is this a YAML file?"),
    (b"a: 1\nb: \x00\n", "card.yaml:2:4: a control character; is this a YAML file?"),
    ("a: " + "x" * 1_000_000, "card.yaml:1:1: the file is larger than 1,000,000 bytes"),
    ("a: " + "[" * 50_000, "card.yaml:1:68: nested deeper than 64 levels"),
    ("a:\n " + "- " * 50_000, "card.yaml:2:2: nested deeper than 64 levels"),
    ("{a: " * 50_000, "card.yaml:1:257: nested deeper than 64 levels"),
])
def test_what_is_no_description_at_all_is_refused_at_once(write: Write, data: str | bytes, line: str) -> None:
    path = write(data)
    start = time.process_time()
    assert told(path) == [line]
    assert time.process_time() - start < 1


def test_blocks_nested_by_indentation_are_counted_too(write: Write) -> None:
    path = write("\n".join(f"{' ' * depth}k:" for depth in range(1000)))
    assert told(path)[0].startswith("card.yaml:65:65: ")
    assert told(path)[0].endswith("nested deeper than 64 levels")


def test_a_file_that_cannot_be_read_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(Path("no.yaml")) == ["no.yaml: cannot be read: No such file or directory"]
    assert told(Path()) == [".: cannot be read: Is a directory"]


PIECES = st.sampled_from([
    ": ", "{", "}", "[", "]", "- ", "\n", "  ", "&a ", "*a", "!!", "'", '"', "#", ".nan", "-", "null", "1e999", "true",
    "\t", "\0", "kind", "value", "source: ", "%", "|", "? ", "9" * 50, "\u2028",
])
CUTS = st.lists(st.tuples(st.integers(0, len(GOOD)), st.integers(0, 12), PIECES | st.text(max_size=4)), max_size=3)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(cuts=[(0, 0, "")])
@given(cuts=CUTS)
def test_a_damaged_file_loads_or_is_a_config_error_with_a_place(write: Write, cuts: list[tuple[int, int, str]]) -> None:
    text = GOOD
    for start, length, piece in cuts:
        text = text[:start] + piece + text[start + length:]
    path = write(text.encode("utf-8", "surrogatepass"))
    try:
        loaded = load(Card, path)
    except ConfigError as error:
        places = [problem.place for problem in error.problems]
        lines = error.lines
    else:
        places, lines = [], []
        assert from_plain(Card, json.loads(json.dumps(resolved(loaded), allow_nan=False))) == loaded.value
    assert all(place.file == str(path) and place.line >= 1 and place.column >= 1 for place in places)
    assert all(line.isprintable() for line in lines)
