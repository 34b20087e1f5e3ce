"""From passes to the shapes that their kernels depend on: places in the batch, captured widths, fixed slots.

Tokens in flight form a tree: siblings are guesses at one position. Rows that meet at one depth read the keys of their
common line once. Ignored: rows that meet in the middle of a pass of several repetitions.

Under lagged and device control the target's rows stand in fixed slots: every pass runs at full width, empty slots
included. Further models have no slots: their passes run with the rows they have. A sequence's place is the same for
every model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..kernels.lower import PassShape, RowShape
from ..model import Model
from ..program import TARGET, Pass, Row
from .recorder import Shown
from .setting import Setting

MOST_KEPT = 4096
"""Shapes kept at a time."""

_CODA = -1
"""Where rows of all depths meet."""


class _Met:
    """Rows of one sequence that meet in a layer instance, and what any of them reads."""

    __slots__ = ("first", "text", "tokens")

    def __init__(self, first: Row) -> None:
        self.first = first
        self.text = -1
        """Last position of the text; looked up when a second row comes."""
        self.tokens: set[int] = set()
        """In flight."""


class Shaper:
    """Gives sequences their places and passes their shapes."""

    def __init__(self, setting: Setting, models: Mapping[str, Model]) -> None:
        self._setting = setting
        self._place: dict[int, int] = {}
        self._vacant = list(range(setting.places))
        self._block = setting.stack.kernels.attention.block
        self._captures = setting.launch.startswith("graph")
        self._codas = frozenset(name for name, model in models.items() if model.coda)
        """Models that have layers behind the group, where all rows that are read meet."""
        self._windows = {name: model.window for name, model in models.items() if model.window is not None}
        self._known: dict[tuple[object, ...], PassShape] = {}
        """Shapes of passes no two of whose rows meet."""
        self._parents: dict[int, int | None] = {}
        """Tokens in flight whose input is a guess, and their parents."""

    @property
    def empty(self) -> bool:
        """Whether no sequence has a place."""
        return not self._place

    def leave(self, sequence: int) -> None:
        """Free the sequence's place."""
        self._vacant.append(self._place.pop(sequence))
        self._vacant.sort(reverse=True)

    def settle(self, tokens: Iterable[int]) -> None:
        """These tokens are text now, or discarded: in flight no more."""
        for token in tokens:
            self._parents.pop(token, None)

    def mode(self, shapes: list[PassShape]) -> str:
        """The launch mode of a unit: eager where a pass is wider than any captured graph."""
        widths = self._setting.stack.widths
        if self._captures and widths and max(s.width for s in shapes) > widths[-1]:
            return "eager"
        return self._setting.launch

    def shape(self, item: Pass) -> PassShape:
        """What the pass's kernels depend on."""
        block, exits = self._block, item.exits
        places: list[int] = []
        key: list[object] = [item.model, item.repetitions, len(exits)]
        reads, meeting = 0, set()
        keys = self._keys(item)
        for (token, sequence, _, depth, parent, source), attended in zip(item.rows, keys, strict=True):
            place = self._place.get(sequence)
            if place is None:
                place = self._place[sequence] = self._vacant.pop()
            if depth == 0 and source is not None:
                self._parents[token] = parent
            places.append(place)
            read = token in exits
            reads += read
            meeting.add((place, depth))
            key += (place, depth, -(-attended // block), read)
        if len(meeting) < len(places) or (reads > 1 and item.model in self._codas):
            return self._shape(item, places, keys)
        known = self._known.get(found := tuple(key))
        if known is None:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            known = self._known[found] = self._shape(item, places, keys)
        return known

    def _shape(self, item: Pass, places: list[int], keys: list[int]) -> PassShape:
        setting, block = self._setting, self._block
        exits = frozenset(item.exits)
        rows = []
        meeting: dict[tuple[int, int], _Met] = {}
        meets = False
        for place, row, attended in zip(places, item.rows, keys, strict=True):
            read = row.token in exits
            own = self._own(meeting, (place, row.depth), row)
            coda_own = self._own(meeting, (place, _CODA), row) if read and item.model in self._codas else None
            meets = meets or own is not None or coda_own is not None
            rows.append(RowShape(place, row.depth, -(-attended // block) * block, read, own, coda_own))
        entering = sum(row.depth == 0 for row in item.rows)
        heads, width = len(item.exits), len(rows)
        if setting.slots is not None and item.model == TARGET:
            width = setting.slots * setting.places
            entering = setting.places if setting.slots > 1 else entering
            heads = self._fixed_heads(item) * setting.places
        width = self._width(width)
        return PassShape(tuple(rows), width, entering, heads, item.repetitions, setting.source_tokens, meets=meets)

    def _own(self, meeting: dict[tuple[int, int], _Met], at: tuple[int, int], row: Row) -> int | None:
        """Keys that the row reads and no row that met there before it; None for the first."""
        met = meeting.get(at)
        if met is None:
            meeting[at] = _Met(row)
            return None
        if met.text < 0:
            met.tokens.update(line := self._line(met.first))
            met.text = met.first.position - len(line)
        line = self._line(row)
        text = row.position - len(line)
        own = len(met.tokens.union(line)) - len(met.tokens) + max(0, text - met.text)
        met.tokens.update(line)
        met.text = max(met.text, text)
        return own

    def _line(self, row: Row) -> list[int]:
        """The row's token and its parents, as far as they are guesses; those before them are text."""
        line: list[int] = []
        token: int | None = row.token
        while token is not None and token in self._parents:
            line.append(token)
            token = self._parents[token]
        return line

    def shown(self, item: Pass, shape: PassShape) -> Shown:
        """What the recorder keeps of a pass beside its cost."""
        fixed = self._setting.slots if item.model == TARGET else None
        idle = 0 if fixed is None else fixed * self._setting.places - len(item.rows)
        return Shown(item, shape, idle, shape.width - len(item.rows) - idle, self._keys(item))

    def _keys(self, item: Pass) -> list[int]:
        """Keys that each row attends to: all up to its own, or the latest within the model's window."""
        window = self._windows.get(item.model)
        if window is None:
            return [row.position + 1 for row in item.rows]
        return [min(row.position + 1, window) for row in item.rows]

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
