"""Sampling with a temperature: which kernels draw the next token instead of an arg-max.

    temperature > 0 divides the logits; top_k and top_p truncate the distribution

What a temperature does to the text is in the trace and the acceptance, not here. Ignored: penalties and grammars.
"""

from __future__ import annotations

from typing import NamedTuple

from .reading.provenance import did_you_mean
from .units import InputError


class Sampling(NamedTuple):
    """How tokens are drawn."""

    temperature: float
    top_k: int | None = None
    top_p: float | None = None

    @property
    def truncated(self) -> bool:
        """Whether the distribution is cut."""
        return self.top_k is not None or self.top_p is not None

    @staticmethod
    def parse(text: str) -> Sampling:
        """`temperature=0.8,top_k=50,top_p=0.9`. Raises InputError."""
        given: dict[str, str] = {}
        for pair in text.split(","):
            key, equals, value = (part.strip() for part in pair.partition("="))
            if key not in Sampling._fields or not equals or key in given:
                raise InputError(f"--sampling {text}: {pair!r}{did_you_mean(key, Sampling._fields)}: "
                                 "write temperature=T[,top_k=K][,top_p=P], each once")
            given[key] = value
        try:
            made = Sampling(float(given.get("temperature", "nan")), int(given["top_k"]) if "top_k" in given else None,
                            float(given["top_p"]) if "top_p" in given else None)
        except ValueError:
            raise InputError(f"--sampling {text}: numbers are expected, a whole one for top_k") from None
        if not 0 < made.temperature < 100:
            raise InputError(f"--sampling {text}: temperature: a number above 0 is expected")
        if not (made.top_k is None or made.top_k >= 1) or not (made.top_p is None or 0 < made.top_p <= 1):
            raise InputError(f"--sampling {text}: top_k is 1 or more, top_p above 0 and at most 1")
        return made
