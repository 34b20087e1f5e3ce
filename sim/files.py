"""Files written so that nothing is ever half there: a temporary file beside the target, synced, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .units import InputError


def to_json(document: Any) -> str:
    """JSON text; floats by repr, no NaN (ValueError), keys in the document's order."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes its name only once it is written to the end and on the disk.

    Raises InputError naming the target where the system refuses; what stood there before stays as it was.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        with suppress(OSError):
            partial.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file by `text`, or leave it as it was and raise InputError."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """The same for bytes."""
    with whole_file(path) as stream:
        stream.write(content)
