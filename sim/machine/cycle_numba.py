"""The door to numba: loops over lines are compiled once and kept; without numba the tier is refused by name.

Compiled code lies in the user's cache, never beside the source: an installed package is not written to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from ..units import NotCoveredError

F = TypeVar("F", bound=Callable[..., Any])

os.environ.setdefault("NUMBA_CACHE_DIR", str(
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speedsim" / "numba"))
try:
    import numba
except ImportError:
    raise NotCoveredError("tier cycle needs numba: install the extra `fast` (pip install speedsim[fast])") from None


def compiled(function: F) -> F:
    """The function as machine code. Integers are int64; times stay far below 2**63."""
    return cast(F, numba.njit(cache=True)(function))
