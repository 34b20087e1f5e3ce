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


def check_folder(path: str | os.PathLike[str]) -> None:
    """Refuse at the door a folder that can never be made: no name (which would mean the working directory), a file."""
    if not str(path).strip() or "\0" in str(path):
        raise InputError(f"{str(path)!r}: cannot be written (no folder has such a name)")
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(f"{path}: cannot be written (it is no folder)")


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a file in UTF-8. Raises InputError naming it where there is none."""
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # bytes that are no text, or a name with a NUL in it
        why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise InputError(f"{str(path)!r}: cannot be read: {why}") from None


def _refused(path: str | os.PathLike[str], error: OSError) -> InputError:
    return InputError(f"{path}: cannot be written ({error.strerror or error})")


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file by `text`, or leave it as it was and raise InputError."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """The same for bytes."""
    with whole_file(path) as stream:
        stream.write(content)
