"""What the harness refuses, in the reader's terms."""

from __future__ import annotations

from speedsim.units import InputError, NotCoveredError


class RefusedError(InputError):
    """An input, a file or a run that is refused; the message is one line."""


class NotMeasuredError(NotCoveredError):
    """Something this machine cannot measure; the message is the reason that goes into the table."""
