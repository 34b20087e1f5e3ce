"""The door to numba: loops over lines are compiled once and kept; without numba the tier is refused by name.

Compiled code lies in the user's cache, never beside the source: an installed package is not written to. numba looks at
the file of a function alone, not at what that calls, so the folder is named after all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from ..units import NotCoveredError

F = TypeVar("F", bound=Callable[..., Any])

COMPILED = ("queue", "dram", "l2", "wheel", "parts", "channels", "memory", "run")
"""The files whose functions are compiled, or whose numbers are compiled into them."""
_TEXTS = [Path(__file__).with_name(f"cycle_{name}.py").read_bytes() for name in COMPILED]
_DIGEST = hashlib.sha256(b"".join(_TEXTS)).hexdigest()[:16]
try:
    import numba
except ImportError:
    raise NotCoveredError("tier cycle needs numba: install the extra `fast` (pip install speedsim[fast])") from None

_settings: Any = numba.config
if "NUMBA_CACHE_DIR" not in os.environ:
    _settings.CACHE_DIR = str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "speedsim" / "numba" / _DIGEST)

_njit: Any = numba.njit
"""Without reference counts (`_nrt`), an option that its types leave out."""


def compiled(function: F) -> F:
    """The function as machine code. Integers are int64; times stay far below 2**63. It makes no arrays, so that none
    need be counted."""
    return cast(F, _njit(cache=True, _nrt=False)(function))


def inlined(function: F) -> F:
    """The same for a function that is called for every line: it becomes part of its callers."""
    return cast(F, _njit(cache=True, _nrt=False, forceinline=True)(function))
