"""Do the split rules say what their sources say? Figures are worked out by hand from the sources' formulas."""

from __future__ import annotations

import pytest
from speedsim.catalog import load_gpu, load_stack
from speedsim.kernels.splits import RULES, Context, Heads, cut
from speedsim.one_kernel import COLD, WARM, Attention, Bench, lowered
from speedsim.stack import BACKENDS

GROUPED, UNGROUPED, ONE = Heads(32, 8, 128), Heads(8, 8, 128), Heads(8, 1, 128)
H200, L40S, B200 = 132, 142, 148


def at(backend, heads, sms, *contexts, most=128):
    return cut(backend, tuple(Context(*c) if isinstance(c, tuple) else Context(c) for c in contexts), heads, sms, most)


def test_every_backend_of_a_stack_has_a_rule():
    assert set(RULES) == set(BACKENDS)


def test_flash3_gives_every_sm_an_equal_share_of_blocks_and_a_tenth():
    # 8 heads x 32 blocks x 1.1 / 132 = 2.13: 3 blocks a CTA, 11 splits.
    told = at("flash3", GROUPED, H200, 4096, most=32)
    assert (told.splits, told.ctas, told.steps, told.joined) == (11, 88, 3, 11)


def test_flash3_splits_long_contexts_only_as_often_as_allowed():
    told = at("flash3", ONE, H200, 131072, most=32)
    assert (told.splits, told.ctas, told.steps) == (32, 32, 32)


def test_flash3_leaves_a_context_of_one_block_whole_and_joins_nothing():
    told = at("flash3", GROUPED, H200, 128, most=32)
    assert (told.splits, told.joined, told.ctas) == (1, 0, 8)


def test_flash3_splits_each_sequence_by_its_own_length():
    # (64 + 4) blocks x 8 heads x 1.1 / 132 = 4.53: 5 blocks a CTA, 13 and 1 splits.
    told = at("flash3", GROUPED, H200, 8192, 512, most=32)
    assert (told.splits, told.ctas, told.steps) == (13, 8 * 13 + 8, 5)


def test_flash3_packs_rows_and_heads_of_a_group_into_tiles_of_128():
    assert at("flash3", GROUPED, H200, (4096, 32)).asked == (1,)
    assert at("flash3", GROUPED, H200, (4096, 33)).asked == (2,)


def test_flash3_takes_larger_blocks_of_fp8():
    assert at("flash3", Heads(32, 8, 128, 8), H200, 4096).block == 160


def test_flash2_never_splits_heads_that_are_not_grouped():
    told = at("flash2", UNGROUPED, L40S, 131072)
    assert (told.splits, told.ctas, told.steps, told.copies) == (1, 8, 1024, 0)


def test_flash2_takes_the_fewest_splits_that_fill_its_waves_almost_best():
    # 8 CTAs in 284 places, 32 blocks: 32 splits fill 0.90, the next fewer that change a block, 16, only 0.45.
    told = at("flash2", GROUPED, L40S, 4096)
    assert (told.splits, told.ctas, told.steps) == (32, 256, 1)


def test_flash2_splits_nothing_where_four_fifths_of_the_places_are_taken():
    assert at("flash2", GROUPED, L40S, *[4096] * 28).splits == 5
    assert at("flash2", GROUPED, L40S, *[4096] * 29).splits == 1


@pytest.mark.parametrize(("heads", "sequences", "copies"), [(GROUPED, 1, 1), (GROUPED, 2, 2), (ONE, 2, 1)])
def test_flash2_transposes_where_neither_sequences_nor_heads_are_one(heads, sequences, copies):
    assert at("flash2", heads, L40S, *[1024] * sequences).copies == copies


def test_flash2_verifies_several_rows_without_splits_and_reads_keys_for_every_query_head():
    told = at("flash2", GROUPED, L40S, (4096, 8))
    assert (told.splits, told.ctas, told.steps, told.asked, told.copies) == (1, 32, 32, (4,), 0)


def test_trtllm_gen_fills_the_sms_once_with_splits_of_two_steps_at_least():
    assert at("trtllm_gen", GROUPED, B200, 8192).splits == 16
    assert at("trtllm_gen", GROUPED, B200, 65536).splits == 148 // 8
    assert at("trtllm_gen", GROUPED, B200, 512).splits == 1


def test_trtllm_gen_joins_at_once_within_a_cluster_and_one_by_one_beyond():
    assert at("trtllm_gen", GROUPED, B200, 8192).joined == 0
    assert at("trtllm_gen", GROUPED, B200, 65536).joined == 18
    assert at("trtllm_gen", GROUPED, B200, 65536).inside


def test_triton_has_sixteen_segments_for_single_rows_of_few_sequences():
    assert at("triton", GROUPED, H200, *[4096] * 16).splits == 16
    assert at("triton", GROUPED, H200, *[4096] * 17).splits == 1
    assert at("triton", GROUPED, H200, (4096, 4)).splits == 1


def test_a_window_hides_all_but_the_latest_keys():
    told = at("flash3", Heads(32, 8, 128, window=1024), H200, 65536)
    assert told.steps * told.splits <= 2 * told.splits + 9


def test_unequal_ctas_end_when_the_fullest_sm_does():
    # 8 CTAs of 64 blocks and 8 of 1 on 8 SMs: 65 blocks in two waves.
    told = at("flash2", UNGROUPED, 8, 8192, 128)
    assert (told.ctas, told.steps) == (16, 33)


def kernels(gpu, stack, **shape):
    chip = load_gpu(gpu).value
    made = lowered(Attention(**({"batch": 4, "context": 4096, "heads": 32, "kv_heads": 8, "head_dim": 128} | shape)),
                   chip, load_stack(stack).value.kernels)
    return [(kernel.name.partition(".")[2], kernel.family) for kernel in made]


def test_a_wrapper_that_swaps_copies_before_and_after():
    assert kernels("l40s", "vllm_0_24") == [
        ("attention.copy", "transpose"), ("attention", "attention"), ("attention.join", "combine"),
        ("attention.copy", "transpose")]
    assert kernels("b200_sxm", "vllm_0_24", context=65536) == [("attention", "attention")]


def test_rows_of_one_sequence_read_their_keys_once_from_the_memory():
    chip, stack = load_gpu("h200_sxm").value, load_stack("vllm_0_24").value
    bench = Bench(chip, stack)
    one, many = (bench.predict(Attention(1, 65536, 32, 8, 128, rows), COLD) for rows in (1, 64))
    assert many.kernels[0].work.hbm_bytes == one.kernels[0].work.hbm_bytes
    assert many.kernels[0].work.issued_bytes > 1.9 * one.kernels[0].work.issued_bytes
    apart = bench.predict(Attention(64, 65536, 32, 8, 128), COLD)
    assert apart.time_ps > 10 * many.time_ps


def test_a_window_bounds_bytes_and_time():
    bench = Bench(load_gpu("h200_sxm").value, load_stack("vllm_0_24").value)
    whole, seen = (bench.predict(Attention(8, c, 32, 8, 128, window=1024), WARM) for c in (65536, 1024))
    assert whole.time_ps == seen.time_ps
    assert Attention(8, 65536, 32, 8, 128, window=1024).bytes == Attention(8, 1024, 32, 8, 128).bytes
