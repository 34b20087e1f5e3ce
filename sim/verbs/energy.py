"""The verb `energy`: what a token costs in joules and in money, beside the rivals."""

from __future__ import annotations

import argparse

from ..scenario_options import add_options, scenario

HELP = "joules and dollars a token, beside the rivals: estimates"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def call(given: argparse.Namespace) -> int:
    """Print the table with the figures it stands on."""
    from ..config import Loaded
    from ..energy import per_token
    from ..files import to_json
    from ..hardware import Gpu
    from ..result import answer

    result = answer(scenario(given, "summary"))
    gpu: Loaded[Gpu] = result.resolved.gpu
    found = {key: per_token(gpu.value, line) for key, (_, line) in result.runs.items()}
    stands_on = {key: {"kind": said.kind, "source": said.source} for key, said in gpu.provenance.items()
                 if key.startswith("energy.") or key == "price_per_hour"}
    if given.json:
        print(to_json({"schema": "speedsim-energy/1", "gpu": gpu.value.name, "basis": "estimate", "runs": found,
                       "stands_on": stands_on}))
        return 0
    print(f"{gpu.value.title}, {result.resolved.model.value.name}: estimates")
    print(f"{'':<28}{'mJ/token':>10}{'static':>9}{'memory':>9}{'flop':>8}{'W':>7}{'USD/M tokens':>14}")
    for key, one in found.items():
        parts = one["energy_parts_j"] or dict.fromkeys(("static", "memory", "arithmetic"))
        print(f"{key:<28}{_milli(one['energy_per_token_j']):>10}{_milli(parts['static']):>9}"
              f"{_milli(parts['memory']):>9}{_milli(parts['arithmetic']):>8}{_shown(one['power_w'], 0):>7}"
              f"{_shown(one['cost_per_million_tokens_usd'], 4):>14}")
    for key, said in stands_on.items():
        if said["kind"] != "what_if":
            print(f"{key}: {said['kind']}, {said['source']}")
    return 0


def _milli(joules: float | None) -> str:
    return _shown(None if joules is None else 1e3 * joules, 2)


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
