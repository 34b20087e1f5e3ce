"""The reference decoder: the cached decoding says what the whole-sequence forward says, exit by exit."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from speedsim.workloads.decoder import Decoder, Shape, greedy, rotary, rotate  # noqa: E402

PLAIN = Shape(d_model=32, q_heads=4, kv_heads=4, head_dim=8, ffn=48, vocab=61, group_layers=2, repetitions=3)
GROUPED = replace(PLAIN, kv_heads=2)
RELATIVE = replace(PLAIN, positions="relative", gated=False)
DEEP = replace(GROUPED, prelude=1, coda=2, adapter=True, tied=False)
DEEP_RELATIVE = replace(DEEP, positions="relative")
FORMS = {"plain": PLAIN, "grouped": GROUPED, "relative": RELATIVE, "deep": DEEP, "deep_relative": DEEP_RELATIVE}
both = pytest.mark.parametrize("shape", list(FORMS.values()), ids=list(FORMS))
CROSSED = replace(PLAIN, cross_attention=True, encoder=2)
crossed = pytest.mark.parametrize("shape", [CROSSED, replace(CROSSED, positions="relative", coda=1, prelude=1)],
                                  ids=["rotary", "relative"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def restless(shape, seed=0):
    """A decoder with random weights so large that its exits disagree and its text does not stand still."""
    torch.manual_seed(seed)
    decoder = Decoder(shape)
    with torch.no_grad():
        for name, weight in decoder.named_parameters():
            if weight.dim() == 2:
                weight.mul_(5 if name.startswith(("embed", "unembed", "bias")) else 12)
    return decoder


@both
def test_greedy_says_what_the_whole_forward_says_at_every_exit(shape):
    decoder = restless(shape)
    prompts = torch.randint(1, shape.vocab, (3, 7), generator=torch.Generator().manual_seed(1))
    exits = torch.stack(list(greedy(decoder, prompts, 40)), dim=1)
    assert exits.shape == (3, 40, shape.repetitions)
    text = torch.cat([prompts, exits[:, :-1, -1]], dim=1)
    with torch.no_grad():
        whole = torch.stack([decoder.head(x[:, 6:]).argmax(-1) for x in decoder(text)], dim=-1)
    assert torch.equal(exits, whole)
    assert (exits[..., 0] != exits[..., -1]).float().mean() > 0.1
    assert len(set(exits[0, :, -1].tolist())) > (10 if shape.positions == "rotary" else 0)


def test_greedy_predicts_first_from_the_last_prompt_token():
    decoder = restless(PLAIN)
    prompt = torch.tensor([[3, 1, 4, 1, 5]])
    with torch.no_grad():
        expected = [int(decoder.head(x[0, -1]).argmax()) for x in decoder(prompt)]
    assert next(iter(greedy(decoder, prompt, 1))).tolist() == [expected]


def test_a_sequence_of_a_batch_decodes_as_it_does_alone():
    decoder = restless(PLAIN)
    prompts = torch.tensor([[1, 2, 3], [9, 8, 7]])
    together = torch.stack(list(greedy(decoder, prompts, 20)), dim=1)
    alone = torch.stack(list(greedy(decoder, prompts[1:], 20)), dim=1)
    assert torch.equal(together[1:], alone)


@both
def test_a_later_token_changes_nothing_before_it(shape):
    decoder = restless(shape)
    tokens = torch.arange(10).view(1, -1) % shape.vocab
    other = tokens.clone()
    other[0, 6] = 50
    for a, b in zip(decoder(tokens), decoder(other), strict=True):
        assert torch.equal(a[:, :6], b[:, :6])
        assert not torch.equal(a[:, 6:], b[:, 6:])


def test_grouped_heads_are_plain_heads_whose_keys_and_values_repeat():
    few = restless(GROUPED)
    many = Decoder(PLAIN)
    weights = dict(few.state_dict())
    for index in range(GROUPED.group_layers):
        query, key, value = weights[f"group.{index}.qkv.weight"].split((32, 16, 16))
        wide = [part.view(2, 8, -1).repeat_interleave(2, dim=0).flatten(0, 1) for part in (key, value)]
        weights[f"group.{index}.qkv.weight"] = torch.cat([query, *wide])
    many.load_state_dict(weights)
    tokens = torch.arange(12).view(2, 6)
    for a, b in zip(few(tokens), many(tokens), strict=True):
        torch.testing.assert_close(a, b)


def test_repetitions_share_their_weights_and_have_keys_of_their_own():
    decoder = Decoder(PLAIN)
    assert sum(p.numel() for p in decoder.parameters()) == sum(
        p.numel() for p in Decoder(replace(PLAIN, repetitions=1)).parameters())
    asked = []

    def attend(instance, query, key, value):
        asked.append(instance)
        return query

    cos, sin = rotary(torch.arange(3), 8)
    x = decoder.embed(torch.tensor([[1, 2, 3]]))
    for number in range(3):
        x = decoder.repetition(x, cos, sin, number, attend)
    assert asked == [0, 1, 2, 3, 4, 5]


def test_turned_vectors_see_only_the_distance_between_positions():
    x = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))
    near = [rotate(x[i], *(t[0] for t in rotary(torch.tensor([p]), 8))) for i, p in enumerate((3, 10))]
    far = [rotate(x[i], *(t[0] for t in rotary(torch.tensor([p]), 8))) for i, p in enumerate((103, 110))]
    torch.testing.assert_close((near[0] * near[1]).sum(), (far[0] * far[1]).sum(), rtol=1e-4, atol=1e-4)


def test_the_head_is_the_embedding():
    decoder = Decoder(PLAIN)
    x = torch.randn(32)
    torch.testing.assert_close(decoder.head(x), decoder.embed.weight @ decoder.norm(x))


def test_query_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="q_heads=4 is not a multiple of kv_heads=3"):
        replace(PLAIN, kv_heads=3)


@crossed
def test_with_a_source_greedy_says_what_the_whole_forward_says(shape):
    decoder = restless(shape)
    source = torch.tensor([[5, 9, 3, 7], [4, 8, 0, 0]])
    exits = torch.stack(list(greedy(decoder, torch.tensor([[2], [2]]), 20, source)), dim=1)
    text = torch.cat([torch.tensor([[2], [2]]), exits[:, :-1, -1]], dim=1)
    with torch.no_grad():
        whole = torch.stack([decoder.head(x).argmax(-1) for x in decoder(text, source)], dim=-1)
    assert torch.equal(exits, whole)


@crossed
def test_the_padding_of_a_source_is_not_seen_and_its_words_are(shape):
    decoder = restless(shape)
    tokens = torch.tensor([[2, 5, 6]])
    padded = decoder(tokens, torch.tensor([[4, 8, 0, 0]]))
    for a, b in zip(padded, decoder(tokens, torch.tensor([[4, 8]])), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(padded[-1], decoder(tokens, torch.tensor([[4, 9]]))[-1])


def test_a_source_is_remembered_once_for_each_physical_layer():
    decoder = Decoder(replace(CROSSED, prelude=1, coda=1))
    memories = decoder.remember(torch.tensor([[4, 8, 5]]))
    assert len(memories) == 2 + 1 + 1
    assert all(m.key.shape == (1, 3, 4, 8) for m in memories)
    with pytest.raises(ValueError, match="no encoder"):
        Decoder(PLAIN).remember(torch.tensor([[4]]))
    with pytest.raises(ValueError, match="encoder=0 with cross_attention=True"):
        replace(PLAIN, cross_attention=True)


def test_the_relative_bias_sees_distance_alone_and_one_way_or_both():
    from speedsim.workloads.layers import RelativeBias

    at = torch.arange(6)
    for both_ways in (False, True):
        bias = RelativeBias(3, both_ways)
        assert torch.equal(bias(at, at), bias(at + 50, at + 50))
        buckets = bias.bucket(at.unsqueeze(0) - at.unsqueeze(1))
        assert (buckets[0, 1:] == 0).all() != both_ways
        assert len(set(buckets[5].tolist())) == 6
    far = RelativeBias(1, False).bucket(-torch.tensor([0, 15, 16, 100, 127, 128, 10_000]))
    assert far.tolist() == [0, 15, 16, 30, 31, 31, 31]


def test_every_exit_before_the_last_sees_the_last_ones_past_in_the_coda():
    """With one token there is no past: an exit is coda(state) alone. With two, exit 1 reads exit 3's first position."""
    decoder = restless(DEEP)
    one, two = (decoder(torch.tensor([ids])) for ids in ([5], [5, 6]))
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a[:, 0], b[:, 0])
    exits = torch.stack(list(greedy(decoder, torch.tensor([[5, 6]]), 1)), dim=1)
    assert exits[0, 0].tolist() == [int(decoder.head(x[0, 1]).argmax()) for x in two]


