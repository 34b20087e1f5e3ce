"""The verb `schema`: the keys of a kind of YAML file, for editors and readers."""

from __future__ import annotations

import argparse

HELP = "the keys of a kind of YAML file, as JSON schema for editors or as a table"
KINDS = ("gpu", "stack", "model", "plan", "dram", "acceptance")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--table", action="store_true", help="a line a key instead of JSON")


def call(given: argparse.Namespace) -> int:
    """Print the schema."""
    from ..files import to_json
    from ..schema import classes, json_schema, keys

    if not given.table:
        print(to_json(json_schema(given.kind)))
        return 0
    found = list(keys(classes()[given.kind]))
    width = max(len(key.key) for key in found)
    for key in found:
        need = "" if key.required else " (optional)"
        print(f"{key.key:<{width}}  {key.takes}{need}{'. ' + key.meaning if key.meaning else ''}")
    return 0
