"""Does every damaged description load, or is it refused in one line, whatever byte, number or line was changed?

The shipped descriptions are mutated with a seed and asked for through the command line, so that what loads is also
simulated. SPEEDSIM_MUTATIONS is how many files, SPEEDSIM_SEED where they start (`make soak` takes fresh ones).
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from speedsim import cli

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("SPEEDSIM_MUTATIONS", "300"))
SEED = int(os.environ.get("SPEEDSIM_SEED", "0"))
SYNTH = "flips=0.1+0.1+0.1+0.1+0.1,count=4"

FAMILIES = {
    "hw_configs/gpus": ["run", "--synth", SYNTH, "--gpu"],
    "hw_configs/stacks": ["run", "--synth", SYNTH, "--stack"],
    "workloads/models": ["show", "model"],
    "workloads/plans": ["show", "plan"],
}
HOSTILE = ["-1", "0", ".nan", ".inf", "1e999", "1e3", "yes", "no", "~", '""', "[]", "{}", "9" * 30, "9" * 400, "1e-300",
           "1e300", "1 TB", "-5 TB/s", "[1, 2", "&a", "*a", "!!python/object:os.system", "\u0663", "\u00b2", "\u202e",
           "<script>", "'", "|", "0x10", "1_000", "=", "---", "...", "[[[[[[", "? ", "- "]


def mutated(text: str, random_: random.Random) -> bytes:
    """One to three changes of bytes, scalars or lines."""
    for _ in range(random_.randint(1, 3)):
        lines = text.split("\n")
        at = random_.randrange(len(lines))
        match random_.randrange(7):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[random_.randrange(len(lines))])
            case 2 | 3:
                key, colon, _old = lines[at].partition(":")
                lines[at] = f"{key}{colon} {random_.choice(HOSTILE)}"
            case 4:
                lines[at] = " " * random_.randrange(8) + lines[at].lstrip()
            case 5:
                words = lines[at].split(" ")
                words[random_.randrange(len(words))] = random_.choice(HOSTILE)
                lines[at] = " ".join(words)
            case _:
                place = random_.randrange(len(lines[at]) + 1)
                lines[at] = lines[at][:place] + chr(random_.randrange(256)) + lines[at][place + 1:]
        text = "\n".join(lines)
    data = text.encode()
    return data[: random_.randrange(len(data))] if data and random_.random() < 0.1 else data


@pytest.mark.parametrize("family", FAMILIES)
def test_a_damaged_description_is_used_or_refused_in_one_line(family, tmp_path, capsys):
    shipped = sorted((ROOT / family).glob("*.yaml"))
    for number in range(SEED, SEED + -(-COUNT // len(FAMILIES))):
        random_ = random.Random(f"{family} {number}")
        origin = random_.choice(shipped)
        damaged = tmp_path / origin.name
        damaged.write_bytes(mutated(origin.read_text(encoding="utf-8"), random_))
        told = f"SPEEDSIM_SEED={number} SPEEDSIM_MUTATIONS=1: {damaged}"
        try:
            code = cli.main([*FAMILIES[family], str(damaged)])
        except BaseException as error:
            raise AssertionError(told) from error
        captured = capsys.readouterr()
        assert code in (0, 2, 3), told
        if code:
            assert captured.out == "", told
            assert captured.err.count("\n") == 1, (told, captured.err)
            assert captured.err.isprintable() or captured.err[:-1].isprintable(), (told, captured.err)
