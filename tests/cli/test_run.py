"""Does the command answer, and say what the grammar promises?"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from speedsim.cli import main

SYNTH = ["--synth", "flips=0.15+0.06+0.03+0.02+0.01,count=60,sequences=3"]
FIGURES = {
    "passes", "draft_passes", "acceptance_length", "launch_units", "committed_tokens", "row_passes",
    "useful_row_passes", "idle_row_passes", "pipeline_fill_us",
    "padded_row_passes", "head_reads", "squashed_tokens", "rows_per_pass", "total_us", "time_per_token_us", "gap_us",
    "tokens_per_s", "time_by_bound_us", "bytes_per_token", "kernels_per_token", "l2_hit_fraction", "mbu", "mfu",
    "memory", "total_cycles", "prefill_us", "time_to_first_token_us", "end_to_end_us", "late_passes", "throttled_us",
}


def answer(capsys, *arguments):
    assert main(["run", *arguments, "--json", "-"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def plain_answer(capsys):
    return answer(capsys, *SYNTH)


def test_the_result_has_the_five_nouns_with_hashes_and_every_figure(plain_answer):
    doc = plain_answer
    assert doc["schema"] == "speedsim-result/1"
    for noun in ("gpu", "stack", "model", "trace"):
        assert len(doc[noun]["hash"]) == 64
        assert doc[noun]["name"]
    assert doc["schedule"]["name"] == "speed"
    rivals = ["autoregressive@speed_2x6", "autoregressive@speed_12l", "autoregressive@speed_2l"]
    assert list(doc["schedules"]) == ["speed", *rivals]
    assert list(doc["gain_over"]) == rivals
    for figures in doc["schedules"].values():
        assert set(figures) == FIGURES
        assert sum(figures["time_by_bound_us"].values()) == pytest.approx(figures["total_us"], rel=1e-12)
        assert figures["committed_tokens"] == 180
        assert 0 not in figures["rows_per_pass"].values()
    assert set(doc["gain"]) == {"speedup", "end_to_end_speedup", "requested_bytes_ratio", "hbm_bytes_ratio",
                                "kernels_ratio"}
    assert doc["gain"]["speedup"] == doc["gain_over"]["autoregressive@speed_2x6"]


def value_at(doc, path):
    """The figure that an interval is of; names of schedules have no dots that are not theirs."""
    value, left = doc, path
    while left:
        name = max((name for name in value if left == name or left.startswith(f"{name}.")), key=len)
        value, left = value[name], left[len(name) + 1:]
    return value


@pytest.mark.parametrize("options", [[], ["--tier", "roofline"], ["--prompt", "900", "--gpu", "l40s"]])
def test_every_time_and_ratio_lies_in_its_interval(options, capsys):
    doc = answer(capsys, *SYNTH, *options)
    intervals = doc["intervals"]
    figures = {"total_us", "time_per_token_us", "gap_us.p50", "gap_us.p95", "gap_us.p99", "tokens_per_s", "mbu", "mfu",
               "end_to_end_us", "time_to_first_token_us"}
    assert {f"schedules.speed.{name}" for name in figures} <= intervals.keys()
    assert {f"gain.{name}" for name in doc["gain"]} | {"gain_over.autoregressive@speed_12l"} <= intervals.keys()
    for path, interval in intervals.items():
        assert interval["low"] <= value_at(doc, path) <= interval["high"], path
        assert interval["basis"] == "assumed"


def test_ratios_of_bytes_stand_on_the_text(capsys):
    """A recorded text of another model, in four sequences that differ."""
    assert main(["run", "--gpu", "l40s", "--json", "-"]) == 0
    doc = json.loads(capsys.readouterr().out)
    interval = doc["intervals"]["gain.requested_bytes_ratio"]
    assert interval["basis"] == "transferred"
    assert interval["low"] < doc["gain"]["requested_bytes_ratio"] < interval["high"]


def test_the_same_question_has_the_same_bytes_as_its_answer():
    command = [sys.executable, "-m", "speedsim.cli", "run", *SYNTH, "--json", "-"]
    outputs = {subprocess.run(command, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
               for seed in ("0", "1", "random")}
    assert len(outputs) == 1


def test_rivals_run_under_the_same_control(capsys):
    host, device = (answer(capsys, *SYNTH, "--control", c)["schedules"] for c in ("host", "device"))
    for key in host:
        assert host[key]["time_by_bound_us"]["host"] > 0
        assert device[key]["time_by_bound_us"]["host"] == 0


def test_a_cap_of_one_gains_nothing(capsys):
    doc = answer(capsys, *SYNTH, "--max-in-flight", "1")
    assert next(iter(doc["schedules"])) == "speed:max_in_flight=1"
    assert doc["gain"]["speedup"] == 1.0


def test_options_in_any_order_have_one_canonical_name(capsys):
    doc = answer(capsys, *SYNTH, "--schedule", "speed:max_in_flight=3,exits=6+1+3,first_exit=1")
    assert doc["schedule"]["name"] == "speed:exits=1+3+6,max_in_flight=3"


def test_set_changes_a_number_and_marks_it_what_if(capsys):
    doc = answer(capsys, *SYNTH, "--set", "hbm.bandwidth=6TB/s", "--set", "stack.host.turnaround=5 us",
                 "--set", "model.ffn=1024", "--set", "run.batch=3", "--set", "schedule.max_in_flight=2")
    assert doc["inputs"]["gpu"]["hbm"]["bandwidth_bytes_per_s"] == {
        "value": 6e12, "kind": "what_if", "source": "--set"}
    assert doc["inputs"]["stack"]["host"]["turnaround_ps"]["value"] == 5_000_000
    assert doc["inputs"]["model"]["ffn"]["value"] == 1024
    assert doc["batch"] == 3
    assert doc["schedule"]["name"] == "speed:max_in_flight=2"


def test_a_reader_is_told_what_was_changed_and_what_cannot_be(capsys):
    doc = answer(capsys, *SYNTH, "--set", "hbm.capacity=90MB", "--set", "stack.memory.runtime=0 B",
                 "--set", "stack.memory.graph=0 B", "--batch", "9")
    assert doc["notes"][1:-1] == [
        "what if: hbm.capacity=90MB, stack.memory.runtime=0 B, stack.memory.graph=0 B",
        "batch 9: the text has 3 sequences; no more are decoded at a time",
        *(f"{key} needs {needed} of memory (most of it weights), h200_sxm has 90 MB: it does not fit"
          for key, needed in (("speed", "87.7 MiB"), ("autoregressive@speed_2x6", "87.2 MiB"),
                              ("autoregressive@speed_12l", "222 MiB"))),
    ]
    assert main(["run", *SYNTH, "--set", "price_per_hour=3 USD"]) == 0
    assert "note: what if: price_per_hour=3 USD\n" in capsys.readouterr().out


def test_an_answer_goes_through_a_pipe_and_a_link(tmp_path, capsys):
    import os
    import threading

    pipe, link, real = tmp_path / "pipe", tmp_path / "link.json", tmp_path / "real.json"
    os.mkfifo(pipe)
    link.symlink_to(real)
    entrance, heard = os.pipe(), []
    for source, target in ((pipe, str(pipe)), (entrance[0], f"/dev/fd/{entrance[1]}")):
        reader = threading.Thread(target=lambda source=source: heard.append(open(source).read()))  # noqa: SIM115
        reader.start()
        assert main(["run", *SYNTH, "--record", "summary", "--json", target]) == 0
        if source != pipe:
            os.close(entrance[1])
        reader.join(timeout=60)
    assert main(["run", *SYNTH, "--record", "summary", "--json", str(link)]) == 0
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert heard == [real.read_text()] * 2
    assert json.loads(heard[0])["schema"] == "speedsim-result/1"


def test_the_screen_shows_the_rivals_and_the_cause_in_one_sentence(capsys):
    assert main(["run", *SYNTH]) == 0
    text = capsys.readouterr().out
    assert "autoregressive@speed_12l" in text
    assert "speed pays: " in text
    assert "passes a token instead of 6.00" in text


def test_more_kinds_of_run_answer(capsys):
    for extra in (["--launch", "eager", "--stack", "torch_eager"], ["--batch", "2"], ["--prompt", "500"],
                  ["--schedule", "autoregressive"], ["--gpu", "rtx_pro_6000"], ["--record", "summary"],
                  ["--control", "lagged:2"], ["--tokens", "60"]):
        doc = answer(capsys, *SYNTH, *extra)
        assert doc["gain"]["speedup"] > 0
    assert "timeline" in answer(capsys, *SYNTH)
    assert "timeline" not in answer(capsys, *SYNTH, "--record", "summary")


def test_a_trace_goes_to_parquet_and_back_unchanged(tmp_path, capsys):
    from speedsim.trace import load, synthetic, write

    made = synthetic([0.2, 0.1], 3, 50, sequences=2, seed=4)
    write(made, tmp_path / "a.jsonl")
    assert main(["trace", "convert", str(tmp_path / "a.jsonl"), str(tmp_path / "b.parquet")]) == 0
    assert main(["trace", "convert", str(tmp_path / "b.parquet"), str(tmp_path / "c.jsonl")]) == 0
    assert load(tmp_path / "c.jsonl").digest == made.digest
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "c.jsonl").read_bytes()
    assert main(["trace", "check", str(tmp_path / "b.parquet")]) == 0
    capsys.readouterr()
    assert main(["trace", "stats", str(tmp_path / "b.parquet"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 100
