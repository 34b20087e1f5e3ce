"""A command line's parser that says what is wrong in one line, like every other refusal."""

from __future__ import annotations

import argparse
from typing import NoReturn

from .units import InputError


class Parser(argparse.ArgumentParser):
    """Raises InputError where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        """Raise what the door prints in one line."""
        raise InputError(f"{self.prog}: {message} (see {self.prog} --help)")
