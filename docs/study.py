"""Writes docs/study.md (`make study`): the page docs/study/page.txt with its numbers, read from the sweeps beside it.

What a sentence of the page claims in words is asserted here, so that the page cannot say what the sweeps do not.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

HERE = Path(__file__).parent
Row = dict[str, str]
CARDS = ("rtx_a5000", "a100_sxm", "l40s", "h100_sxm", "h200_sxm", "b200_sxm")
LAUNCHES = ("eager", "graph", "graph+pdl", "persistent")


def rows(name: str, **wanted: object) -> list[Row]:
    """The rows of a sweep with these values; `__` stands for the dot of a key."""
    with (HERE / "study" / f"{name}.csv").open() as stream:
        every = list(csv.DictReader(stream))
    return [row for row in every if all(row[key.replace("__", ".")] == str(value) for key, value in wanted.items())]


def one(name: str, **wanted: object) -> Row:
    """The one row with these values."""
    (row,) = rows(name, **wanted)
    return row


def deepest(card: str) -> Row:
    """The card's run with six tokens in flight."""
    return one("depth", gpu=card, schedule__max_in_flight=6)


def point(row: Row, column: str = "gain.speedup") -> float:
    """A figure."""
    return float(row[column])


def gain(row: Row) -> str:
    """The gain with its interval."""
    if not row["gain.speedup"]:
        return "not covered"
    return f"{point(row):.2f} ({point(row, 'gain.low'):.2f} to {point(row, 'gain.high'):.2f})"


def table(head: list[str], lines: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines]])


def depth() -> dict[str, str]:
    """How deep speculation should go."""
    for card in CARDS:
        assert max(rows("depth", gpu=card), key=point) == deepest(card)
    imagined = rows("imagined", launch__node_gap="0.1us", stack__host__turnaround="1us")
    assert max(imagined, key=point)["schedule.max_in_flight"] == "6"
    four = [(point(one("depth", gpu=card, schedule__max_in_flight=4)) - 1) / (point(deepest(card)) - 1)
            for card in CARDS]
    depths = (2, 3, 4, 6)
    return {
        "four_low": f"{min(four):.0%}", "four_high": f"{max(four):.0%}",
        "slow_host": gain(one("imagined", launch__node_gap="0.1us", stack__host__turnaround="20us",
                              schedule__max_in_flight=2)),
        "depth": table(["card", *(f"{d} in flight" for d in depths)], [
            [card, *(gain(one("depth", gpu=card, schedule__max_in_flight=d)) for d in depths)] for card in CARDS]),
        "shallow": f"{point(deepest('h200_sxm'), 'gain_over.autoregressive@speed_2l'):.2f}",
    }


def premise() -> dict[str, str]:
    """What the L2 did to the saving of bytes, and what the gain is instead."""
    h200 = deepest("h200_sxm")
    slow, fast = (one("memory", hbm__bandwidth=rate, launch="persistent") for rate in ("0.5TB/s", "32TB/s"))
    assert point(slow, "gain.low") < 1
    assert point(slow) < 1.02 < point(fast)
    caches = [point(row) for row in rows("cache", launch="graph")]
    assert max(caches) / min(caches) < 1.1
    below = [card for card in CARDS if point(deepest(card), "gain.hbm_bytes_ratio") < 1]
    assert "h200_sxm" in below
    return {
        "more_bytes": f"{1 / point(h200, 'gain.hbm_bytes_ratio'):.2f}", "below": ", ".join(below),
        "fewer_kernels": f"{point(h200, 'gain.kernels_ratio'):.2f}",
        "small_cache": gain(one("cache", l2__capacity="4MiB", launch="graph")),
        "large_cache": gain(one("cache", l2__capacity="256MiB", launch="graph")),
        "slow_memory": gain(slow), "fast_memory": gain(fast),
        "currencies": table(["card", "gain", "bytes asked", "HBM bytes", "dependent kernels"], [
            [card, gain(deepest(card)), *(f"{point(deepest(card), f'gain.{what}_ratio'):.2f}" for what in
                                          ("requested_bytes", "hbm_bytes", "kernels"))] for card in CARDS]),
        "cache": table(["L2", "HBM bytes, plain over SPEED", "gain, graph", "gain, persistent"], [
            [size, f"{point(one('cache', l2__capacity=size, launch='graph'), 'gain.hbm_bytes_ratio'):.2f}",
             *(gain(one("cache", l2__capacity=size, launch=launch)) for launch in ("graph", "persistent"))]
            for size in ("16MiB", "32MiB", "64MiB", "128MiB")]),
    }


