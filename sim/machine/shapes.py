"""From passes to the shapes that their kernels depend on: places in the batch, captured widths, fixed slots.

Under lagged and device control the target's rows stand in fixed slots: every pass runs at full width, empty slots
included. Further models have no slots: their passes run with the rows they have. A sequence's place is the same for
every model.
"""

from __future__ import annotations

from ..kernels.lower import PassShape, RowShape
from ..program import Pass
from .recorder import Shown
from .setting import TARGET, Setting


class Shaper:
    """Gives sequences their places and passes their shapes."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._place: dict[int, int] = {}
        self._vacant = list(range(setting.places))
        self._block = setting.stack.kernels.attention.block
        self._captures = setting.launch.startswith("graph")

    @property
    def empty(self) -> bool:
        """Whether no sequence has a place."""
        return not self._place

    def leave(self, sequence: int) -> None:
        """Free the sequence's place."""
        self._vacant.append(self._place.pop(sequence))
        self._vacant.sort(reverse=True)

    def mode(self, shapes: list[PassShape]) -> str:
        """The launch mode of a unit: eager where a pass is wider than any captured graph."""
        widths = self._setting.stack.widths
        if self._captures and widths and max(s.width for s in shapes) > widths[-1]:
            return "eager"
        return self._setting.launch

    def shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on."""
        setting, block = self._setting, self._block
        exits = item.exits
        rows = []
        entering = 0
        for token, sequence, position, depth, _, _ in item.rows:
            place = self._place.get(sequence)
            if place is None:
                place = self._place[sequence] = self._vacant.pop()
            entering += depth == 0
            rows.append(RowShape(place, depth, -(-(position + 1) // block) * block, token in exits))
        heads, width = len(exits), len(rows)
        if setting.slots is not None and item.model == TARGET:
            width = setting.slots * setting.places
            entering = setting.places if setting.slots > 1 else entering
            heads = self._fixed_heads(item) * setting.places
        width = self._width(width)
        return PassShape(tuple(rows), width, entering, heads, item.repetitions, setting.source_tokens)

    def shown(self, item: Pass, shape: PassShape) -> Shown:
        """What the recorder keeps of a pass beside its cost."""
        fixed = self._setting.slots if item.model == TARGET else None
        idle = 0 if fixed is None else fixed * self._setting.places - len(item.rows)
        return Shown(item, shape, idle, shape.width - len(item.rows) - idle)

    def _width(self, rows: int) -> int:
        """Rows that a pass of so many runs with: the next captured width."""
        widths = self._setting.stack.widths
        if not self._captures or not widths:
            return rows
        return next((w for w in widths if w >= rows), rows)

    def _fixed_heads(self, item: Pass) -> int:
        """Slots per sequence whose head is read whether they hold a row or not."""
        if self._setting.slots == 1:
            return 1 if item.exits else 0
        return min(len(self._setting.exits), self._setting.slots or 0)
