"""Measurement files: whole, of one card, with their environment; or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("pandas")

from speedsim.catalog import load_model
from speedsim.model import Model
from speedsim.units import InputError
from speedsim.validate.records import REQUIRED, Table, read, read_folder, reopen

MEASURED = Path(__file__).parents[2] / "validate" / "measured"
MODELS = sorted((Path(__file__).parents[2] / "validate" / "models").glob("*.json"))


def place(card="aa11", name="Card A"):
    return {key: "known" for key in REQUIRED} | {"card": card, "name": name}


def table(folder, card="aa11", name="points", rows=3, environment=None):
    made = Table(folder, name, "a test", ("size", "mode"), ("median_us", "remark"), environment or place(card))
    for number in range(rows):
        made.add({"size": number, "mode": "graph", "median_us": number / 3, "remark": ""})
    return made


def test_what_is_written_is_read_back(tmp_path):
    path = table(tmp_path).finish()
    measured = read(path)
    assert measured.table["median_us"].tolist() == [0.0, 1 / 3, 2 / 3]
    assert measured.environment["name"] == "Card A"
    assert measured.keys == ("size", "mode")
    assert "card" not in measured.table


def test_a_point_is_on_the_disk_before_the_next_is_measured(tmp_path):
    table(tmp_path, rows=2)
    (partial,) = tmp_path.iterdir()
    assert partial.name == "points.csv.partial"
    assert partial.read_text().count("\n") == 4
    again = table(tmp_path, rows=0)
    assert again.rows == 2
    assert again.has({"size": 1, "mode": "graph"})
    assert not again.has({"size": 2, "mode": "graph"})


def test_a_line_that_was_cut_is_measured_again(tmp_path):
    table(tmp_path, rows=3)
    partial = tmp_path / "points.csv.partial"
    partial.write_bytes(partial.read_bytes()[:-7])
    again = table(tmp_path, rows=0)
    assert again.rows == 2
    assert not again.has({"size": 2, "mode": "graph"})
    again.add({"size": 2, "mode": "graph", "median_us": 0.5, "remark": ""})
    assert len(read(again.finish()).table) == 3


def test_going_on_and_measuring_at_once_give_the_same_bytes(tmp_path):
    whole = table(tmp_path / "a").finish().read_bytes()
    table(tmp_path / "b", rows=1)
    rest = table(tmp_path / "b", rows=0)
    for number in (1, 2):
        rest.add({"size": number, "mode": "graph", "median_us": number / 3, "remark": ""})
    assert rest.finish().read_bytes() == whole


def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path):
    path = table(tmp_path).finish()
    content = path.read_bytes()
    for cut in range(1, len(content) - 1, 7):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"points\.csv: (truncated|damaged|its first line|its environment)"):
            read(path)


def test_a_changed_byte_is_noticed(tmp_path):
    path = table(tmp_path).finish()
    content = path.read_text()
    path.write_text(content.replace("0.6666", "0.6667"))
    with pytest.raises(InputError, match="damaged: its bytes are not those that were sealed"):
        read(path)


def test_a_file_without_its_environment_is_refused(tmp_path):
    bare = {k: v for k, v in place().items() if k != "driver"}
    path = table(tmp_path, environment=bare).finish()
    with pytest.raises(InputError, match="its environment does not say driver"):
        read(path)
    path.write_text(path.read_text().replace('"environment"', '"elsewhere"'))
    with pytest.raises(InputError, match="its environment does not say card"):
        read(path)


def test_a_file_of_two_cards_is_refused(tmp_path):
    first, second = table(tmp_path / "a", rows=1), table(tmp_path / "b", card="bb22", rows=1)
    lines = Path(str(second.path) + ".partial").read_text().splitlines()
    partial = Path(str(first.path) + ".partial")
    partial.write_text(partial.read_text() + lines[-1].replace("0,graph", "1,graph") + "\n")
    first.rows += 1
    with pytest.raises(InputError, match="mixed from 2 cards: aa11, bb22"):
        read(first.finish())


def test_another_card_does_not_go_on_with_a_file(tmp_path):
    table(tmp_path, rows=1)
    with pytest.raises(InputError, match=r"begun on card aa11 \(Card A\), this is card bb22: measure into another"):
        table(tmp_path, card="bb22", rows=0)


def test_a_folder_of_two_cards_is_refused(tmp_path):
    table(tmp_path, name="one").finish()
    table(tmp_path, name="two", card="bb22").finish()
    with pytest.raises(InputError, match="mixed from 2 cards: one from aa11, two from bb22"):
        read_folder(tmp_path)


def test_a_folder_without_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="no measurement file"):
        read_folder(tmp_path)


def test_failed_points_are_taken_out_to_be_measured_again(tmp_path):
    made = table(tmp_path, rows=2)
    made.add({"size": 9, "mode": "graph", "remark": "failed: RuntimeError: x"})
    made.finish()
    reopen(made.path, "failed:")
    again = table(tmp_path, rows=0)
    assert (again.rows, again.whole) == (2, False)
    assert not again.has({"size": 9, "mode": "graph"})


def test_columns_of_another_version_are_refused(tmp_path):
    table(tmp_path, rows=1)
    with pytest.raises(InputError, match="this version writes size, median_us, card"):
        Table(tmp_path, "points", "a test", ("size",), ("median_us",), place())


@pytest.mark.parametrize("folder", sorted({p.parent for p in MEASURED.rglob("*.csv")}), ids=lambda p: p.name)
def test_every_committed_measurement_is_whole(folder):
    assert read_folder(folder)


def test_committed_measurements_stay_small():
    assert sum(p.stat().st_size for p in MEASURED.rglob("*") if p.is_file()) < 10_000_000


@pytest.mark.parametrize("path", MODELS, ids=lambda p: p.stem)
def test_a_resolved_model_is_the_one_of_its_yaml_file(path):
    values = json.loads(path.read_text())
    dtype = values.pop("dtype")
    model = load_model(path.stem).value
    assert isinstance(model, Model)
    assert {key: getattr(model, key) for key in values} == values
    assert {role: getattr(model.dtype, role) for role in dtype} == dtype


def test_the_campaigns_shapes_are_all_there():
    assert {p.stem for p in MODELS} >= {"speed_2x6", "speed_4x3", "speed_4x4", "speed_12l", "speed_4l", "speed_2l",
                                        "ouro_1_4b", "raven_llama_3_2_1b", "llama_7b"}
