"""Does the schema of a kind of file accept every shipped file and refuse what the loader refuses?"""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from speedsim.cli import main
from speedsim.schema import classes, json_schema, keys

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).parents[2]
FOLDERS = {"gpu": "hw_configs/gpus", "stack": "hw_configs/stacks", "dram": "hw_configs/dram",
           "model": "workloads/models", "plan": "workloads/plans", "acceptance": "workloads/acceptance"}
FILES = [(kind, path) for kind, folder in FOLDERS.items() for path in sorted((ROOT / folder).glob("*.yaml"))]
FILES += [("gpu" if "l2:" in path.read_text() or "hbm:" in path.read_text() else "stack", path)
          for path in sorted((ROOT / "hw_configs/fitted").glob("*.yaml"))]


def read(path):
    return YAML(typ="safe", pure=True).load(path.read_text())


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda p: getattr(p, "stem", p))
def test_a_shipped_file_is_what_its_schema_says(kind, path):
    jsonschema.Draft202012Validator(json_schema(kind)).validate(read(path))


def refused(kind, change):
    content = read(ROOT / "hw_configs/gpus/l40s.yaml")
    change(content)
    return bool(list(jsonschema.Draft202012Validator(json_schema(kind)).iter_errors(content)))


def test_what_the_loader_refuses_the_schema_refuses_too():
    assert not refused("gpu", lambda c: None)
    assert refused("gpu", lambda c: c["hbm"].update(bandwith="1 TB/s"))
    assert refused("gpu", lambda c: c["hbm"].update(bandwidth=12))
    assert refused("gpu", lambda c: c["hbm"].update(bandwidth={"value": "1 TB/s", "kind": "guessed"}))
    assert refused("gpu", lambda c: c.pop("sm"))
    assert not refused("gpu", lambda c: (c.pop("sm"), c.update(extends="l40")))


def test_every_key_has_words_for_what_it_takes():
    for cls in classes().values():
        for key in keys(cls):
            assert key.takes
            assert key.takes != "a value", key


def test_the_table_of_keys_names_unit_and_meaning(capsys):
    assert main(["schema", "gpu", "--table"]) == 0
    text = capsys.readouterr().out
    assert "hbm.bandwidth" in text
    assert "a rate in bytes, such as 4917 GB/s" in text
    assert main(["schema", "model"]) == 0
    assert '"title": "speedsim model"' in capsys.readouterr().out
