"""Is an answer the same byte for byte, whatever order Python hashes in?

One process a hash seed answers a scenario of every schedule (the same that the conformance tests discover would need
facts, so each names its own) and prints the digest of the whole JSON. SPEEDSIM_HASH_SEEDS: further seeds (`make soak`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SEEDS = ("0", "1", "4294967295", *os.environ.get("SPEEDSIM_HASH_SEEDS", "").split())

LOOPED = dict(model="speed_2x6", tokens=16)
LLAMA = dict(model="llama_7b", acceptance="0.8,0.6", tokens=16, prompt=64)
CONFIGURATIONS = [
    dict(LOOPED, schedule="speed"),
    dict(LOOPED, schedule="speed:max_in_flight=2", batch=3),
    dict(LOOPED, schedule="speed:exits=1+3+6", gpu="l4", stack="torch_eager"),
    dict(LOOPED, schedule="speed", control="device", launch="persistent"),
    dict(LOOPED, schedule="speed", control="lagged:2", launch="graph+pdl"),
    dict(LOOPED, schedule="speed", tier="roofline", sets=(("hbm.bandwidth", "2TB/s"), ("l2.capacity", "25MiB"))),
    dict(LOOPED, schedule="speed", l2="keep=group,stream=head"),
    dict(LOOPED, schedule="autoregressive", gpu="a100_sxm"),
    dict(LOOPED, schedule="loopspec", acceptance="0.8"),
    dict(LOOPED, schedule="plt"),
    dict(LOOPED, schedule="loop_draft"),
    dict(LLAMA, schedule="draft:draft=llama_68m"),
    dict(LLAMA, schedule="staged"),
    dict(LLAMA, schedule="overlap"),
    dict(LLAMA, schedule="heads"),
    dict(LLAMA, schedule="mask_tokens"),
    dict(LLAMA, schedule="eagle"),
    dict(LLAMA, schedule="lookahead"),
    dict(LLAMA, schedule="copying"),
    dict(LLAMA, schedule="autoregressive", sampling="temperature=0.8,top_k=50"),
    dict(LLAMA, model="qwen3_8b", schedule="block"),
    dict(LLAMA, model="mixtral_8x7b", schedule="autoregressive", batch=2),
]

ASK = """
import hashlib, json, sys
import runpy; runpy.run_path({start!r})["register"]()
from speedsim.files import to_json
from speedsim.result import answer, document
from speedsim.scenario import Scenario
from speedsim.units import InputError, NotCoveredError
for one in {configurations!r}:
    try:
        said = to_json(document(answer(Scenario(record="kernels", **one))))
    except (InputError, NotCoveredError) as error:
        said = f"refused: {{error}}"
    print(said[:8] == "refused:", hashlib.sha256(said.encode()).hexdigest(), one["schedule"], said[:90].split("\\n")[0])
"""


def digests(seed: str, configurations: list[dict[str, object]]) -> list[str]:
    """A line for every configuration, from a process of its own."""
    script = ASK.format(start=str(ROOT / "sim" / "__main__.py"), configurations=configurations)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True,
                         env=os.environ | {"PYTHONHASHSEED": seed})
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def at_zero():
    """The answers under the first hash seed."""
    return digests(SEEDS[0], CONFIGURATIONS)


def test_every_configuration_is_answered(at_zero):
    assert len(at_zero) == len(CONFIGURATIONS)
    assert [line for line in at_zero if line.startswith("True")] == []


def test_every_schedule_is_among_them():
    asked = {str(one["schedule"]).partition(":")[0] for one in CONFIGURATIONS}
    assert asked == {path.stem for path in (ROOT / "sim" / "schedules").glob("[a-z]*.py")}


@pytest.mark.parametrize("seed", SEEDS[1:])
def test_no_byte_depends_on_the_hash_seed(seed, at_zero):
    assert digests(seed, CONFIGURATIONS) == at_zero
