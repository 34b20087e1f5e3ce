"""What the site's build adds: pictures drawn from runs, the keys of every kind of file, the help of every verb."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def on_config(config: Any) -> Any:
    """Pages that the navigation does not name stand at its end."""
    told = str(config.nav)
    pages = [str(page.relative_to(config.docs_dir)) for page in sorted(Path(config.docs_dir).rglob("*.md"))]
    more = [page for page in pages if f"'{page}'" not in told]
    if more:
        config.nav.append({"More": more})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add what is generated."""
    from mkdocs.structure.files import File

    made = {f"pictures/{name}.svg": svg for name, svg in _pictures().pictures().items()}
    made |= {"reference/keys.md": keys(), "reference/commands.md": commands()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill in what is computed; links to files of the repository that are no pages become plain words."""
    if "<!-- generated: ablations -->" in markdown:
        markdown = markdown.replace("<!-- generated: ablations -->", _pictures().ablations())
    return re.sub(r"\[([^\]]+)\]\((?:\.\./)+(?!reference/|howto/|[a-z_]+\.md)[^)]*\)", r"`\1`", markdown)


def _pictures() -> Any:
    spec = importlib.util.spec_from_file_location("docs_pictures", Path(__file__).with_name("pictures.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys() -> str:
    """Every key of every kind of file, read off the classes that load them."""
    from speedsim.schema import classes
    from speedsim.schema import keys as of

    parts = ["# Keys of the files", "Generated from the classes that load the files. A number with a unit is written "
             "with it (`4917 GB/s`); any number may stand as `{value: ..., kind: ..., source: ...}`, and any block may "
             "carry a `kind` and a `source` for all of its numbers. `speedsim schema KIND` prints them as JSON schema."]
    for kind, cls in classes().items():
        parts += ["", f"## {kind}", "", " ".join((cls.__doc__ or "").split()), "", "| key | takes | meaning |",
                  "|---|---|---|"]
        for key in of(cls):
            need = "" if key.required else " *(optional)*"
            meaning = key.meaning.replace("|", "\\|").replace("<", "&lt;")
            parts.append(f"| `{key.key}` | {key.takes}{need} | {meaning} |")
    return "\n".join(parts) + "\n"


def commands() -> str:
    """The help of every verb."""
    from speedsim.cli import main, verbs

    parts = ["# Commands", "", "Exit codes: 0 ok, 1 a check failed, 2 wrong input, 3 not covered, 130 interrupted."]
    for verb in verbs():
        told = io.StringIO()
        with redirect_stdout(told), suppress(SystemExit):
            main([verb, "--help"])
        parts += ["", f"## {verb}", "", "```text", told.getvalue().rstrip(), "```"]
    return "\n".join(parts) + "\n"
