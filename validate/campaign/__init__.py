"""The campaign: what to measure on a machine with a GPU, in the order of its worth.

Each part is one command of at most 8 minutes that goes on where it stopped: see campaign.md beside this folder.
"""

from __future__ import annotations

from ..bench.arithmetic import CLOCK, LINEAR, MATRICES, POWER, SMALL
from ..bench.attention import ATTENTION
from ..bench.caches import CHASE, READS, ROTATION
from ..bench.experiment import Experiment
from ..bench.launch import DISPATCH, GAPS, START, TURNAROUND
from ..bench.memory import LINK, STREAMS
from .choices import CHOICES
from .counters import KERNEL_COUNTERS, PASS_COUNTERS
from .decodes import DECODES
from .passes import PASSES
from .policy import POLICY
from .profiles import KERNEL_NAMES, PASS_KERNELS
from .sharing import SHARING

PARTS: dict[int, tuple[Experiment, ...]] = {
    1: (TURNAROUND, GAPS, READS, ROTATION, SHARING, DECODES, ATTENTION),
    2: (PASSES, CHOICES),
    3: (KERNEL_NAMES, PASS_KERNELS, POLICY, PASS_COUNTERS, KERNEL_COUNTERS),
    4: (STREAMS, CHASE, SMALL, POWER, LINEAR),
}
"""Experiments of each part, the most wanted first."""

BENCH: tuple[Experiment, ...] = (
    GAPS, START, DISPATCH, TURNAROUND, READS, CHASE, STREAMS, LINK, MATRICES, CLOCK, POWER,
)
"""One micro-benchmark per hardware number (numbers.py says which table gives which number)."""
