"""`python -m validate ...` in a bare clone, or `python -m speedsim.validate ...` where speedsim is installed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def register() -> None:
    """Give the clone's folders their names where speedsim is not installed."""
    here = Path(__file__).resolve().parent
    clone = here.parent / "sim" / "__main__.py"
    if clone.exists():
        runpy.run_path(str(clone))["register"]()


if __name__ == "__main__":
    register()
    from speedsim.validate.cli import main

    sys.exit(main())
