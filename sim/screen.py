"""What a terminal gets beside the text: how long it already takes, and colour. A pipe or a file gets neither.

NO_COLOR in the environment and TERM=dumb switch colour off; --quiet switches the waiting line off.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

PATIENCE_S = 1.0
"""From when on it is told that work goes on."""
COLOURS = {"host": 35, "wait": 90, "launch": 33, "latency": 36, "flop": 32, "l2": 92, "hbm": 34}
"""Of the bounds, as in reports."""
_BAR = re.compile(rf"^(\s+)({'|'.join(COLOURS)})(\s+[\d.]+ )(#+)$")
_GAIN = re.compile(r"(?<![\w.])(\d+\.\d+) x(?= \(|$)")
_ANSWER = re.compile(r"^\S+ (?:pays|loses|changes nothing): ")


@contextmanager
def waiting(what: str, quiet: bool = False, stream: TextIO | None = None) -> Iterator[None]:
    """Tell every second how long `what` has been going on, in one line that the next output overwrites."""
    screen = sys.stderr if stream is None else stream
    if quiet or not screen.isatty():
        yield
        return
    ended = threading.Event()
    begun = time.monotonic()

    def tell() -> None:
        while not ended.wait(PATIENCE_S):
            print(f"\r{what}: {time.monotonic() - begun:.0f} s\r", end="", file=screen, flush=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
        print("\x1b[K", end="", file=screen, flush=True)


def coloured(stream: TextIO) -> bool:
    """Whether this stream takes colour."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def painted(text: str, stream: TextIO | None = None) -> str:
    """The text with its bars, gains and answer in colour, where the stream is a terminal that takes it."""
    if not coloured(sys.stdout if stream is None else stream):
        return text
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    bar = _BAR.match(line)
    if bar:
        space, bound, figures, marks = bar.groups()
        return f"{space}{bound}{figures}\x1b[{COLOURS[bound]}m{marks}\x1b[0m"
    if _ANSWER.match(line):
        return f"\x1b[1m{line}\x1b[0m"
    return _GAIN.sub(lambda gain: f"\x1b[{32 if float(gain[1]) > 1 else 31}m{gain[0]}\x1b[0m", line)
