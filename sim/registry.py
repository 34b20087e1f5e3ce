"""Where descriptions lie: names and paths by folder, nothing about what is in the files.

A kind is a folder. It is looked for in the working directory's hw_configs/ and workloads/, then in every folder of
SPEEDSIM_PATH (laid out alike, or holding gpus/, models/, ... directly), then in what is shipped; the first one wins.

Names: `.`, `-` and `_` are equal and case is ignored. A unique prefix is enough. Where several names begin with it, the
file that says `default_of: PREFIX` at its top level is meant, so rtx_pro_6000 is the server card because its file says
so. `NAME@FIT` is a fitted child and lies in fitted/; what gpus/ or stacks/ does not have may lie in what_if/.
"""

from __future__ import annotations

import difflib
import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from .units import InputError

_HERE = Path(__file__).resolve().parent

_KINDS = {
    "gpus": ("gpu", "hw_configs", (".yaml",)),
    "stacks": ("stack", "hw_configs", (".yaml",)),
    "dram": ("DRAM timing", "hw_configs", (".yaml",)),
    "fitted": ("fitted child", "hw_configs", (".yaml",)),
    "validated": ("validated what-if", "hw_configs", (".yaml",)),
    "what_if": ("what-if", "hw_configs", (".yaml",)),
    "compared": ("comparison", "hw_configs", (".yaml",)),
    "models": ("model", "workloads", (".yaml",)),
    "plans": ("plan", "workloads", (".yaml",)),
    "traces": ("trace", "workloads", (".jsonl", ".parquet")),
    "acceptance": ("acceptance table", "workloads", (".yaml",)),
    "suites": ("suite", "workloads", (".yaml",)),
    "schedules": ("schedule", "", (".py",)),
}
"""What one is called, the folder above, and the endings of its files."""
_ALSO = {"gpus": ("what_if",), "stacks": ("what_if",)}
_PATH_ENDINGS = (".yaml", ".yml", ".json", ".jsonl", ".parquet")


class RegistryError(InputError):
    """No such name or file, or more than one."""


def normal(name: str) -> str:
    """The form in which names are compared: lower case, with `_` for `.` and `-`."""
    return re.sub(r"[.\-]", "_", name.lower())


def is_path(name: str) -> bool:
    """Whether a name means a file: it has a separator or a file's ending."""
    separators = [s for s in (os.sep, os.altsep) if s]
    return any(s in name for s in separators) or name.lower().endswith(_PATH_ENDINGS)


def names(kind: str) -> list[str]:
    """Every name of a kind, sorted; of names that are equal only the one that is found."""
    return sorted(path.stem for path in _files(kind).values())


def find(kind: str, name: str) -> Path:
    """The file of a name, or of what is itself a path.

    Raises RegistryError, one line with the nearest names. ValueError for a kind that does not exist.
    """
    noun = _kind(kind)[0]
    if is_path(name):
        if not os.path.isfile(name):  # unlike Path's, this one never raises
            raise RegistryError(f"{noun} {name!r:.60}: {'a folder' if os.path.isdir(name) else 'no such file'}")
        return Path(name)
    folder = "fitted" if "@" in name and kind in _ALSO else kind
    noun = _kind(folder)[0]
    files, wanted = _files(folder), normal(name)
    for also in _ALSO.get(kind, ()):
        if wanted not in files and wanted in (others := _files(also)):
            return others[wanted]
    if wanted in files:
        return files[wanted]
    begin = sorted(key for key in files if wanted and key.startswith(wanted))
    chosen = begin if len(begin) == 1 else [key for key in begin if _is_default_of(files[key], wanted)]
    if len(chosen) == 1:
        return files[chosen[0]]
    shown = {key: path.stem for key, path in files.items()}
    if begin:
        raise RegistryError(f"{noun} {name!r:.60} may be {' or '.join(shown[key] for key in begin[:8])}")
    near = difflib.get_close_matches(wanted, shown, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(shown[key] for key in near)}?" if near else _all(shown.values())
    raise RegistryError(f"{noun} {name!r:.60} is unknown ({hint})")


def schedule(name: str) -> Any:
    """The SCHEDULE of the module sim/schedules/NAME.py, its options' class; only that module is imported.

    Raises RegistryError for an unknown name and for a module that has none.
    """
    path = find("schedules", name)
    module = import_module(f".schedules.{path.stem}", __package__)
    if not hasattr(module, "SCHEDULE"):
        raise RegistryError(f"schedule {name!r:.60}: {path.name} has no SCHEDULE")
    return module.SCHEDULE


def folders(kind: str) -> list[Path]:
    """The folders of a kind that exist, in the order in which they are searched."""
    _, above, _ = _kind(kind)
    if kind == "schedules":
        return [_HERE / "schedules"]
    own = [Path(folder) for folder in os.environ.get("SPEEDSIM_PATH", "").split(os.pathsep) if folder]
    candidates = [Path(above, kind).absolute()] if os.path.isdir(above) else []
    candidates += [folder / inner for folder in own for inner in (Path(above, kind), Path(kind))]
    # Installed, the data lie in the package; in a bare clone, beside it.
    candidates.append((_HERE if (_HERE / above).is_dir() else _HERE.parent) / above / kind)
    return [folder for folder in candidates if folder.is_dir()]


def _kind(kind: str) -> tuple[str, str, tuple[str, ...]]:
    if kind not in _KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(_KINDS)}")
    return _KINDS[kind]


def _files(kind: str) -> dict[str, Path]:
    """The files of a kind by their normal name. Those that begin with `_` or `.` are not descriptions."""
    endings = _kind(kind)[2]
    found: dict[str, Path] = {}
    for folder in folders(kind):
        for path in sorted(folder.iterdir()):
            if path.suffix in endings and path.name[0] not in "._" and path.is_file():
                found.setdefault(normal(path.stem), path)
    return found


def _is_default_of(path: Path, wanted: str) -> bool:
    """Whether the file says `default_of: WANTED`; read as text, as this module does not know what files mean."""
    if path.suffix != ".yaml":
        return False
    said = re.search(r"^default_of:[ \t]*([\w.@-]+)[ \t]*(?:#.*)?$", path.read_text("utf-8", "replace"), re.MULTILINE)
    return said is not None and normal(said[1]) == wanted


def _all(known: Any) -> str:
    listed = sorted(known)
    return f"known: {', '.join(listed[:12])}{', ...' if len(listed) > 12 else ''}" if listed else "there is none"
