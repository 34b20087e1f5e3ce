"""Does a terminal get colour and patience, and a pipe neither?"""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time

import pytest
from speedsim import screen
from speedsim.cli import main

SYNTH = ["--synth", "flips=0.15+0.06+0.03+0.02+0.01,count=20", "--record", "summary"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_no_colour_and_a_terminal_does(monkeypatch):
    text = "speed pays: 2.00 x\n    hbm         30.49 ##\na  2.06 x (1 to 2)\nb  0.53 x"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert screen.painted(text, io.StringIO()) == text
    shown = screen.painted(text, Terminal())
    assert shown.split("\n") == ["\x1b[1mspeed pays: 2.00 x\x1b[0m", "    hbm         30.49 \x1b[34m##\x1b[0m",
                                 "a  \x1b[32m2.06 x\x1b[0m (1 to 2)", "b  \x1b[31m0.53 x\x1b[0m"]
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen.painted(text, Terminal()) == text


def test_what_takes_long_is_told_on_a_terminal_and_nowhere_else(monkeypatch):
    monkeypatch.setattr(screen, "PATIENCE_S", 0.01)
    for quiet, stream, told in ((False, Terminal(), True), (True, Terminal(), False), (False, io.StringIO(), False)):
        with screen.waiting("run", quiet, stream):
            time.sleep(0.1)
        assert ("run: 0 s" in stream.getvalue()) == told


def test_the_command_writes_no_escape_into_a_pipe_and_some_onto_a_terminal():
    command = [sys.executable, "-m", "speedsim.cli", "run", *SYNTH]
    piped = subprocess.run(command, capture_output=True, check=True)
    assert b"\x1b" not in piped.stdout + piped.stderr
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=environment):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:
            pass
    os.close(ours)
    assert b"\x1b[1mspeed pays" in shown


def test_quiet_leaves_the_answer_alone(capsys):
    assert main(["run", *SYNTH]) == 0
    whole = capsys.readouterr()
    assert main(["run", *SYNTH, "--quiet"]) == 0
    assert capsys.readouterr() == whole


def test_a_sweep_can_be_quiet(tmp_path, capsys):
    over = ["--over", "schedule.max_in_flight=1,2", "--tier", "roofline", "--engine", "serial"]
    assert main(["sweep", *SYNTH[:2], *over, "--out", str(tmp_path / "a"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["report", str(tmp_path / "a"), "--text"]) == 0
    text = capsys.readouterr().out
    assert "gain along schedule.max_in_flight" in text
    assert "1.00 x" in text


def test_the_pipeline_in_characters_is_the_schedule(tmp_path, capsys):
    from speedsim.trace import Trace, write
    from worlds import sequence

    right, late = [7, 7, 7], [5, 7, 7]
    write(Trace("t", "speed_4x3", 3, {}, (sequence([right, late, right]),)), tmp_path / "t.jsonl")
    asked = ["run", "--model", "speed_4x3", "--trace", str(tmp_path / "t.jsonl"), "--json", str(tmp_path / "a.json")]
    assert main(asked) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "a.json"), "--text"]) == 0
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert rows == ["      0 123", "      1  123", "      2   x123"]


@pytest.mark.parametrize("schema", ["comparison"])
def test_a_comparison_in_characters_ranks(schema, tmp_path, capsys):
    file = tmp_path / f"{schema}.json"
    assert main(["compare", *SYNTH[:2], "--schedules", "speed,autoregressive", "--tier", "roofline", "--json",
                 str(file)]) == 0
    capsys.readouterr()
    assert main(["report", str(file), "--text"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("h200_sxm, batch 1\n  speed")
    assert "1.00 x" in text
