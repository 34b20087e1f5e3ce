"""Other tools' logs: what they say comes through, each under its own meaning of acceptance; mistakes name the request.

The samples are made here, in the forms that the tools document.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speedsim.cli import main
from speedsim.traces.files import TraceError
from speedsim.traces.logs import Asked, import_log
from speedsim.traces.steps import statistics

DETAILED = {
    "id": "cmpl-1", "model": "some/model", "choices": [{"text": "..."}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 10},
    "metrics": {"speculative_decoding": {
        "mean_acceptance_length": 2.0, "draft_acceptance_rate": 1 / 3, "acceptance_histogram": [1, 1, 0, 1],
        "acceptance_histogram_by_draft_length": {"3": [1, 1, 0, 1]}, "num_spec_steps": 3,
        "num_accepted_draft_tokens": 4, "num_draft_tokens": 9, "num_spec_tokens": 3,
        "per_step_accepted": [1, 3, 0], "per_step_drafted": [3, 3, 3]}},
}
AIPERF = {"metadata": {"x_request_id": "a"},
          "metrics": {"input_sequence_length": {"value": 50, "unit": "tokens"},
                      "output_sequence_length": {"value": 8, "unit": "tokens"}},
          "spec_decode_acceptance": {"engine": "vllm", "mean_acceptance_length": 7 / 3, "draft_acceptance_rate": 0.4,
                                     "acceptance_histogram": {"0": 1, "2": 2}, "num_spec_tokens": 4}}
SPECBENCH = {"question_id": 81, "category": "writing", "answer_id": "x", "model_id": "vicuna-eagle", "tstamp": 1.0,
             "choices": [{"index": 0, "turns": ["..."], "decoding_steps": [4], "new_tokens": [12], "wall_time": [1.0],
                          "accept_lengths": [1, 5, 2, 4]}]}
EAGLE = {"question_id": 81, "answer_id": "x", "model_id": "vicuna", "tstamp": 1.0,
         "choices": [{"index": 0, "turns": ["..."], "idxs": [19, 9], "new_tokens": [60, 35], "wall_time": [1.0, 1.0]}]}
SGLANG = {"text": "...", "meta_info": {"prompt_tokens": 12, "completion_tokens": 21, "spec_verify_ct": 8,
                                       "spec_accept_length": 21 / 8, "spec_draft_token_num": 32}}


def written(tmp_path, *entries):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_a_detailed_log_keeps_its_steps_in_order(tmp_path):
    made = import_log(written(tmp_path, DETAILED))
    (only,) = made.sequences
    assert only.accepted[:3] == (1, 3, 0)
    assert only.drafted[:3] == (3, 3, 3)
    assert (made.draft_tokens, made.model, only.first) == (3, "some/model", 30)
    assert (made.meaning, made.source["order"], made.source["from"]) == ("accepted", "recorded", "vllm")


def test_tokens_that_no_step_committed_are_steps_that_proposed_nothing(tmp_path):
    """10 tokens: one by the prefill, 7 by three steps; two are left."""
    made = import_log(written(tmp_path, DETAILED))
    assert made.sequences[0].drafted[3:] == (0, 0)
    assert made.tokens == 9
    assert made.source["tokens_outside_steps"] == 2


def test_a_summary_is_drawn_from_its_histogram_and_says_so(tmp_path):
    said = {k: v for k, v in DETAILED["metrics"]["speculative_decoding"].items() if not k.startswith("per_step")}
    made = import_log(written(tmp_path, {"metrics": {"speculative_decoding": said}}))
    assert sorted(made.sequences[0].accepted) == [0, 1, 3]
    assert made.source["order"] == "drawn"
    assert statistics(made)["acceptance_length"] == pytest.approx(7 / 3)


def test_drafts_of_different_lengths_keep_theirs(tmp_path):
    said = {"num_spec_tokens": 3, "acceptance_histogram": [1, 2, 0, 1],
            "acceptance_histogram_by_draft_length": {"1": [0, 2], "3": [1, 0, 0, 1]}}
    made = import_log(written(tmp_path, {"metrics": {"speculative_decoding": said}}))
    pairs = zip(made.sequences[0].drafted, made.sequences[0].accepted, strict=True)
    assert sorted(pairs) == [(1, 1), (1, 1), (3, 0), (3, 3)]


def test_the_draft_length_is_the_engines_and_else_the_most_that_was_accepted(tmp_path):
    said = DETAILED["metrics"]["speculative_decoding"] | {"num_spec_tokens": 5}
    made = import_log(written(tmp_path, {"metrics": {"speculative_decoding": said}}))
    assert (made.draft_tokens, made.source["draft_tokens"]) == (5, "as logged")
    made = import_log(written(tmp_path, SPECBENCH))
    assert (made.draft_tokens, made.source["draft_tokens"]) == (4, "the most that was accepted")
    assert import_log(written(tmp_path, SPECBENCH), asked=Asked(draft=7)).source["draft_tokens"] == "as stated"
    with pytest.raises(TraceError, match="--draft 2: a step of the log has 4"):
        import_log(written(tmp_path, SPECBENCH), asked=Asked(draft=2))


def test_a_log_counts_one_way_throughout(tmp_path):
    other = SPECBENCH["choices"][0] | {"accept_lengths": [0, 4, 1, 3]}
    with pytest.raises(TraceError, match="some requests count the bonus token and some do not"):
        import_log(written(tmp_path, SPECBENCH, SPECBENCH | {"choices": [other]}))


def test_requests_without_metrics_are_passed_over_but_not_a_whole_log_of_them(tmp_path):
    empty = {"metrics": {"speculative_decoding": None}}
    assert len(import_log(written(tmp_path, empty, DETAILED)).sequences) == 1
    with pytest.raises(TraceError, match="no request of vllm with a verification"):
        import_log(written(tmp_path, empty))


def test_a_single_document_reads_like_its_line(tmp_path):
    path = tmp_path / "response.json"
    path.write_text(json.dumps(DETAILED, indent=2))
    assert import_log(path).digest == import_log(written(tmp_path, DETAILED)).digest
    path.write_text(json.dumps([DETAILED, DETAILED], indent=2))
    assert len(import_log(path).sequences) == 2


def test_an_aiperf_record_has_its_histogram_and_prompt(tmp_path):
    made = import_log(written(tmp_path, AIPERF))
    assert sorted(made.sequences[0].accepted) == [0, 2, 2]
    assert (made.draft_tokens, made.sequences[0].first, made.source["from"]) == (4, 50, "aiperf")


def test_spec_bench_counts_the_bonus_and_it_is_taken_off(tmp_path):
    """accept_lengths 1, 5, 2, 4 sum to the 12 new tokens, so each holds its bonus token."""
    made = import_log(written(tmp_path, SPECBENCH), asked=Asked(draft=5))
    assert made.sequences[0].accepted == (0, 4, 1, 3)
    assert (made.meaning, made.draft_tokens, made.sequences[0].prompt) == ("committed", 5, "writing")
    assert made.tokens == 12
    assert statistics(made)["acceptance_length_by_prompt"] == {"writing": 3.0}


def test_spec_bench_without_the_bonus_is_told_by_its_tokens(tmp_path):
    choice = SPECBENCH["choices"][0] | {"accept_lengths": [0, 4, 1, 3]}
    made = import_log(written(tmp_path, SPECBENCH | {"choices": [choice]}))
    assert made.sequences[0].accepted == (0, 4, 1, 3)
    assert made.meaning == "accepted"
    choice = SPECBENCH["choices"][0] | {"accept_lengths": [1, 5, 2, 4], "new_tokens": [14]}
    with pytest.raises(TraceError, match="neither with nor without the bonus"):
        import_log(written(tmp_path, SPECBENCH | {"choices": [choice]}))


def test_a_mean_alone_is_refused_unless_it_may_be_imputed(tmp_path):
    path = written(tmp_path, EAGLE)
    with pytest.raises(TraceError, match="--draft N"):
        import_log(path)
    with pytest.raises(TraceError, match="--impute"):
        import_log(path, asked=Asked(draft=5))
    made = import_log(path, asked=Asked(draft=5, impute=True))
    assert made.source["order"] == "imputed"
    assert [(s.count, len(s.accepted)) for s in made.sequences] == [(60, 20), (35, 10)]


def test_sglang_tells_a_mean_or_a_histogram(tmp_path):
    made = import_log(written(tmp_path, SGLANG), asked=Asked(impute=True))
    assert (made.tokens, made.steps, made.draft_tokens) == (20, 8, 4)
    newer = SGLANG["meta_info"] | {"spec_accept_histogram": [3, 0, 3, 2]}
    made = import_log(written(tmp_path, {"meta_info": newer}))
    assert sorted(made.sequences[0].accepted) == [0, 0, 0, 2, 2, 2, 3, 3]


@given(st.floats(1, 6), st.integers(1, 200))
def test_imputed_steps_have_the_logs_sum_exactly(length, steps):
    from speedsim.traces.logs import _of_mean

    drawn = _of_mean(length, steps, 5, "", 0)
    assert sum(drawn.accepted) == round((length - 1) * steps)
    assert 0 <= min(drawn.accepted) <= max(drawn.accepted) <= 5


@pytest.mark.parametrize(("entry", "said"), [
    ({"unknown": 1}, "no log that is known"),
    ({"metrics": {"speculative_decoding": {"per_step_accepted": [1]}}}, "request 1: 'num_spec_tokens' is missing"),
    ({"metrics": {"speculative_decoding": {"num_spec_tokens": 3, "per_step_accepted": [-1], "per_step_drafted": [3]}}},
     "request 1: per_step_accepted: no list of whole numbers"),
    ({"metrics": {"speculative_decoding": {"num_spec_tokens": 3, "per_step_accepted": [4], "per_step_drafted": [3]}}},
     "accepted more than it drafted"),
    ({"choices": [{"accept_lengths": "x", "new_tokens": [1]}]}, "accept_lengths: no list"),
    ([1], "a log is an object a line"),
])
def test_what_is_no_log_is_refused_with_its_place(tmp_path, entry, said):
    with pytest.raises(TraceError, match=said):
        import_log(written(tmp_path, entry))


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"{", b'{"a": NaN}', b"[" * 5000])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "log.jsonl").write_bytes(content)
    with pytest.raises(TraceError):
        import_log(tmp_path / "log.jsonl")


def test_the_command_imports_checks_and_summarises(tmp_path, capsys):
    target = tmp_path / "mine.jsonl"
    assert main(["trace", "import", str(written(tmp_path, DETAILED)), str(target)]) == 0
    assert "3 proposed; order recorded" in capsys.readouterr().out
    assert main(["trace", "check", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["meaning"].startswith("right proposed tokens")
    assert main(["trace", "stats", str(target)]) == 0
    assert "accepted tokens (% of steps)" in capsys.readouterr().out
    assert main(["trace", "import", str(target), "x.jsonl", "--form", "vlm"]) == 2
    assert "did you mean vllm" in capsys.readouterr().err
