"""The sweeps behind docs/study.md: `python docs/study_sweeps.py` computes docs/study/*.csv anew (some minutes).

Each is a sweep of the default question (H200, torch_graph, speed_2x6 on its transferred trace) along a few axes; the
columns that the study quotes are kept, floats as they are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from speedsim import Scenario, sweep
from speedsim.scenario import resolve
from speedsim.sweeps.engines import processes
from speedsim.whatifs.attribution import attributed

HERE = Path(__file__).parent / "study"
CARDS = "rtx_a5000,a100_sxm,l40s,h100_sxm,h200_sxm,b200_sxm"
SWEEPS = {
    "depth": (["gpu=" + CARDS, "schedule.max_in_flight=1:6"], []),
    "launches": (["gpu=" + CARDS, "launch=eager,graph,graph+pdl,persistent"], []),
    "cache": (["l2.capacity=4MiB:256MiB:*2", "launch=graph,persistent"], []),
    "memory": (["hbm.bandwidth=0.5TB/s:32TB/s:*2", "launch=graph,persistent"], []),
    "imagined": (["launch.node_gap=0.1us,0.3us,0.6us,1.27us", "stack.host.turnaround=1us,5us,20us",
                  "schedule.max_in_flight=1:6"], []),
    "device": (["gpu=" + CARDS, "control=host,device"], []),
    "head": (["model.vocab=1024:131072:*2", "launch=graph,persistent"], []),
    "batch": (["gpu=rtx_a5000,h200_sxm,l40s", "batch=1,2,4,8,16,32,64",
               "tokens=1022,1023,1024,2048,4096,8192,16384"], ["batch,tokens"]),
}
"""Axes and links of each."""
KEPT = ("time_per_token_us", "tokens_per_s", "gain.speedup", "gain.low", "gain.high", "gain.requested_bytes_ratio",
        "gain.hbm_bytes_ratio", "gain.kernels_ratio", "gain_over.autoregressive@speed_12l",
        "gain_over.autoregressive@speed_2l", "knee_share", "refused")


def main() -> int:
    """Compute the sweeps that are named, or all of them."""
    wanted = sys.argv[1:] or [*SWEEPS, "shares"]
    for name in wanted:
        if name == "shares":
            (HERE / "shares.json").write_text(json.dumps(shares(), indent=1) + "\n")
            continue
        over, link = SWEEPS[name]
        table = sweep(over, Scenario(), link=link, engine=processes(2))
        axes = [text.partition("=")[0] for text in over]
        table[[*axes, *(column for column in KEPT if column in table)]].to_csv(HERE / f"{name}.csv", index=False)
        print(name, len(table))
    return 0


def shares() -> dict[str, dict[str, dict[str, float]]]:
    """Microseconds a token by mechanism, for SPEED and for plain decoding on each card."""
    found = {}
    for card in CARDS.split(","):
        found[card] = {}
        for schedule in ("speed", "autoregressive"):
            one = attributed(resolve(Scenario(gpu=card, schedule=schedule, record="summary")))
            found[card][schedule] = {name: time / 1e6 / one.tokens for name, time in one.shares_ps.items()}
    return found


if __name__ == "__main__":
    sys.exit(main())
