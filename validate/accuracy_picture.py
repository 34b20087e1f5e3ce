"""A picture of predicted over measured times: a panel for each GPU, rows counted in squares, as SVG without a library.

    across: log10 of megabytes        up: log2 of predicted / measured, from half to double        darker: more rows
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ACROSS, UP, SIDE = 60, 40, 4
"""Squares of a panel, and pixels of a square."""
LOW_MB, HIGH_MB = -3.0, 4.0
"""Decades of megabytes."""
LEVELS = (1, 3, 10, 30, 100)
"""Rows from which a square is a shade darker."""
COLUMNS = 3
_WIDE, _HIGH = ACROSS * SIDE + 60, UP * SIDE + 50


def picture(panels: dict[str, tuple[Floats, Floats]]) -> str:
    """The picture of (megabytes, predicted / measured) by name."""
    lines = -(-len(panels) // COLUMNS)
    drawn = [f'<g transform="translate({i % COLUMNS * _WIDE + 50},{i // COLUMNS * _HIGH + 25})">{_panel(name, *xy)}</g>'
             for i, (name, xy) in enumerate(panels.items())]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * _WIDE + 10}" height="{lines * _HIGH + 10}" '
            f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>\n'
            + "\n".join(drawn) + "\n</svg>\n")


def _panel(name: str, mb: Floats, ratio: Floats) -> str:
    across = (np.log10(mb) - LOW_MB) / (HIGH_MB - LOW_MB) * ACROSS
    up = (np.log2(ratio) + 1) / 2 * UP
    places = np.clip(np.stack([across, up]).astype(np.int64), 0, [[ACROSS - 1], [UP - 1]])
    squares, counts = np.unique(places, axis=1, return_counts=True)
    width, height = ACROSS * SIDE, UP * SIDE
    parts = [f'<text x="{width / 2:.0f}" y="-8" text-anchor="middle">{name}</text>',
             f'<rect width="{width}" height="{height}" fill="none" stroke="#888"/>']
    for i, least in enumerate(LEVELS):
        most = LEVELS[i + 1] if i + 1 < len(LEVELS) else math.inf
        drawn = "".join(f"M{x * SIDE} {height - (y + 1) * SIDE}h{SIDE}v{SIDE}h-{SIDE}z"
                        for (x, y), count in zip(squares.T.tolist(), counts.tolist(), strict=True)
                        if least <= count < most)
        if drawn:
            parts.append(f'<path fill="#1f4e79" fill-opacity="{(i + 1) / len(LEVELS):.1f}" d="{drawn}"/>')
    for value in (0.5, 0.8, 1, 1.25, 2):
        y = height - (math.log2(value) + 1) / 2 * height
        stroke = "#c00" if value == 1 else "#ccc"
        parts.append(f'<path d="M0 {y:.1f}H{width}" stroke="{stroke}" stroke-width="0.7"/>'
                     f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for decade in range(int(LOW_MB), int(HIGH_MB) + 1, 2):
        x = (decade - LOW_MB) / (HIGH_MB - LOW_MB) * width
        parts.append(f'<text x="{x:.0f}" y="{height + 14}" text-anchor="middle">{10.0 ** decade:g} MB</text>')
    return "".join(parts)
