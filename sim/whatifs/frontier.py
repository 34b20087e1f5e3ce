"""What a user gets against what the GPU gives, over the batch: with and without each schedule.

    tokens/s per user = 1 / time per token        tokens/s per GPU = committed tokens / time

A larger batch shares the reading of the weights, so the GPU gives more and every user gets less; speculation moves
along that trade as well. The text has as many sequences as the batch needs, as far as the trace goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..scenario import Scenario, resolve
from ..shelf import Shelf
from ..sweeps.run import sweep
from ..units import InputError, parse

if TYPE_CHECKING:
    import pandas as pd

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PLAIN = "autoregressive"


def curve(scenario: Scenario | None = None, schedules: Sequence[str] = (), batches: Sequence[int] = BATCHES,
          slo: str | None = None) -> pd.DataFrame:
    """One row a schedule and batch: tokens/s per user and per GPU, and the gain over plain decoding at that batch.

    Columns: schedule, batch, time_per_token_us, tokens_per_s_user, tokens_per_s, gain, low, high, pareto (nothing else
    gives more of both), meets_slo (slo: tpot=10ms, the time per token that a user is promised). Plain decoding is
    always among the schedules. Raises InputError for a batch that the text cannot fill.
    """
    import pandas as pd

    asked = replace(scenario or Scenario(), record="summary")
    wanted = list(dict.fromkeys((*(schedules or (asked.schedule,)), PLAIN)))
    limit = promised(slo)
    parts = []
    for batch in batches:
        wide = replace(asked, batch=batch, tokens=_enough(asked, batch))
        table = sweep([f"schedule={';'.join(wanted)}"], wide)
        parts.append(table.assign(batch=batch))
    found = pd.concat(parts, ignore_index=True).sort_values(["schedule", "batch"], kind="stable", ignore_index=True)
    shown = pd.DataFrame({
        "schedule": found["schedule"], "batch": found["batch"], "time_per_token_us": found["time_per_token_us"],
        "tokens_per_s_user": 1e6 / found["time_per_token_us"], "tokens_per_s": found["tokens_per_s"],
        "gain": found["gain.speedup"], "low": found["gain.low"], "high": found["gain.high"],
    })
    user, whole = shown["tokens_per_s_user"].to_numpy(), shown["tokens_per_s"].to_numpy()
    shown["pareto"] = [not any((user >= u) & (whole >= w) & ((user > u) | (whole > w)))
                       for u, w in zip(user, whole, strict=True)]
    shown["meets_slo"] = True if limit is None else shown["time_per_token_us"] <= limit
    return shown


def promised(slo: str | None) -> float | None:
    """The microseconds of `tpot=10ms`."""
    if slo is None:
        return None
    name, _, value = slo.partition("=")
    if name.strip() != "tpot" or not value:
        raise InputError(f"--slo {slo}: write tpot=TIME, such as tpot=10ms")
    return parse(value.strip(), "_ps") / 1e6


def _enough(scenario: Scenario, batch: int) -> int | None:
    """Tokens of so many sequences of the text; None where the scenario says how many it wants."""
    if scenario.tokens is not None or scenario.synth is not None:
        return scenario.tokens
    whole = resolve(replace(scenario, tokens=2**31 - 1), Shelf()).trace.sequences
    if batch > len(whole):
        raise InputError(f"--batches: {batch} sequences at a time; the text has {len(whole)}")
    return sum(sequence.count for sequence in whole[:max(4, batch)])
