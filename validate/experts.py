"""`validate experts`: how much longer a mixture of experts takes for several tokens, against published tables.

A table has the routed part of one layer (without its router) for 1 to 64 tokens, on one GPU, bf16. What verification of
M tokens costs is t(M) / t(1); beside it stands the naive guess that experts are all that counts, D(M) / D(1) with D
the distinct experts. `balanced` rows are spread as evenly as they can be; the tables' power laws are judged with
independent draws of that exponent, which touch fewer experts than the tables' own rows do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from speedsim.catalog import load_gpu, load_stack
from speedsim.files import check_target, to_json, write_text
from speedsim.model import Experts, Model
from speedsim.one_pass import Machinery, pass_time
from speedsim.parsing import Parser
from speedsim.plan import Plan
from speedsim.program import Row
from speedsim.units import NotCoveredError

from .silicon_tables import folder, order

SCHEMA = "speedsim-experts/1"
MOST = 64
SKEWS = {"balanced": None, "power_law_1.01": 1.01, "power_law_1.2": 1.2}
_PLAN = Plan(name="experts", title="one mixture of experts", embedding=(), attention=(),
             ffn=("linear:up", "activation", "linear:down"), exit=())


class Group(NamedTuple):
    """One layer's rows of the table."""

    count: int
    active: int
    d_model: int
    ffn: int
    distribution: str
    times_us: dict[int, float]
    """By tokens."""

    def model(self) -> Model:
        """A decoder that is this layer alone."""
        return Model(name="one", title="one layer", d_model=self.d_model, q_heads=1, kv_heads=1, head_dim=64,
                     ffn=self.ffn, gated=True, vocab=1, group_layers=1, repetitions=1,
                     experts=Experts(count=self.count, active=self.active, ffn=self.ffn,
                                     skew=SKEWS[self.distribution]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The verb by itself. Raises InputError and NotCoveredError."""
    parser = Parser(prog="speedsim validate experts", description=__doc__, allow_abbrev=False)
    parser.add_argument("--gpu", default="h200_sxm", metavar="NAME")
    parser.add_argument("--stack", default="vllm_0_24", metavar="NAME")
    parser.add_argument("--data", metavar="FOLDER", help="a copy of the tables instead of the installed package")
    parser.add_argument("--json", metavar="FILE", help="write the scores as JSON; - is standard output")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    if given.json not in (None, "-"):
        check_target(given.json)
    found = judged(given.gpu, given.stack, folder(given.data))
    if given.json == "-":
        print(to_json(found))
        return 0
    if given.json is not None:
        write_text(given.json, to_json(found) + "\n")
    print(text(found))
    return 0


def judged(gpu: str, stack: str, data: Path) -> dict[str, Any]:
    """Every layer of the newest table, and the errors of its ratios."""
    chip, software = load_gpu(gpu).value, load_stack(stack).value
    tables = sorted(data.glob(f"{chip.name}/moe/vllm/*/moe_perf.parquet"), key=lambda path: order(path.parts[-2]))
    if not tables:
        raise NotCoveredError(f"{chip.name}: no table of mixtures of experts of vllm")
    path = tables[-1]
    on = Machinery(chip, software, _PLAN, "graph")
    layers = []
    for group in groups(path):
        model = group.model()
        told = {m: pass_time(on, model, tuple(Row(i, i, 0, 1, None) for i in range(m)), 0).time_ps / 1e6
                for m in group.times_us}
        experts = model.experts
        assert experts is not None
        layers.append({
            **{key: value for key, value in group._asdict().items() if key != "times_us"},
            "tokens": list(told), "predicted": [told[m] / told[1] for m in told],
            "measured": [group.times_us[m] / group.times_us[1] for m in told],
            "null": [experts.distinct(m) / experts.distinct(1) for m in told],
            "error_of_t1": told[1] / group.times_us[1] - 1,
        })
    return {"schema": SCHEMA, "gpu": chip.name, "stack": software.name, "table": str(path.relative_to(data)),
            "layers": layers, "scores": {name: _scores([one for one in layers if one["distribution"] == name])
                                         for name in SKEWS}}


def groups(path: Path) -> Iterator[Group]:
    """The bf16 layers of a table, one GPU each."""
    table = pd.read_parquet(path)
    table = table[(table["moe_tp_size"] == 1) & (table["moe_ep_size"] == 1) & (table["num_tokens"] <= MOST)
                  & (table["moe_dtype"] == "bfloat16") & table["distribution"].isin(SKEWS)]
    if table.empty:
        raise NotCoveredError(f"{path}: no bf16 layers on one GPU")
    keys = ["num_experts", "topk", "hidden_size", "inter_size", "distribution"]
    for (count, active, d_model, ffn, distribution), rows in table.groupby(keys):
        times = rows.groupby("num_tokens")["latency"].median()
        if 1 in times.index:
            yield Group(int(count), int(active), int(d_model), int(ffn), str(distribution),
                        {int(m): 1e3 * float(t) for m, t in times.items()})


def _scores(layers: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Errors in percent of the ratios for more than one token, and the null's."""
    def errors(which: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([p / m - 1 for one in layers for p, m in zip(one[which][1:], one["measured"][1:], strict=True)])

    own, null = errors("predicted"), errors("null")
    return {"points": len(own), "mape": 100 * float(np.abs(own).mean()), "bias": 100 * float(own.mean()),
            "median": 100 * float(np.median(np.abs(own))), "null_mape": 100 * float(np.abs(null).mean())}


def text(found: dict[str, Any]) -> str:
    """The scores for the screen."""
    lines = [f"t(M) / t(1) of mixtures of experts, 2 to {MOST} tokens, {found['gpu']}, {found['table']}: predicted / "
             "measured - 1 in percent", "",
             f"{'':<16}{'points':>7}{'MAPE':>8}{'bias':>8}{'median':>8}{'distinct experts alone':>24}"]
    lines += [f"{name:<16}{one['points']:>7}{one['mape']:>8.1f}{one['bias']:>+8.1f}{one['median']:>8.1f}"
              f"{one['null_mape']:>24.1f}" for name, one in found["scores"].items()]
    return "\n".join(lines)
