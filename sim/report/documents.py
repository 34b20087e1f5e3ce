"""Documents as they lie on the disk: answers, their timelines, and what kind of file a reader was given.

All of sim/report starts here: a file is read once, its schema is checked, its timeline is fetched from beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from ..timeline_files import embedded
from ..units import InputError

RESULT = "speedsim-result/1"
MOST_BYTES = 400_000_000


def load(path: Path) -> dict[str, Any]:
    """A document of any kind.

    Raises InputError naming the file where it is missing, no JSON, or none of ours.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path}: larger than {MOST_BYTES:,} bytes; record less (--record summary)")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a document (no UTF-8 text)") from None
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON document ({str(error)[:120]})") from None
    if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
        raise InputError(f"{path}: not a document of speedsim (it has no schema); write one with "
                         "speedsim run --json FILE")
    return found


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def result(path: Path) -> dict[str, Any]:
    """An answer of `run`, its timeline inside. Raises InputError where it is something else."""
    found = load(path)
    if found["schema"] != RESULT:
        raise InputError(f"{path}: {found['schema']!r} is not {RESULT}; give an answer of speedsim run --json FILE")
    return with_timeline(found, path)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """What is read inside is a document of the right schema; where its parts are not, InputError names the file."""
    try:
        yield
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged, or written by another version ({type(error).__name__}: {error})") from error


def with_timeline(found: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document with its timeline inside, wherever it lies."""
    timeline = embedded(found, path)
    return found if timeline is None else found | {"timeline": timeline}


def main_key(document: Mapping[str, Any]) -> str:
    """The schedule that was asked about."""
    return str(document["schedule"]["name"])


def plain_key(document: Mapping[str, Any]) -> str | None:
    """The rival that is the same model decoded plainly."""
    key = f"autoregressive@{document['model']['name']}"
    return key if key in document["schedules"] else None
