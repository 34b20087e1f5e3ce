"""How far a sweep is: points, rate and remaining time, on the screen and nowhere else."""

from __future__ import annotations

import sys
import time
from types import TracebackType

ON_A_SCREEN_S, IN_A_FILE_S = 0.2, 10.0
"""How often it is told."""


class Meter:
    """Told of every block; writes one line that is overwritten on a terminal, a line now and then elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._begun: tuple[float, int] | None = None
        self._told = 0.0
        self._screen = sys.stderr.isatty()
        self._open = False

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._open:
            print(file=sys.stderr)

    def __call__(self, done: int, size: int) -> None:
        """So many points of so many are there."""
        if self._quiet:
            return
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, done)
            if done:
                print(f"{done:,} of {size:,} points were there", file=sys.stderr)
        elif done < size and now - self._told < (ON_A_SCREEN_S if self._screen else IN_A_FILE_S):
            return
        self._told = now
        begun, before = self._begun
        line = f"{done:,} of {size:,} points"
        if done > before:
            rate = (done - before) / max(1e-9, now - begun)
            line += f", {rate:,.1f} a second, {_span((size - done) / rate)} left"
        shown = f"\r\x1b[K{line}" if self._screen else f"{line}\n"
        print(shown, end="", file=sys.stderr, flush=True)
        self._open = self._screen


def _span(seconds: float) -> str:
    """A time in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
