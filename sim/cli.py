"""The command `speedsim`: finds the verb, answers its errors in one line each with an exit code."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .parsing import Parser
from .screen import waiting
from .units import InputError, NotCoveredError

UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT)
"""What a standard output that takes no more fails with."""
RARELY = (200_000, 50, 50)
"""Runs make many small tuples that live for long, and few cycles: Python looks for those less often than by itself."""

OK, CHECK_FAILED, INPUT, NOT_COVERED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 ok, 1 check failed, 2 input, 3 not covered, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    gc.set_threshold(*RARELY)
    try:
        code = _dispatch(given)
        sys.stdout.flush()
        return code
    except InputError as error:
        print(_one_line(error), file=sys.stderr)
        return INPUT
    except NotCoveredError as error:
        print(_one_line(error), file=sys.stderr)
        return NOT_COVERED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _say_no_more()
        return OK
    except OSError as error:
        if error.filename is not None or error.errno not in UNWRITABLE:
            raise
        _say_no_more()
        print(f"speedsim: standard output: {error.strerror}", file=sys.stderr)
        return INPUT


def _say_no_more() -> None:
    """What is still to be written to standard output would fail again when Python ends."""
    if sys.__stdout__ is not None and sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("\n"))


def verbs() -> list[str]:
    """The verbs of this package: the files of sim/verbs."""
    return sorted(path.stem for path in Path(__file__).with_name("verbs").glob("[a-z]*.py"))


def _dispatch(given: list[str]) -> int:
    verb = given[0] if given and not given[0].startswith("-") else None
    if verb is not None and verb not in verbs():
        return int(_foreign(verb)(given[1:]) or OK)
    parser = _parser(verbs() if verb is None else [verb])
    options = parser.parse_args(given)
    if options.verb is None:
        parser.print_help()
        return OK
    with waiting(options.verb, options.quiet or options.alone):
        code: int = options.call(options)
    return code


def _foreign(verb: str) -> Any:
    """A verb of another package (training, validation), found by entry point."""
    from importlib.metadata import entry_points

    found = list(entry_points(group="speedsim.verbs", name=verb))
    if found:
        return found[0].load()
    from difflib import get_close_matches

    known = [*verbs(), *(entry.name for entry in entry_points(group="speedsim.verbs"))]
    near = get_close_matches(verb, known, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(f"speedsim: {verb}: no such verb{hint}; verbs: {', '.join(known)}")


def _parser(wanted: list[str]) -> Parser:
    """The parser of these verbs."""
    from . import __version__

    parser = Parser(prog="speedsim", description="Would speculative decoding pay on this GPU, and why?",
                    allow_abbrev=False)
    parser.add_argument("--version", action="version", version=__version__)
    added = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)
    for verb in wanted:
        module = import_module(f".verbs.{verb}", __package__)
        one = added.add_parser(verb, help=module.HELP, allow_abbrev=False)
        module.options(one)
        one.add_argument("--quiet", action="store_true", help="nothing on the screen but the answer")
        one.set_defaults(call=module.call, alone=getattr(module, "TELLS_ITSELF", False))
    return parser


if __name__ == "__main__":
    sys.exit(main())
