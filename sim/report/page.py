"""One self-contained HTML page: sections with pictures, filled into a template whose texts are escaped.

The page needs no network: its style and script are inside. Pictures are SVG made here; the pipeline, which may hold
thousands of passes, is drawn by the script from packed data as the reader moves through it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup

from ..units import NotCoveredError


class Section(NamedTuple):
    """A part of a page."""

    name: str
    """Of its anchor."""
    title: str
    body: Markup
    lead: str = ""
    """How to read the picture, in a sentence or two."""


class Page(NamedTuple):
    """What a template is filled with."""

    title: str
    sentence: str
    kicker: str
    """The line above the sentence: what was asked."""
    cards: Sequence[tuple[str, str, str]]
    """(figure, name, what stands beside it)."""
    sections: Sequence[Section]
    warnings: Sequence[str]
    missing: Sequence[str]
    """Pictures that this document cannot give, and what would."""
    footer: str
    data: Mapping[str, Any] = {}
    """For the script, by the id that the section names."""


def render(page: Page) -> str:
    """The page as HTML. Raises NotCoveredError where jinja2 is not installed."""
    return filled("page.html", {"page": page}, page.data, "pipeline.js")


def filled(template: str, words: Mapping[str, Any], data: Mapping[str, Any], script: str) -> str:
    """A template with its words, its data for the script, and the style and scripts that go with it."""
    packed = {name: Markup(_script_json(value)) for name, value in data.items()}
    html: str = _environment(template).get_template(template).render(
        **words, data=packed, style=_own("style.css"), script=_own("page.js") + _own(script))
    return html + "\n"


def _environment(template: str) -> Any:
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError:
        raise NotCoveredError("pages need jinja2: pip install 'speedsim[report]'") from None
    sources = {name: source(name) for name in ("base.html", template)}
    return Environment(loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
                       lstrip_blocks=True)


def source(name: str) -> str:
    """A file of the templates."""
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _own(name: str) -> Markup:
    """A file of this package, which is trusted as it is."""
    return Markup(source(name))


def _script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
