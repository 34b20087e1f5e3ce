"""What of a card was ever compared with a measurement: a file a card in hw_configs/compared, none for the others.

A prediction for a card of which nothing was compared stands on data sheets and on other cards alone, and every answer
says so. The file names the card itself: what extends a card, or is a what-if, has been compared with nothing; a fitted
child (`NAME@FIT`) is the card with other numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from .config import load
from .hardware import Gpu
from .registry import find, names


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A card's comparisons; `name` is its file's and the card's."""

    name: str
    parts: tuple[str, ...] = ()
    """What less than a whole decode was compared, with what, and where the errors stand."""
    decodes: tuple[str, ...] = ()
    """The same of whole decodes."""

    def told(self, title: str) -> str:
        """In a sentence, for an answer."""
        if self.decodes:
            return f"compared with measurements of the {title}: {'; '.join(self.decodes)}"
        if self.parts:
            what = " and ".join(part.split(",")[0] for part in self.parts)
            return f"compared with measurements of the {title}: {what}; no whole decode"
        return f"nothing of the {title} was ever compared with a measurement; all stands on other cards and data sheets"


def compared(gpu: Gpu) -> Compared:
    """The comparisons of a card; none where it has no file."""
    name = gpu.name.partition("@")[0]
    if name not in names("compared"):
        return Compared(name=name)
    return load(Compared, find("compared", name)).value
