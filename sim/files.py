"""Files written so that nothing is ever half there: a temporary file beside the target, synced, then renamed.

What is no plain file (a pipe, a terminal, /dev/null) is written straight: it is never replaced by a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .units import InputError


def to_json(document: Any) -> str:
    """JSON text in ASCII, for terminals of any encoding; floats by repr, no NaN (ValueError), keys in order."""
    return json.dumps(document, indent=1, allow_nan=False)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes its name only once it is written to the end and on the disk.

    Raises InputError naming the target where the system refuses; what stood there before stays as it was.
    """
    check_target(path)
    if Path(path).exists() and not Path(path).is_file():
        try:
            with Path(path).open("wb") as stream:
                yield stream
        except OSError as error:
            raise _refused(path, error) from None
        return
    target = Path(os.path.realpath(path))
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise _refused(path, error) from None
    finally:
        with suppress(OSError):
            partial.unlink()


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse at the door, before any work, what can never be written: a folder, a place that does not exist."""
    target = Path(path)
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: cannot be written (no file has such a name)")
    if not target.name or target.is_dir():
        raise InputError(f"{str(path)!r}: cannot be written (it is a folder)")
    if not target.parent.is_dir():
        raise InputError(f"{path}: cannot be written (there is no folder {target.parent})")


def _refused(path: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error})")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file by `text`, or leave it as it was and raise InputError."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """The same for bytes."""
    with whole_file(path) as stream:
        stream.write(content)
