"""Marks on a page: SVG elements as escaped markup, so that no text of a file can become a tag.

Colours are classes, never values: style.css gives each class a colour of its light and its dark palette.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup, escape


def tag(name: str, *inside: object, **attributes: object) -> Markup:
    """`<name ...>inside</name>`; `class_` is class, `data_t` is data-t; attributes of None are left out."""
    told = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _shown(value))
        for key, value in attributes.items() if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), told, Markup("").join(map(escape, inside)))


def _shown(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


def picture(width: float, height: float, *inside: object, label: str) -> Markup:
    """A whole picture that scales with the page; `label` is what it says to who cannot see it."""
    return tag("svg", *inside, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label, class_="plot",
               style=f"max-width:{width:g}px")


def rect(x: float, y: float, width: float, height: float, kind: str, hover: str | None = None, round_: float = 0
         ) -> Markup:
    """A bar. `hover` is shown under the pointer."""
    return tag("rect", x=float(x), y=float(y), width=float(max(0.0, width)), height=float(max(0.0, height)),
               rx=float(round_) if round_ else None, class_=kind, data_t=hover)


def line(x0: float, y0: float, x1: float, y1: float, kind: str) -> Markup:
    """A straight line."""
    return tag("line", x1=float(x0), y1=float(y0), x2=float(x1), y2=float(y1), class_=kind)


def text(x: float, y: float, said: object, kind: str = "label", anchor: str = "start", turn: float = 0) -> Markup:
    """Words at a place; `anchor` start, middle or end; `turn` in degrees."""
    return tag("text", said, x=float(x), y=float(y), class_=kind, text_anchor=None if anchor == "start" else anchor,
               transform=f"rotate({turn:g} {x:g} {y:g})" if turn else None)


def circle(x: float, y: float, radius: float, kind: str, hover: str | None = None) -> Markup:
    """A dot."""
    return tag("circle", cx=float(x), cy=float(y), r=float(radius), class_=kind, data_t=hover)


def path(points: Iterable[tuple[float, float]], kind: str, closed: bool = False) -> Markup:
    """A line through points."""
    through = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=f"M{through}{'Z' if closed else ''}", class_=kind) if through else Markup("")


def group(*inside: object, **attributes: object) -> Markup:
    """Marks that belong together."""
    return tag("g", *inside, **attributes)
