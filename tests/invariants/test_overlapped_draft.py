"""Whole scenarios on the path for several streams: a draft that writes ahead while the target checks."""

from __future__ import annotations

import pytest
from speedsim import Scenario
from speedsim.result import answer
from speedsim.units import NotCoveredError

ASKED = {"model": "llama_7b", "synth": "count=40", "gpu": "a100_sxm"}


def drafted(schedule, **changes):
    return answer(Scenario(schedule=schedule, acceptance="draft=0.8", **ASKED, **changes))


@pytest.mark.parametrize("on", ["same", "other"])
def test_a_draft_that_writes_ahead_hides_its_time_behind_the_target(on):
    alone = drafted("draft:draft=llama_68m,k=4")
    ahead = drafted(f"overlap:draft=llama_68m,k=4,on={on}")
    line = ahead.timeline(ahead.key)
    assert line.counters.committed_tokens == 40
    assert line.counters.draft_passes >= alone.timeline(alone.key).counters.draft_passes
    assert sum(line.bound_ps.values()) == line.decode_ps
    assert ahead.speedup > 1


def test_a_persistent_kernel_leaves_no_room_beside_it():
    with pytest.raises(NotCoveredError, match="a persistent kernel has the whole GPU"):
        drafted("overlap:draft=llama_68m,k=4", launch="persistent")
