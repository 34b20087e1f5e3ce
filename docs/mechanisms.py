"""Writes docs/mechanisms.md: ways of speculating on two dense models, ranked, and why (`make mechanisms`).

Acceptances are published ones, tokens committed a verification: Spec-Bench's of Vicuna 7B (hemingkx/Spec-Bench, commit
fd2c1cd), DFlash's of Qwen3 8B (arXiv:2602.06036). All else is predicted by the shipped descriptions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from speedsim.comparison import Entry, Place, compare
from speedsim.scenario import Scenario

PAGE = Path(__file__).with_suffix(".md")
TOKENS = 24
"""Of each sequence."""
SEQUENCES = 8
"""At least, one after the other where the batch is smaller."""
CASES = {
    "llama_7b": (
        "draft=length:2.28;heads=length:2.31;eagle=length:4.34;ngrams=length:1.64;copy=length:1.75",
        ("draft", "overlap", "heads", "eagle", "lookahead:window=7,n=5,guesses=7", "copying"),
        (Place("h100_sxm", 1, 512), Place("h100_sxm", 1, 8192), Place("h100_sxm", 8, 512), Place("h100_sxm", 8, 8192),
         Place("h100_sxm", 32, 512), Place("rtx_4090", 1, 512), Place("rtx_4090", 8, 512)),
    ),
    "qwen3_8b": (
        "block=length:6.49;eagle=length:3.40;copy=length:1.75",
        ("block", "eagle:depth=7", "copying"),
        (Place("h200_sxm", 1, 512), Place("h200_sxm", 8, 512), Place("h200_sxm", 32, 512)),
    ),
}
WORDS = {"hbm": "HBM traffic", "latency": "kernel latency", "launch": "launches", "host": "the host",
         "flop": "arithmetic", "l2": "L2 traffic", "wait": "waiting"}
HEAD = """# Which way of speculating, where

Predicted, not measured, and written by `make mechanisms`: bf16 under `torch_graph`, with the acceptance that papers
report for each method (tokens committed a verification, the target's own included; what is not published for a model is
not ranked on it). Texts of 24 tokens a sequence: ranks are the message, not the second digit.

At one sequence a verification of many rows costs little more than a plain step, so the gain is the acceptance length
less what the drafts cost, and the method that is right most often wins. With the batch a verification's rows become
work of their own: a tree of 60 nodes for each of 32 sequences is 2,000 rows, which no longer ride for free on one read
of the weights, and what proposes little loses least. A long context adds keys and values that each sequence's pass
reads once whatever is proposed, which favours whoever needs the fewest passes.

| model | GPU | batch | context | best to worst (speed-up over plain decoding) | the best waits for |
|---|---|---|---|---|---|
"""


def entries(model: str) -> list[Entry]:
    """Every schedule of a model at each of its places."""
    acceptance, schedules, places = CASES[model]
    found = []
    for place in places:
        sequences = max(SEQUENCES, place.batch)
        base = Scenario(model=model, acceptance=acceptance, tokens=TOKENS * sequences, record="summary",
                        synth=f"count={TOKENS},sequences={sequences},first={place.context}")
        found += compare(replace(base, prompt=place.context), schedules, [place])
    return found


def row(model: str, place: Place, found: list[Entry]) -> str:
    """A line of the table."""
    own = [entry for entry in found if entry.place == place]
    ranked = sorted((e for e in own if e.figures is not None and e.why_not is None),
                    key=lambda e: -e.figures["speedup"])
    told = ", ".join(f"{e.schedule.partition(':')[0]} {e.figures['speedup']:.2f}" for e in ranked)
    out = ", ".join(e.schedule.partition(":")[0] for e in own if e.why_not is not None)
    told += f" (not ranked: {out})" if out else ""
    waits = WORDS[ranked[0].figures["bound_by"]] if ranked else ""
    return f"| {model} | {place.gpu} | {place.batch} | {place.context} | {told} | {waits} |\n"


if __name__ == "__main__":
    lines = []
    for name in CASES:
        of_model = entries(name)
        lines += [row(name, place, of_model) for place in CASES[name][2]]
    PAGE.write_text(HEAD + "".join(lines))
    print(PAGE)
