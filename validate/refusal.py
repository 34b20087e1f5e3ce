"""What the harness refuses, in the reader's terms."""

from __future__ import annotations


class Refusal(Exception):
    """An input, a file or a run that is refused; the message is one line."""


class NotMeasured(Exception):
    """Something this machine cannot measure; the message is the reason that goes into the table."""
