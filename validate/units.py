"""Launch units on a stage: index upload, eager passes or one CUDA graph, 4 bytes back for every head that was read.

A unit is the run of passes between two Waits. Its graph is found by what fixes the shapes: rows, heads and sweeps of
each pass, and the window that bounds the positions. Everything else is uploaded as integers just before the launch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from .refusal import RefusedError
from .seating import Seated
from .stage import Rows, Stage

FIELDS = 7
"""seat, word, position, place, depth of a row; row and word of a head."""
WINDOW_BLOCK = 256
"""Windows are multiples of this where attention costs what the window is wide."""


class Signature(NamedTuple):
    """What fixes the shapes of a pass."""

    rows: int
    heads: int
    repetitions: int


class Units:
    """Runs launch units; remembers the graphs it has captured."""

    def __init__(self, stage: Stage, launch: str = "graph", widths: tuple[int, ...] | None = None,
                 most_rows: int = 64, most_passes: int = 64) -> None:
        if launch not in ("eager", "graph"):
            raise RefusedError(f"launch {launch!r}: this machine plays eager and graph")
        if most_rows < max(widths or (1,)):
            raise RefusedError(f"most_rows={most_rows} is below the widest captured width {max(widths or (1,))}")
        self.stage, self.widths = stage, widths
        cuda = stage.device.type == "cuda"
        self.launch = launch if cuda else "eager"
        self._pads = launch == "graph" and widths is not None
        self.notes = [] if self.launch == launch else ["launch graph: there are no graphs on a CPU; ran eager"]
        self.captured = 0
        """Graphs captured so far."""
        self._graphs: dict[tuple[tuple[Signature, ...], int], torch.cuda.CUDAGraph] = {}
        self._pool: tuple[int, int] | None = None
        self._feed_host = torch.zeros(most_passes, FIELDS, most_rows, dtype=torch.int64, pin_memory=cuda)
        self._feed = self._feed_host.to(stage.device, copy=True)
        self._answers = torch.zeros(most_passes * most_rows, dtype=torch.int32, device=stage.device)
        self._answers_host = torch.zeros(most_passes * most_rows, dtype=torch.int32, pin_memory=cuda)

    def width(self, count: int) -> int:
        """Rows (or heads) that so many run as: the next captured width, themselves beyond the last or without any."""
        if not count or self.widths is None or not self._pads:
            return count
        return next((w for w in self.widths if w >= count), count)

    def run(self, unit: list[Seated], repetitions: list[int]) -> list[int]:
        """Launch a unit; returns the widths that its passes ran with. The device may still be busy."""
        launch, signatures = self.prepare(unit, repetitions)
        launch()
        heads = sum(s.heads for s in signatures)
        if heads:
            self._answers_host[:heads].copy_(self._answers[:heads], non_blocking=True)
        return [s.rows for s in signatures]

    def prepare(self, unit: list[Seated], repetitions: list[int]) -> tuple[Callable[[], object], tuple[Signature, ...]]:
        """Upload a unit's indices; the call that launches it (as often as one likes), and its passes' shapes."""
        most_passes, _, most_rows = self._feed_host.shape
        if len(unit) > most_passes or max(len(p.seat) for p in unit) > most_rows:
            raise RefusedError(f"a unit of {len(unit)} passes, {max(len(p.seat) for p in unit)} rows wide: this "
                               f"machine was built for {most_passes} passes of {most_rows} rows")
        signatures = tuple([Signature(self.width(len(p.seat)), self.width(len(p.read)), k)
                            for p, k in zip(unit, repetitions, strict=True)])
        key = signatures, self._window(max(max(p.position) for p in unit))
        beyond = self.widths is not None and max(s.rows for s in signatures) > self.widths[-1]
        graph = None
        if self.launch == "graph" and not beyond:
            graph = self._graphs.get(key) or self._capture(key)
        for index, (seated, signature) in enumerate(zip(unit, signatures, strict=True)):
            self._write(index, seated, signature)
        self._feed[: len(unit)].copy_(self._feed_host[: len(unit)], non_blocking=True)
        return (graph.replay if graph is not None else lambda: self._passes(key)), signatures

    def answers(self, unit: list[Seated]) -> list[list[int]]:
        """Wait for the device; what each pass's heads said."""
        if self.stage.device.type == "cuda":
            torch.cuda.current_stream(self.stage.device).synchronize()
        found, at = [], 0
        for seated in unit:
            found.append(self._answers_host[at:at + len(seated.read)].tolist())
            at += self.width(len(seated.read))
        return found

    def _window(self, highest: int) -> int:
        """A static bound above the highest position."""
        if self.stage.backend.__name__ != "gather":
            return self.stage.max_len
        return min(self.stage.max_len, -(-(highest + 1) // WINDOW_BLOCK) * WINDOW_BLOCK)

    def _write(self, index: int, seated: Seated, signature: Signature) -> None:
        """Put a pass's indices into the upload; rows up to the captured width sit where nobody reads."""
        stage = self.stage
        unread = len(stage.words) - 1
        feed = self._feed_host[index].numpy()
        live, wide, heads = len(seated.seat), signature.rows, len(seated.read)
        feed[:5, :live] = seated[:5]
        feed[0, live:wide], feed[1, live:wide], feed[3, live:wide] = stage.seats, unread, stage.places
        feed[2, live:wide] = feed[4, live:wide] = 0
        feed[5, :heads], feed[6, :heads] = seated.read, seated.to
        feed[5, heads:signature.heads], feed[6, heads:signature.heads] = 0, unread

    @torch.no_grad()
    def _passes(self, key: tuple[tuple[Signature, ...], int]) -> None:
        """The unit's work on the device: what is captured, or runs eager."""
        signatures, window = key
        stage, at = self.stage, 0
        for index, (rows, heads, repetitions) in enumerate(signatures):
            feed = self._feed[index]
            seated = Rows(*feed[:5, :rows])
            states = stage.sweep(seated, stage.words[seated.word], repetitions, window)
            if heads:
                said = stage.heads(states[feed[5, :heads]])
                stage.words.index_copy_(0, feed[6, :heads], said)
                self._answers[at:at + heads] = said
                at += heads

    def _capture(self, key: tuple[tuple[Signature, ...], int]) -> torch.cuda.CUDAGraph:
        """Capture the unit over rows that nobody reads."""
        nobody = Seated([], [], [], [], [], [], [])
        for index, signature in enumerate(key[0]):
            self._write(index, nobody, signature)
        self._feed.copy_(self._feed_host)
        graph = capture(lambda: self._passes(key), self._pool)
        self._pool = graph.pool()
        self._graphs[key] = graph
        self.captured += 1
        return graph


def capture(work: Callable[[], object], pool: tuple[int, int] | None = None,
            stream: torch.cuda.Stream | None = None) -> torch.cuda.CUDAGraph:
    """A CUDA graph of `work()`, after three eager runs on the capturing stream (Triton and cuBLAS set up there)."""
    stream = torch.cuda.Stream() if stream is None else stream
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=stream):
        work()
    torch.cuda.synchronize()
    return graph
