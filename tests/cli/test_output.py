"""Does the command say in one line that nobody can read what it says?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from speedsim.show import listing

COMMAND = [sys.executable, "-m", "speedsim.cli"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["list", "gpus"], ["show", "gpu", "h200_sxm", "--json"]])
def test_a_full_standard_output_is_one_line_and_no_traceback(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "speedsim: standard output: No space left on device\n"


def test_a_reader_who_goes_away_is_no_error():
    with subprocess.Popen([*COMMAND, "list", "gpus"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_one_broken_file_of_a_user_does_not_hide_the_others(tmp_path, monkeypatch):
    (tmp_path / "hw_configs" / "gpus").mkdir(parents=True)
    (tmp_path / "hw_configs" / "gpus" / "broken.yaml").write_text("name: broken\nsm: [")
    (tmp_path / "hw_configs" / "gpus" / "typo.yaml").write_text("name: typo\nextends: h200_sxm\nhmb: {}\n")
    monkeypatch.chdir(tmp_path)
    told = dict(line.split(maxsplit=1) for line in listing("gpus"))
    assert told["h200_sxm"] == "NVIDIA H200 SXM"
    assert told["broken"].startswith("cannot be read: ")
    assert "hmb" in told["typo"]
