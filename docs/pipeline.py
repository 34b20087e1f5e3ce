"""Draws docs/pipeline.svg: tokens sliding through the loop, from a run of SPEED on a hand-made text.

    python docs/pipeline.py            writes docs/pipeline.svg

Rows of the picture are positions of the text, columns are passes. A box is one repetition of one token; its shade is
the repetition. A token's boxes run right until it commits (the outlined last box). Dashed boxes were squashed: the
token before them changed its mind. The same drawing of real runs comes with the report.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from speedsim.oracle import TraceOracle
from speedsim.program import Commit, Ids, Issue, Pass, Squash, Text, Wait, watched
from speedsim.schedules.speed import Speed
from speedsim.trace import Sequence

WORDS = ["The", "weights", "are", "read", "once", "for", "all"]
SHADES = ["#e8f1fa", "#b9d6ef", "#7fb2de", "#3f86c4"]
CELL, LEFT, TOP = 46, 150, 48


def passes() -> tuple[list[Pass], set[int], set[int]]:
    """(passes, committed tokens, squashed tokens) of SPEED with four repetitions; the fourth word is guessed late."""
    right = [[7, 7, 7, 7]] * len(WORDS)
    right[2] = [5, 5, 7, 7]
    text = Sequence(0, 0, len(WORDS), "length", 0, np.array(right, dtype=np.int32))
    oracle = TraceOracle({0: text})
    program = watched(Speed().program(oracle, Text(0, 0, len(WORDS), 4), Ids()), oracle)
    run: list[Pass] = []
    committed: set[int] = set()
    squashed: set[int] = set()
    command = next(program)
    while True:
        if isinstance(command, Issue):
            run.append(command.item)
        elif isinstance(command, Commit):
            committed.add(command.token)
        elif isinstance(command, Squash):
            squashed.update(command.tokens)
        try:
            command = program.send(command.passes if isinstance(command, Wait) else frozenset())
        except StopIteration:
            return run, committed, squashed


def draw() -> str:
    """The picture as SVG."""
    run, _, squashed = passes()
    width, height = LEFT + CELL * len(run) + 16, TOP + CELL * len(WORDS) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="14">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" fill="#444">one column is one pass: one read of the weights serves it all</text>',
    ]
    for column in range(len(run)):
        parts.append(f'<text x="{LEFT + CELL * column + CELL / 2}" y="40" text-anchor="middle" fill="#888">'
                     f"{column + 1}</text>")
    for line, word in enumerate(WORDS):
        parts.append(f'<text x="{LEFT - 12}" y="{TOP + CELL * line + 28}" text-anchor="end" fill="#222">{word}</text>')
    for column, item in enumerate(run):
        for row in item.rows:
            x, y, side = LEFT + CELL * column + 3, TOP + CELL * row.position + 3, CELL - 6
            gone = row.token in squashed
            last = row.depth == 3
            style = ('fill="none" stroke="#b04a3a" stroke-dasharray="4 3" stroke-width="1.5"' if gone else
                     f'fill="{SHADES[row.depth]}" stroke="{"#123" if last else "none"}" stroke-width="2"')
            ink = "#b04a3a" if gone else "#fff" if row.depth == 3 else "#123"
            parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" rx="6" {style}/>'
                         f'<text x="{x + side / 2}" y="{y + 25}" text-anchor="middle" fill="{ink}">'
                         f"{row.depth + 1}</text>")
    y = TOP + CELL * len(WORDS) + 28
    parts.append(f'<text x="16" y="{y}" fill="#444">number and shade: repetition 1 to 4 &#183; outlined: committed '
                 "&#183; dashed: squashed,</text>")
    parts.append(f'<text x="16" y="{y + 20}" fill="#444">because the word above it changed its mind '
                 f"&#183; {len(WORDS)} words in {len(run)} passes instead of {4 * len(WORDS)}</text>")
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("pipeline.svg").write_text(draw())
