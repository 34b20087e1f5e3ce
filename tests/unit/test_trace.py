"""Traces: both files carry the same, and nothing wrong gets past the door."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speedsim import trace
from speedsim.trace import Sequence, Trace, TraceError
from speedsim.units import InputError

PINNED = [[9, 5], [5, 5], [5, 5], [0, 2]]
GOLDEN = Path(__file__).parents[1] / "golden"

BY_HAND = """\
{"schema": "speedsim-trace/1", "model": "speed_2x6", "repetitions": 6, "source": {"kind": "by hand"}}
{"sequence": 0, "first": 64, "count": 2, "end": "length", "source_tokens": 0}
{"position": 64, "exit_tokens": [17, 17, 93, 93, 93, 93]}
{"position": 65, "exit_tokens": [1, 2, 3, 4, 5, 6]}
{"sequence": 7, "first": 3, "count": 1, "end": "eos", "source_tokens": 12}
{"position": 3, "exit_tokens": [8, 8, 8, 8, 8, 8]}
"""


def sequence(rows: list[list[int]], number: int = 0, first: int = 0, end: str = "length", source: int = 0) -> Sequence:
    return Sequence(number, first, len(rows), end, source, np.array(rows, dtype=np.int32))


def a_trace(*sequences: Sequence, source: dict[str, Any] | None = None) -> Trace:
    return Trace("t", "m", sequences[0].exit_tokens.shape[1], source or {}, sequences)


def loaded(folder: Path, text: str | bytes, name: str = "t.jsonl") -> Trace:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return trace.load(path)


def refusal(folder: Path, text: str | bytes, name: str = "t.jsonl") -> str:
    """What the loader says behind the file's folder; always one line."""
    with pytest.raises(TraceError) as caught:
        loaded(folder, text, name)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{folder}/")


def test_a_trace_written_by_hand_is_read_as_the_format_says(tmp_path: Path) -> None:
    read = loaded(tmp_path, BY_HAND)
    assert (read.name, read.model, read.repetitions, read.source) == ("t", "speed_2x6", 6, {"kind": "by hand"})
    first, second = read.sequences
    assert (first.id, first.first, first.count, first.end, first.source_tokens) == (0, 64, 2, "length", 0)
    assert (second.id, second.first, second.count, second.end, second.source_tokens) == (7, 3, 1, "eos", 12)
    assert first.exit_tokens.tolist() == [[17, 17, 93, 93, 93, 93], [1, 2, 3, 4, 5, 6]]
    assert first.exit_tokens.dtype == np.int32
    assert first.text.tolist() == [93, 6]
    assert read.tokens == 3


def test_optional_keys_may_be_there_and_are_kept_out(tmp_path: Path) -> None:
    extras = '8], "confidence": [0.5], "proposers": {"ngram": {"match": 2, "rank": [1]}}}'
    more = BY_HAND.replace("8]}", extras)
    fewer = BY_HAND.replace(', "source": {"kind": "by hand"}', "").replace(', "source_tokens": 0', "")
    assert loaded(tmp_path, more).digest == loaded(tmp_path, fewer).digest == loaded(tmp_path, BY_HAND).digest


@pytest.mark.parametrize("write", [trace.write_jsonl, trace.write_parquet])
def test_what_is_written_is_what_was_read(tmp_path: Path, write: Any) -> None:
    read = loaded(tmp_path, BY_HAND)
    path = tmp_path / ("u.jsonl" if write is trace.write_jsonl else "u.parquet")
    write(read, path)
    again = trace.load(path)
    assert again.digest == read.digest
    assert (again.name, again.model, again.repetitions, again.source) == ("u", read.model, 6, read.source)
    assert [s.id for s in again.sequences] == [0, 7]
    assert trace.check(path)["sealed"] is True
    assert trace.header(path)["model"] == "speed_2x6"
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


traces = st.integers(1, 4).flatmap(lambda g: st.lists(
    st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=g, max_size=g), min_size=1, max_size=6),
    min_size=1, max_size=4,
))


