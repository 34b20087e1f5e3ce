"""Do rows that meet at one depth read what they have in common once, and do all models count?"""

from __future__ import annotations

from speedsim.machine.build import sim_machine
from speedsim.machine.player import Setting
from speedsim.model import Heads
from speedsim.program import Commit, Compact, Issue, Pass, Retire, Row, Squash, Wait
from speedsim.stack import Control
from worlds import WHOLE, speed_shape, tiny_gpu, tiny_stack

FIRST = 99
"""Position of the root: 100 keys with its own."""


def root(token=0, position=FIRST):
    return Row(token, 0, position, 0, None)


def child(token, of, depth=0):
    return Row(token, 0, of.position + 1, depth, of.token, (of.token, 0))


def verified(*rows, **model):
    """The timeline of one verification of these rows."""
    shape = speed_shape(2, 1, **model)
    tokens = tuple(r.token for r in rows)

    def program():
        yield Issue(Pass(0, rows, tokens))
        yield Wait(frozenset((0,)))
        yield Commit(tokens[0])
        yield Squash(tokens[1:])
        yield Retire(0)

    setting = Setting(tiny_stack(block=64), Control("host"), "graph", None, frozenset((1,)))
    return shape, sim_machine(tiny_gpu(), tiny_stack(block=64), shape, WHOLE, setting).play(program())


def keys_read(*rows, **model):
    """Keys that the pass asked for, in one layer instance."""
    shape, line = verified(*rows, **model)
    written = len(rows) * shape.layers
    read = line.counters.requested_bytes["kv"] // shape.kv_bytes - written
    assert read % shape.layers == 0
    return read // shape.layers


def test_a_chain_reads_its_longest_context():
    a = root()
    b = child(1, a)
    assert keys_read(a) == 100
    assert keys_read(a, b, child(2, b)) == 102


def test_siblings_read_the_prefix_once_and_their_own_tails_apart():
    a = root()
    b, c = child(1, a), child(2, a)
    d, e, f = child(3, b), child(4, b), child(5, c)
    assert keys_read(a, b, c) == 102
    assert keys_read(a, b, c, d, e, f) == 105


def test_the_order_of_the_rows_does_not_matter():
    a = root()
    b, c = child(1, a), child(2, a)
    rows = [a, b, c, child(3, b), child(4, c)]
    assert keys_read(*rows) == keys_read(*reversed(rows)) == 104


def test_text_that_a_draft_catches_up_with_is_no_tail():
    assert keys_read(root(0, 99), root(1, 101)) == 102


def test_rows_of_all_depths_meet_in_the_coda():
    """Two rows at depths 1 and 0 have layers of their own in the group, and share the coda's."""
    shape = speed_shape(1, 2, coda=1)
    a = root()
    b = child(1, a)

    def program():
        yield Issue(Pass(0, (a,)))
        yield Issue(Pass(1, (a._replace(depth=1), b), (0, 1)))
        yield Wait(frozenset((1,)))
        yield Commit(0)
        yield Squash((1,))
        yield Retire(0)

    setting = Setting(tiny_stack(), Control("host"), "graph", None, frozenset((1, 2)))
    line = sim_machine(tiny_gpu(), tiny_stack(), shape, WHOLE, setting).play(program())
    writes = 1 + (2 + 2)
    reads = 100 + (100 + 101) + 101
    assert line.counters.requested_bytes["kv"] == (reads + writes) * shape.kv_bytes


def drafted(draft, capacity=10**9):
    """The timeline of one draft pass in front of a verification of its one row."""
    a = root()

    def program():
        yield Issue(Pass(0, (a,), (0,), model="draft"))
        yield Issue(Pass(1, (a,), (0,)))
        yield Wait(frozenset((1,)))
        yield Commit(0)
        yield Retire(0)

    setting = Setting(tiny_stack(), Control("host"), "graph", None, frozenset((1,)), concurrent=True,
                      models={"draft": (draft, WHOLE)})
    gpu = tiny_gpu(capacity=capacity, curve=((1.0, 1.0), (1.0, 0.0)))
    return sim_machine(gpu, tiny_stack(), speed_shape(2, 1), WHOLE, setting).play(program())


def test_a_borrowed_head_is_the_targets_to_the_cache_and_in_memory():
    target = speed_shape(2, 1)
    own, borrowed = speed_shape(1, 1, adapter=True), speed_shape(1, 1, adapter=True, heads=Heads(borrowed=True))
    assert drafted(own).counters.hbm_bytes["head"] == 2 * target.head_bytes
    assert drafted(borrowed).counters.hbm_bytes["head"] == target.head_bytes
    assert own.total_bytes - borrowed.total_bytes == own.head_bytes


def test_heads_that_stand_side_by_side_are_all_read_and_have_no_keys():
    """Five heads of one residual layer each, as Medusa's."""
    target, heads = speed_shape(2, 1), speed_shape(0, 1, heads=Heads(count=5, layers=1))
    line = drafted(heads)
    each = heads.weight_bytes(32128, 768) + heads.weight_bytes(768, 768)
    assert heads.total_bytes == heads.head_bytes == 5 * each
    assert line.counters.requested_bytes["head"] == target.head_bytes + 5 * each
    assert line.counters.requested_bytes["kv"] == (100 + 1) * 2 * target.kv_bytes


def test_further_models_are_counted_apart_from_the_target():
    """One draft pass, one verification of two rows, then the accepted keys are copied."""
    model, draft = speed_shape(2, 1), speed_shape(1, 1, ffn=1024)
    a = root()
    b = child(1, a)

    def program():
        yield Issue(Pass(0, (a,), (0,), model="draft"))
        yield Issue(Pass(1, (a, b), (0, 1)))
        yield Wait(frozenset((1,)))
        yield Commit(0)
        yield Commit(1)
        yield Compact(0, (1,))
        yield Retire(0)

    setting = Setting(tiny_stack(), Control("host"), "graph", None, frozenset((1,)), concurrent=True,
                      models={"draft": (draft, WHOLE)})
    line = sim_machine(tiny_gpu(), tiny_stack(), model, WHOLE, setting).play(program())
    count = line.counters
    assert (count.passes, count.draft_passes, count.row_passes, count.head_reads) == (1, 1, 2, 2)
    assert count.requested_bytes["weights"] == model.group_bytes + draft.group_bytes
    assert count.requested_bytes["head"] == 2 * model.head_bytes
    copied = 2 * model.layers * model.kv_bytes
    read = (101 + 2) * 2 * model.kv_bytes + (100 + 1) * draft.kv_bytes
    assert count.requested_bytes["kv"] == read + copied
