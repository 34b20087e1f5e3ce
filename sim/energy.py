"""Energy and cost of a token: estimates from published figures, for one run or for arrays of them.

    joules = static W * time + (J a byte) * HBM bytes + (J a flop) * flop          cost = price an hour * time

The board's static power and its joules a byte and a flop are least-squares figures over published power curves of a few
cards (hw_configs/gpus, each with its source); a card without its own static power and joules a byte has no energy
here. A card without joules a flop counts none: in decoding a byte costs about a hundred times a flop. The price is what
cloud providers asked at the date that its source names. Ignored: the host, the network, cooling, idle time.
"""

from __future__ import annotations

from typing import Any

from .hardware import Energy, Gpu
from .metrics import PS_PER_S
from .timeline import Timeline

S_PER_HOUR = 3600


def joules(energy: Energy, time_ps: Any, hbm_bytes: Any, flop: Any) -> dict[str, Any] | None:
    """Joules by where they go: static, memory, arithmetic; None for a card without figures. Times may be arrays."""
    if energy.static_w is None or energy.per_hbm_byte_j is None:
        return None
    return {"static": energy.static_w * time_ps / PS_PER_S, "memory": energy.per_hbm_byte_j * hbm_bytes,
            "arithmetic": (0.0 if energy.per_flop_j is None else energy.per_flop_j) * flop}


def cost_usd(gpu: Gpu, time_ps: Any) -> Any:
    """The price of so many picoseconds of the card; None where no price is known."""
    return None if gpu.price_per_hour_usd is None else gpu.price_per_hour_usd * time_ps / PS_PER_S / S_PER_HOUR


def per_token(gpu: Gpu, line: Timeline) -> dict[str, Any]:
    """energy_per_token_j, its parts, power_w, cost_per_million_tokens_usd of a run; None where figures are missing."""
    count, time = line.counters, line.decode_ps
    tokens = count.committed_tokens
    parts = joules(gpu.energy, time, sum(count.hbm_bytes.values()), count.flop)
    price = cost_usd(gpu, time)
    each = None if parts is None or not tokens else {name: part / tokens for name, part in parts.items()}
    return {
        "energy_per_token_j": None if each is None else sum(each.values()),
        "energy_parts_j": each,
        "power_w": sum(parts.values()) / time * PS_PER_S if parts is not None and time else None,
        "cost_per_million_tokens_usd": price / tokens * 1e6 if price is not None and tokens else None,
    }
