"""Makes `import speedsim` mean this clone's folders where the package is not installed."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "sim" / "__main__.py"))["register"]()
