"""Do the shares of a time add up, and do they fall to what owes them?"""

from __future__ import annotations

import json
from itertools import chain, combinations

import pytest
from speedsim import Scenario
from speedsim.cli import main
from speedsim.scenario import play, resolve
from speedsim.validated import nearest, quoted
from speedsim.whatifs.attribution import MECHANISMS, REST, _shares, attributed, whatif
from speedsim.whatifs.elasticity import sensitivity

SYNTH = "flips=0.2+0.1+0.05+0.04+0.03,count=16,sequences=2,seed=5"
ASKED = Scenario(synth=SYNTH, record="summary")


def subsets():
    return map(frozenset, chain.from_iterable(combinations(MECHANISMS, n) for n in range(len(MECHANISMS) + 1)))


def test_of_a_sum_each_gets_its_own_term():
    cost = {name: 10**k + 7 for k, name in enumerate(MECHANISMS)}
    times = {ideal: 5 + sum(cost[name] for name in MECHANISMS if name not in ideal) for ideal in subsets()}
    assert _shares(times) == {**cost, REST: 5}


def test_of_a_product_each_factor_gets_half_and_an_idle_mechanism_nothing():
    times = {ideal: 0 if ideal & {"host", "flush"} else 10 for ideal in subsets()}
    assert _shares(times) == {**dict.fromkeys(MECHANISMS, 0), "host": 5, "flush": 5, REST: 0}


@pytest.mark.parametrize("fields", [{}, {"launch": "eager", "batch": 2}, {"schedule": "autoregressive"}], ids=str)
def test_the_shares_add_up_to_the_run_to_the_picosecond(fields):
    asked = resolve(Scenario(synth=SYNTH, record="summary", **fields))
    found = attributed(asked)
    assert found.total_ps == play(asked).decode_ps
    assert sum(found.shares_ps.values()) == found.total_ps
    assert all(share >= -len(MECHANISMS) for share in found.shares_ps.values())
    assert found.shares_ps["host"] > 0
    if asked.schedule_name == "autoregressive":
        assert found.shares_ps["flush"] == found.alone_ps["flush"] == 0


def test_a_faster_memory_is_seen_at_the_memory():
    found = whatif(ASKED, {"hbm.bandwidth": "2TB/s"})
    table = found.table().set_index("mechanism")
    assert table["difference"].idxmax() in ("hbm", "head")
    assert table.loc["hbm", "difference"] > 0
    total = (found.tuned.total_ps - found.base.total_ps) / 1e6 / found.base.tokens
    assert table["difference"].sum() == pytest.approx(total, rel=1e-12)
    assert found.frozen.total_ps == found.tuned.total_ps  # the library is blind to memory


def test_fewer_sms_make_the_library_choose_anew():
    found = whatif(Scenario(synth=SYNTH, prompt=2000), {"sm.count": "30"})  # long contexts are split over the SMs
    assert found.frozen.total_ps != found.tuned.total_ps


def test_the_elasticity_to_a_price_is_its_share_of_the_time():
    table = sensitivity(ASKED).set_index("key")
    line = play(resolve(ASKED))
    host = line.counters.launch_units * 20_000_000 / line.decode_ps
    assert table.loc["stack.host.turnaround", "elasticity.time_per_token_us"] == pytest.approx(host, rel=5e-3)
    assert -1 <= table.loc["hbm.bandwidth", "elasticity.time_per_token_us"] < 0
    assert table["elasticity.time_per_token_us"].abs().is_monotonic_decreasing
    assert not set(table.index) & {"price_per_hour", "hbm.capacity"}


def test_what_nobody_has_validated_is_said_so():
    assert nearest({"hbm.bandwidth": "", "gpu.sm.count": ""}).name in ("h100_sxm_to_l40s", "h200_sxm_to_b200_sxm")
    assert quoted({"stack.host.turnaround": ""}) == "no what-if of this kind has been validated on a measurement"


def test_the_commands_print_tables_and_json(capsys):
    asked = ["--synth", SYNTH]
    assert main(["whatif", "h200_sxm", *asked, "--set", "hbm.bandwidth=2TB/s"]) == 0
    out = capsys.readouterr().out
    assert "\ntogether " in out
    assert "nearest validated what-if: h100_sxm to h200_sxm: the same chip with 1.43 times the memory rate" in out
    assert main(["whatif", *asked, "--set", "hbm.bandwidth=2TB/s", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["what_if"]["shares_ps"].values()) == told["what_if"]["total_ps"]
    assert main(["whatif", *asked]) == 2
    assert "say what to change" in capsys.readouterr().err
    assert main(["sensitivity", *asked, "--top", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