@settings(max_examples=40, deadline=None)
@given(rows=traces, first=st.integers(0, 2**31 - 10), end=st.sampled_from(trace.ENDS), source=st.integers(0, 5))
def test_any_trace_is_the_same_in_both_files(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[list[int]]], first: int, end: str, source: int,
) -> None:
    folder = tmp_path_factory.mktemp("both")
    sequences = (sequence(r, i, first, end, source) for i, r in enumerate(rows))
    made = a_trace(*sequences, source={"n": [1, 2.5, None, "\ud800"]})
    trace.write_jsonl(made, folder / "t.jsonl")
    trace.write_parquet(made, folder / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        again = trace.load(folder / name)
        assert again.digest == made.digest
        assert again.source == made.source
        assert [s.exit_tokens.tolist() for s in again.sequences] == rows


def test_the_digest_sees_every_fact_but_not_the_name() -> None:
    base = a_trace(sequence([[1, 2], [3, 4]]))
    others = [
        a_trace(sequence([[1, 2], [3, 5]])), a_trace(sequence([[1, 2], [3, 4]], first=1)),
        a_trace(sequence([[1, 2], [3, 4]], end="eos")), a_trace(sequence([[1, 2], [3, 4]], source=1)),
        a_trace(sequence([[1, 2]]), sequence([[3, 4]], 1)), a_trace(sequence([[1], [2], [3], [4]])),
    ]
    assert len({t.digest for t in [base, *others]}) == 7
    assert Trace("another", "another", 2, {"a": 1}, base.sequences).digest == base.digest


# ------------------------------------------------------------------------------------------------------------ the door

MISTAKES = {
    "unknown key": ('"exit_tokens": [17', '"exit_token": [17',
        "3:18: exit_token: unknown key of a position (did you mean exit_tokens?)"),
    "unknown key of the header": ('"model"', '"modle"', "1:32: modle: unknown key of a header (did you mean model?)"),
    "unknown key of a sequence": ('"count": 2', '"cuont": 2',
        "2:30: cuont: unknown key of a sequence (did you mean count?)"),
    "missing model": ('"model": "speed_2x6", ', "", "1:1: model: missing from the header"),
    "model is no name": ('"speed_2x6"', "6", "1:32: model: 6 is no name"),
    "wrong schema": ("speedsim-trace/1", "speedsim-trace/2",
        '1:2: schema: "speedsim-trace/2" is not known (did you mean speedsim-trace/1?)'),
    "no header": (BY_HAND.split("\n", maxsplit=1)[0] + "\n", "", "1:1: schema: missing: the first line of a trace is"),
    "repetitions": ('"repetitions": 6', '"repetitions": 0', "1:54: repetitions: 0 is no whole number from 1 to 4096"),
    "source": ('{"kind": "by hand"}', "3", "1:72: source: no object of finite values"),
    "ragged": ("[1, 2, 3, 4, 5, 6]", "[1, 2, 3, 4, 5]",
        "4:18: exit_tokens: 5 predictions where the model has 6 repetitions"),
    "no list": ("[1, 2, 3, 4, 5, 6]", "6", "4:18: exit_tokens: 6 where the model has 6 repetitions"),
    "negative token": ("[1, 2,", "[1, -2,", "4:18: exit_tokens: -2 is no token"),
    "fraction": ("[1, 2,", "[1, 2.0,", "4:18: exit_tokens: 2.0 is no token"),
    "truth value": ("[1, 2,", "[1, true,", "4:18: exit_tokens: true is no token"),
    "too large": ("[1, 2,", "[1, 2147483648,", "4:18: exit_tokens: 2147483648 is no token"),
    "enormous": ("[1, 2,", f"[1, {'9' * 5000},", "4:1: Exceeds the limit"),
    "NaN": ("[1, 2,", "[1, NaN,", "4:37: NaN: is no number"),
    "positions do not rise": ('"position": 65', '"position": 64', "4:2: position: 64 where position 65 is next"),
    "position is no number": ('"position": 65', '"position": "65"', '4:2: position: "65" where position 65 is next'),
    "fewer positions": ('"count": 2', '"count": 3', "5:1: count: 2 of the 3 positions of sequence 0"),
    "more positions": ('"count": 2', '"count": 1', "4:2: position: sequence 0 has its 1 positions already"),
    "cut short": ('{"position": 3, "exit_tokens": [8, 8, 8, 8, 8, 8]}\n', "",
        "5:1: count: 0 of the 1 positions of sequence 7: the file is cut short"),
    "count below 1": ('"count": 2', '"count": 0', "2:30: count: 0 is no whole number from 1"),
    "past 32 bits": ('"first": 64', '"first": 2147483647',
        "2:38: count: positions 2147483647 .. 2147483648 do not fit 32 bits"),
    "duplicate id": ('"sequence": 7', '"sequence": 0', "5:2: sequence: 0 was there before"),
    "duplicate key": ('"count": 2', '"count": 2, "count": 2', "2:42: count: the key stands twice"),
    "unknown end": ('"eos"', '"eof"', '5:41: end: "eof" is neither length nor eos (did you mean eos?)'),
    "an end of another kind": ('"eos"', "[[]]", "5:41: end: a list is neither length nor eos"),
    "not JSON": ('"position": 65, ', '"position" 65, ', "4:13: not JSON: Expecting ':' delimiter"),
    "no object": ('{"position": 65, "exit_tokens": [1, 2, 3, 4, 5, 6]}', "[1, 2]", "4:1: a list is no object"),
    "blank line": ('{"position": 65', '\n{"position": 65', "4:1: an empty line"),
    "deep": ('{"kind": "by hand"}', "[" * 100_000, "1:1: nested too deeply"),
    "deep but readable": ('"by hand"', "[" * 40 + "]" * 40, "1:72: source: no object of finite values, 32 levels deep"),
    "infinite": ('"by hand"', "1e999", "1:72: source: no object of finite values"),
    "long line": ('"by hand"', '"' + "x" * 1_000_000 + '"', "1:1: the line is longer than 1000000 bytes"),
    "confidence": ("[8, 8, 8, 8, 8, 8]", '[8, 8, 8, 8, 8, 8], "confidence": 1', "6:52: confidence: no list"),
    "proposers": ("[8, 8, 8, 8, 8, 8]", '[8, 8, 8, 8, 8, 8], "proposers": []', "6:52: proposers: no object"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_with_line_column_and_key(tmp_path: Path, mistake: str) -> None:
    right, wrong, message = MISTAKES[mistake]
    assert right in BY_HAND
    assert refusal(tmp_path, BY_HAND.replace(right, wrong, 1)).startswith(f"t.jsonl:{message}")


def test_a_refusal_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        trace.load(tmp_path / "nothing.jsonl")


@pytest.mark.parametrize(("content", "message"), [
    (b"", "t.jsonl:1:1: the file is empty"),
    (b"\x80\x04\x95", "t.jsonl:1:1: not UTF-8 text"),
    (b"\x00" * 64, "t.jsonl:1:1: not JSON"),
    (b"PAR1 and so on", "t.jsonl:1:1: not JSON"),
    (BY_HAND.encode("utf-16"), "t.jsonl:1:1: not UTF-8 text"),
    (BY_HAND.split("\n", maxsplit=1)[0].encode(), "t.jsonl:1:1: sequence: the file ends without one"),
    (pickle.dumps({"schema": "speedsim-trace/1"}, protocol=0), "t.jsonl:1:1: not JSON"),
])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_other_suffixes_folders_and_large_files_are_refused(tmp_path: Path) -> None:
    assert "a trace is a .jsonl or a .parquet file" in refusal(tmp_path, BY_HAND, "t.jsonl.gz")
    assert "a trace is a .jsonl or a .parquet file" in refusal(tmp_path, BY_HAND, "t.pkl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(TraceError, match="no such file"):
        trace.load(tmp_path / "folder.jsonl")
    (tmp_path / "large.jsonl").write_text(BY_HAND)
    with pytest.raises(TraceError, match="more than the limit of 100"):
        trace.load(tmp_path / "large.jsonl", limit_bytes=100)


def test_the_checksum_line_is_verified(tmp_path: Path) -> None:
    trace.write_jsonl(loaded(tmp_path, BY_HAND), tmp_path / "s.jsonl")
    text = (tmp_path / "s.jsonl").read_text()
    assert json.loads(text.splitlines()[-1])["lines"] == 6
    assert refusal(tmp_path, text.replace("[1, 2, 3", "[1, 2, 4")).startswith("t.jsonl:7:27: sha256:")
    assert refusal(tmp_path, text.replace('"lines": 6', '"lines": 5')).startswith("t.jsonl:7:15: lines: 5 said, 6 read")
    assert refusal(tmp_path, text.replace('"end": true', '"end": 1')).startswith("t.jsonl:7:2: end: 1 is not true")
    assert refusal(tmp_path, text + text.splitlines()[1]).startswith("t.jsonl:8:1: a line behind the one that ends")
    assert refusal(tmp_path, text.replace(', "sha256"', ', "sha265"')).startswith("t.jsonl:7:27: sha265: unknown key")


def test_a_sealed_file_cut_anywhere_or_with_any_bit_flipped_is_refused(tmp_path: Path) -> None:
    trace.write_jsonl(trace.synthetic((0.2, 0.1), 3, 5), tmp_path / "s.jsonl")
    raw = (tmp_path / "s.jsonl").read_bytes()
    seal = raw.rindex(b'{"end"')
    for cut in range(seal - 1):  # behind it only the line's own end is missing
        refusal(tmp_path, raw[:cut])
    assert trace.check(_written(tmp_path, raw[:seal]))["sealed"] is False
    random = np.random.default_rng(0)
    for bit in random.integers(8 * (len(raw) - 1), size=200):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        refusal(tmp_path, bytes(damaged))


def _written(folder: Path, content: bytes, name: str = "t.jsonl") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@settings(max_examples=150, deadline=None)
@given(line=st.integers(0, 5), at=st.integers(0, 100), removed=st.integers(0, 30),
       inserted=st.text(alphabet='{}[]",: 0123456789-.eE\\u\ntruefalsNI', max_size=12))
def test_whatever_is_typed_nothing_but_a_refusal_comes_out(
    tmp_path_factory: pytest.TempPathFactory, line: int, at: int, removed: int, inserted: str,
) -> None:
    lines = BY_HAND.splitlines()
    lines[line] = lines[line][:at] + inserted + lines[line][at + removed:]
    try:
        read = loaded(tmp_path_factory.mktemp("typed"), "\n".join(lines))
    except TraceError:
        pass
    else:
        assert all(s.count == len(s.exit_tokens) and s.exit_tokens.min() >= 0 for s in read.sequences)


# ------------------------------------------------------------------------------------------------------------- Parquet


def test_parquet_has_the_columns_and_row_groups_of_the_format(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    trace.write_parquet(trace.synthetic((0.1,) * 5, 6, 70_000, 1), tmp_path / "t.parquet")
    file = pq.ParquetFile(tmp_path / "t.parquet")
    assert file.schema_arrow.names == ["sequence", "position", "exit_tokens"]
    assert file.schema_arrow.field("position").type == pa.int32()
    kind = file.schema_arrow.field("exit_tokens").type
    assert (kind.value_type, kind.list_size) == (pa.int32(), 6)
    assert [file.metadata.row_group(i).num_rows for i in range(2)] == [65_536, 70_000 - 65_536]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_parquet_file_that_unpacks_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    trace.write_parquet(a_trace(sequence([[5, 5]] * 200_000)), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 1_000_000
    with pytest.raises(TraceError, match="3200000 bytes uncompressed, more than the limit of 1000000"):
        trace.load(tmp_path / "t.parquet", limit_bytes=1_000_000)


def test_parquet_of_another_origin_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert "no readable Parquet trace" in refusal(tmp_path, b"PAR1 and then nothing", "t.parquet")
    assert "no readable Parquet trace" in refusal(tmp_path, b"", "t.parquet")
    assert "no readable Parquet trace" in refusal(tmp_path, pickle.dumps([1]), "t.parquet")
    pq.write_table(pa.table({"position": [1]}), tmp_path / "u.parquet")
    assert "metadata: no trace: it lacks speedsim.header" in refusal(
        tmp_path, (tmp_path / "u.parquet").read_bytes(), "t.parquet")


def test_parquet_rows_that_contradict_the_metadata_are_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    trace.write_parquet(trace.synthetic((0.1, 0.1), 3, 8, 2), tmp_path / "a.parquet")
    trace.write_parquet(trace.synthetic((0.1, 0.1), 3, 8, 2, seed=1), tmp_path / "b.parquet")
    trace.write_parquet(trace.synthetic((0.1,), 2, 8, 2), tmp_path / "c.parquet")
    rows, other = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")

    def said(table: Any) -> str:
        pq.write_table(table, tmp_path / "t.parquet")
        return refusal(tmp_path, (tmp_path / "t.parquet").read_bytes(), "t.parquet")

    assert "sha256: the rows say otherwise" in said(other.replace_schema_metadata(rows.schema.metadata))
    assert "15 rows where the sequences count 16" in said(rows.slice(1))
    assert "rows are not first .. first+count-1" in said(rows.take([1, 0, *range(2, 16)]).cast(rows.schema))
    narrow = pq.read_table(tmp_path / "c.parquet")
    assert "columns:" in said(narrow.replace_schema_metadata(rows.schema.metadata))
    changed = dict(rows.schema.metadata)
    changed[b"speedsim.header"] = changed[b"speedsim.header"].replace(b"synthetic", b"Synthetic")
    assert "sha256: the metadata says otherwise" in said(rows.replace_schema_metadata(changed))


def test_damaged_parquet_is_refused_or_says_the_same(tmp_path: Path) -> None:
    whole = trace.synthetic((0.2, 0.1), 3, 400, 3)
    trace.write_parquet(whole, tmp_path / "s.parquet")
    raw = (tmp_path / "s.parquet").read_bytes()
    random, detected = np.random.default_rng(1), 0
    for bit in random.integers(8 * len(raw), size=150):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            read = trace.load(_written(tmp_path, bytes(damaged), "t.parquet"))
        except TraceError:
            detected += 1
        else:
            assert (read.digest, read.model, read.source) == (whole.digest, whole.model, whole.source)
    assert detected > 100
    for cut in random.integers(len(raw), size=50):
        refusal(tmp_path, raw[:cut], "t.parquet")


# ------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize(("write", "name"), [(trace.write_jsonl, "t.jsonl"), (trace.write_parquet, "t.parquet")])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any, name: str,
) -> None:
    path = tmp_path / name
    write(trace.synthetic((0.1,), 2, 4), path)
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot be written .No space left on device"):
        write(trace.synthetic((0.9,), 2, 4), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_writing_into_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        trace.write_jsonl(trace.synthetic((0.1,), 2, 4), tmp_path / "none" / "t.jsonl")


@pytest.mark.parametrize("source", [{"x": float("nan")}, {"x": float("inf")}])
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, source: dict[str, float]) -> None:
    for write, name in ((trace.write_jsonl, "t.jsonl"), (trace.write_parquet, "t.parquet")):
        with pytest.raises(TraceError, match="source"):
            write(a_trace(sequence([[1, 2]]), source=source), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rows", [[[1, -1]], [[0.5, 1.0]], [[2**31, 1]], [1, 2], []])
def test_a_sequence_of_anything_but_tokens_is_refused(rows: Any) -> None:
    with pytest.raises(TraceError, match="sequence 3"):
        Sequence(3, 0, len(rows), "length", 0, np.array(rows))


# ------------------------------------------------------------------------------------------------------ what is in one


def test_a_position_settles_at_the_repetition_of_its_last_change() -> None:
    rows = [[1, 1, 1, 1], [1, 2, 2, 2], [1, 1, 2, 2], [1, 1, 1, 2], [1, 2, 1, 1], [1, 2, 3, 4]]
    assert trace.settle(np.array(rows, dtype=np.int32)).tolist() == [1, 2, 3, 4, 3, 4]
    assert trace.settle(np.array([[1], [2]], dtype=np.int32)).tolist() == [1, 1]


def test_statistics_of_a_trace_counted_by_hand() -> None:
    made = a_trace(sequence([[5, 5, 5], [5, 6, 6], [5, 6, 5]]), sequence([[7, 7, 8]], 1))
    said = trace.statistics(made)
    assert (said["tokens"], said["sequences"], said["repetitions"]) == (4, 2, 3)
    assert [f["exits"] for f in said["flip_rates"]] == [[1, 2], [2, 3]]
    assert [f["rate"] for f in said["flip_rates"]] == [0.5, 0.5]
    assert said["settle_histogram"] == {"1": 1, "2": 1, "3": 2}
    assert said["mean_settle"]["value"] == 2.25
    assert said["gain_bound"] == 3 / 2.25
    assert said["speed_passes"] == (3 + 1 + 2) + 3
    assert said["plain_passes"] == 12
    assert said["first_exit_agrees"]["rate"] == 0.5
    assert said["looping_share"] == 0.0
    json.dumps(said, allow_nan=False)


def test_shares_have_wilson_intervals() -> None:
    """5 of 10: (0.2366, 0.7634), as in Brown, Cai and DasGupta 2001."""
    rows = [[1, 2]] * 5 + [[1, 1]] * 5
    rate = trace.statistics(a_trace(sequence(rows)))["flip_rates"][0]
    assert (round(rate["low"], 4), round(rate["high"], 4)) == (0.2366, 0.7634)
    none = trace.statistics(a_trace(sequence([[1, 1]] * 10)))["flip_rates"][0]
    assert (none["low"], round(none["high"], 4)) == (0.0, 0.2775)


def test_the_mean_settle_repetition_has_an_interval_only_over_several_sequences() -> None:
    one = trace.statistics(trace.synthetic((0.3, 0.1), 3, 500))["mean_settle"]
    assert (one["low"], one["high"]) == (None, None)
    many = trace.statistics(trace.synthetic((0.3, 0.1), 3, 50, 40))["mean_settle"]
    assert many["low"] < many["value"] < many["high"]
    assert many["high"] - many["low"] < 0.2
    assert trace.statistics(trace.synthetic((0.3, 0.1), 3, 50, 40))["mean_settle"] == many


def test_passes_of_speed_agree_with_every_golden_schedule_that_uses_all_exits() -> None:
    compared = 0
    for path in GOLDEN.glob("*.json"):
        golden = json.loads(path.read_text())
        g = golden["repetitions"]
        plain = golden["recheck"] == "every_exit" and golden["first_exit"] == 1
        if plain and golden["exits"] == list(range(1, g + 1)) and golden["max_in_flight"] is None \
                and golden.get("repetitions_per_pass", 1) == 1:
            made = a_trace(sequence(golden["exit_tokens"], end=golden["end"]))
            assert trace.statistics(made)["speed_passes"] == golden["expect"]["passes"], path.name
            compared += 1
    assert compared >= 10


def test_a_text_that_runs_in_circles_is_called_looping() -> None:
    circle = a_trace(sequence([[t] for t in [1, 2, 3] * 12]), sequence([[t] for t in range(36)], 1))
    assert trace.statistics(circle)["looping_share"] == 0.5
    seven, eight = [1, 2, 3, 4, 5] * 7, [1, 2, 3, 4, 5] * 7 + [1, 2, 3, 4]
    assert not trace.loops(np.array(seven))
    assert trace.loops(np.array(eight))
    assert not trace.loops(np.array([1, 1, 1]))


def test_synthetic_flips_have_the_asked_rates_and_mean() -> None:
    """E[r] = 1 + sum over j of (1 - product of (1 - f_i), i >= j), within four standard errors."""
    flips = (0.15, 0.06, 0.03, 0.02, 0.01)
    made = trace.synthetic(flips, 6, 10_000, 5, seed=3)
    said = trace.statistics(made)
    for f, rate in zip(flips, said["flip_rates"], strict=True):
        assert abs(rate["rate"] - f) < 4 * (f * (1 - f) / 50_000) ** 0.5
    survive = np.cumprod([1 - f for f in reversed(flips)])
    expected = 1 + float((1 - survive).sum())
    r = np.concatenate([trace.settle(s.exit_tokens) for s in made.sequences])
    assert abs(said["mean_settle"]["value"] - expected) < 4 * r.std() / len(r) ** 0.5
    assert said["first_exit_agrees"]["rate"] < 1


def test_a_synthetic_trace_is_the_same_everywhere_and_grows_at_its_ends() -> None:
    assert trace.synthetic((0.5,), 2, 4, first=0, vocabulary=10).sequences[0].exit_tokens.tolist() == PINNED
    small, large = trace.synthetic((0.3, 0.2), 3, 10, 2, seed=5), trace.synthetic((0.3, 0.2), 3, 30, 4, seed=5)
    for a, b in zip(small.sequences, large.sequences, strict=False):
        assert a.exit_tokens.tolist() == b.exit_tokens[:10].tolist()
    assert trace.synthetic((0.3, 0.2), 3, 10, 2, seed=6).digest != small.digest


def test_every_synthetic_flip_is_a_change_and_nothing_else_changes() -> None:
    always = trace.synthetic((1.0, 1.0), 3, 200, vocabulary=2).sequences[0].exit_tokens
    assert (np.diff(always, axis=1) != 0).all()
    never = trace.synthetic((0.0, 0.0), 3, 200).sequences[0].exit_tokens
    assert (np.diff(never, axis=1) == 0).all()
    assert 0 <= never.min() <= never.max() < 32128
    assert trace.synthetic((), 1, 5).sequences[0].exit_tokens.shape == (5, 1)


def test_a_synthetic_trace_can_be_asked_for_in_one_string() -> None:
    asked = trace.synthetic_from("flips=0.15+0.06,count=50,sequences=2,first=8,seed=3", 3)
    assert asked.digest == trace.synthetic((0.15, 0.06), 3, 50, 2, 3, first=8).digest
    for text, message in {
        "flip=0.1": "synth: flip: unknown key (did you mean flips?)",
        "flips=a": "synth: flips: 'a' is no list of numbers",
        "flips=0.1,count=x": "synth: count: 'x' is no whole number", "flips=2.0": "from 0 to 1",
        "flips=nan": "from 0 to 1", "flips=0.1+0.1": "need 1 probabilities", "count=3": "need 1 probabilities",
        "flips=0.1,count=0": "count=0",
    }.items():
        with pytest.raises(TraceError) as caught:
            trace.synthetic_from(text, 2)
        assert message in str(caught.value)


def test_a_limit_takes_whole_sequences_in_file_order() -> None:
    made = trace.synthetic((0.1,), 2, 100, 5)
    assert [[s.id for s in trace.limited(made, n).sequences] for n in (1, 100, 101, 500, 9999)] == [
        [0], [0], [0, 1], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
    assert trace.limited(made, 9999).digest == made.digest
    with pytest.raises(TraceError, match="at least 1"):
        trace.limited(made, 0)


def test_a_shifted_trace_has_the_same_text_elsewhere() -> None:
    made = trace.synthetic((0.1,), 2, 10, 2)
    moved = trace.shifted(made, 1000)
    assert [s.first for s in moved.sequences] == [1000, 1000]
    assert moved.sequences[1].exit_tokens.tolist() == made.sequences[1].exit_tokens.tolist()
    assert moved.digest != made.digest
    assert trace.shifted(moved, 64).digest == made.digest
    for prompt in (-1, 2**31):
        with pytest.raises(TraceError, match="prompt="):
            trace.shifted(made, prompt)


def test_a_rival_is_given_the_text_alone() -> None:
    made = trace.synthetic((0.9, 0.9), 3, 10, 2)
    alone = trace.lengths_only(made)
    assert alone.repetitions == 1
    assert alone.sequences[1].exit_tokens.tolist() == made.sequences[1].exit_tokens[:, -1:].tolist()


def test_a_trace_cannot_be_changed() -> None:
    made = trace.synthetic((0.1,), 2, 3)
    with pytest.raises(ValueError, match="read-only"):
        made.sequences[0].exit_tokens[0, 0] = 1
    with pytest.raises(AttributeError):
        made.model = "another"  # type: ignore[misc]


def test_two_sequences_of_one_id_make_no_trace() -> None:
    with pytest.raises(TraceError, match="two of one id"):
        a_trace(sequence([[1, 2]]), sequence([[1, 2]]))


def test_traces_need_neither_pyarrow_nor_the_simulator(tmp_path: Path) -> None:
    """A bare machine with a GPU replays JSON lines."""
    (tmp_path / "t.jsonl").write_text(BY_HAND)
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[2]);"
        "sys.modules.update(dict.fromkeys(('pyarrow', 'simpy', 'pydantic', 'plotly', 'pandas')));"
        "from speedsim import trace; print(trace.load(sys.argv[1]).tokens)"
    )
    given = [str(tmp_path / "t.jsonl"), str(GOLDEN.parent / "conftest.py")]
    ran = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    assert ran.stdout == "3\n"


def test_a_byte_order_mark_before_the_header_is_no_mistake(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf" + BY_HAND.encode()).digest == loaded(tmp_path, BY_HAND).digest
    lines = BY_HAND.splitlines(keepends=True)
    late = "".join(lines[:1]).encode() + b"\xef\xbb\xbf" + "".join(lines[1:]).encode()
    assert refusal(tmp_path, late).startswith("t.jsonl:2:1: ")
