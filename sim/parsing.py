"""A command line's parser whose refusals are one line with the nearest right name, like all others."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, NoReturn

from .units import InputError


class Parser(argparse.ArgumentParser):
    """Raises InputError where argparse would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        """Raise what the door prints in one line."""
        raise InputError(f"{self.prog}: {message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is left here, where the verb's own options are known, and not in the parser above."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = _near(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        said = f"invalid choice: {str(value)!r}{_near(str(value), choices)} (choose from {', '.join(choices)})"
        raise argparse.ArgumentError(action, said)


def _near(given: str, known: Iterable[str]) -> str:
    from .reading.provenance import did_you_mean  # only for who has made a mistake: `--help` is to be there at once

    return did_you_mean(given, known)
