"""Is what a run holds in memory the sum of its parts?"""

from __future__ import annotations

from speedsim.memory import memory, refusal
from speedsim.scenario import Scenario, play, resolve

ASK = {"synth": "flips=0.1+0.1,count=30,sequences=3,first=70", "model": "speed_4x3", "record": "summary"}
FREE = (("stack.memory.runtime", "0 B"), ("stack.memory.graph", "0 B"))


def held(*sets, **more):
    side = resolve(Scenario(**ASK | more, sets=(*FREE, *sets)))
    return side, memory(side, play(side))


def test_weights_keys_and_values_and_the_tokens_in_flight_are_counted():
    side, found = held(schedule="autoregressive", batch=2)
    model = side.model.value
    position = model.layers * model.kv_bytes
    assert found["parts_bytes"] == {"weights": model.total_bytes, "kv": 2 * 100 * position, "rows": 2 * position,
                                    "graphs": 0, "runtime": 0}
    assert found["needed_bytes"] == sum(found["parts_bytes"].values())
    assert found["fits"]
    assert refusal(side, found) is None


def test_pages_are_whole():
    whole = held(schedule="autoregressive")[1]["parts_bytes"]["kv"]
    paged = held(("stack.memory.page", "64"), schedule="autoregressive")[1]["parts_bytes"]["kv"]
    assert paged * 100 == whole * 128


def test_a_pipeline_holds_as_many_rows_more_as_it_is_deep():
    one, deep = (held(schedule=name)[1]["parts_bytes"]["rows"] for name in ("autoregressive", "plt"))
    assert deep == 3 * one


def test_more_sequences_than_the_text_has_need_no_memory():
    assert held(batch=3)[1]["parts_bytes"]["kv"] == held(batch=9)[1]["parts_bytes"]["kv"]


def test_a_drafter_counts_and_the_targets_own_layers_do_not():
    ask = {"synth": "count=30", "model": "speed_12l", "acceptance": "0.8"}
    plain, shared, apart = (held(schedule=name, **ask)[1]["parts_bytes"]["weights"]
                            for name in ("autoregressive", "draft:draft=~4l", "draft:draft=speed_2l"))
    assert plain == shared < apart


def test_each_captured_width_costs_a_graph():
    side = resolve(Scenario(**ASK, schedule="autoregressive", stack="vllm_0_24"))
    stack = side.stack.value
    assert memory(side, play(side))["parts_bytes"]["graphs"] == len(stack.widths) * stack.memory.graph_bytes


def test_what_is_too_large_says_what_of_it():
    side, found = held(("hbm.capacity", "50MB"), schedule="autoregressive")
    assert not found["fits"]
    assert "most of it weights" in refusal(side, found)