def test_an_untied_head_is_its_own_matrix():
    decoder = Decoder(replace(PLAIN, tied=False))
    x = torch.randn(32)
    torch.testing.assert_close(decoder.head(x), decoder.unembed.weight @ decoder.norm(x))


@both
def test_in_bf16_a_decoder_says_nearly_what_it_says_in_fp32(shape):
    torch.manual_seed(0)
    decoder = Decoder(shape)
    tokens = torch.randint(1, shape.vocab, (2, 12))
    with torch.no_grad():
        exact = decoder.head(decoder(tokens)[-1])
        rough = decoder.bfloat16()
        assert next(iter(greedy(rough, tokens, 1))).shape == (2, 3)
        got = rough.head(rough(tokens)[-1])
    assert got.dtype == torch.bfloat16
    assert (got.float() - exact).abs().max() < 0.05 * exact.abs().max()


def test_parameters_are_those_of_the_described_model():
    """Weights of a decoder with everything, matrix by matrix, against sim's own count of bytes."""
    from speedsim.model import Model

    shape = replace(DEEP, cross_attention=True, encoder=1)
    names = ("d_model", "q_heads", "kv_heads", "head_dim", "ffn", "vocab", "group_layers", "repetitions", "gated",
             "prelude", "coda", "adapter", "cross_attention", "tied")
    model = Model(name="m", title="m", **{name: getattr(shape, name) for name in names})
    held = sum(p.numel() for n, p in Decoder(shape).named_parameters() if p.dim() == 2 and not n.startswith("encoder"))
    assert 2 * held == model.total_bytes
