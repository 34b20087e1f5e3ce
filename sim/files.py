"""Files written so that nothing is ever half there: a temporary file beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .units import InputError


def to_json(document: Any) -> str:
    """JSON text; floats by repr, no NaN (ValueError), keys in the document's order."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replace the file by `text`, or leave it as it was and raise InputError naming it."""
    write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """The same for bytes."""
    target = Path(path)
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror})") from None
    finally:
        if partial is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