def launches() -> dict[str, str]:
    """How much of the gain is launches, and the host's decision."""
    of = {launch: one("launches", gpu="h200_sxm", launch=launch) for launch in LAUNCHES}
    assert point(of["eager"]) > point(of["graph"]) > point(of["persistent"]) > 1
    for card in CARDS:
        assert point(one("device", gpu=card, control="device")) > point(one("device", gpu=card, control="host"))
    return {
        "eager": gain(of["eager"]), "persistent": gain(of["persistent"]),
        "launch_share": f"{(point(of['graph']) - point(of['persistent'])) / (point(of['graph']) - 1):.0%}",
        "launches": table(["card", *LAUNCHES], [
            [card, *(gain(one("launches", gpu=card, launch=launch)) for launch in LAUNCHES)] for card in CARDS]),
        "device": table(["card", "host decides", "device decides"], [
            [card, *(gain(one("device", gpu=card, control=where)) for where in ("host", "device"))]
            for card in CARDS]),
    }


def head() -> dict[str, str]:
    """What the head costs."""
    small, large = (one("head", model__vocab=size, launch="graph") for size in (1024, 131072))
    assert point(small) > point(large)
    shares = json.loads((HERE / "study" / "shares.json").read_text())["h200_sxm"]
    parts = {name: share["head"] / sum(share.values()) for name, share in shares.items()}
    return {
        "small_head": gain(small), "large_head": gain(large),
        "head_speed": f"{parts['speed']:.0%}", "head_plain": f"{parts['autoregressive']:.0%}",
        "shares": table(["us a token, H200", *shares["speed"]], [
            [name, *(f"{time:.1f}" for time in share.values())] for name, share in shares.items()]),
        "head": table(["vocabulary", "gain, graph", "gain, persistent"], [
            [f"{size:,}", *(gain(one("head", model__vocab=size, launch=launch)) for launch in ("graph", "persistent"))]
            for size in (1024, 8192, 32768, 131072)]),
    }


def batch() -> dict[str, str]:
    """At which batch the gain is gone."""
    cards = ("rtx_a5000", "l40s", "h200_sxm")
    lost, nothing, left = (one("batch", gpu=card, batch=size) for card, size in
                           (("rtx_a5000", 64), ("l40s", 32), ("h200_sxm", 64)))
    assert point(lost) < 1 < point(left, "gain.low")
    assert point(nothing, "gain.low") < 1 < point(nothing, "gain.high")
    return {
        "a5000_64": gain(lost), "l40s_32": gain(nothing), "h200_64": gain(left),
        "batch": table(["batch", *cards], [[str(size), *(gain(one("batch", gpu=card, batch=size)) for card in cards)]
                                           for size in (1, 4, 8, 16, 32, 64)]),
    }


def page() -> str:
    """The whole page."""
    h200 = deepest("h200_sxm")
    title = (f"SPEED's gain is latency, not bytes: predicted {point(h200):.1f} x at batch 1 on an H200 while it reads "
             f"{1 / point(h200, 'gain.hbm_bytes_ratio'):.1f} x the memory; gone by batch 64 on small cards")
    values = depth() | premise() | launches() | head() | batch() | {"title": title}
    return (HERE / "study" / "page.txt").read_text().format_map(values)


if __name__ == "__main__":
    (HERE / "study.md").write_text(page())
