"""Does every schedule found in sim/schedules keep the contract?"""

from __future__ import annotations

import typing

import pytest
from contract import CLAUSES
from speedsim.registry import names, schedule
from speedsim.schedule_names import canonical, schedule_named


def example(name):
    """The schedule with its defaults; a model that it must be given is called tiny."""
    cls = schedule(name)
    given = [key for key, hint in typing.get_type_hints(cls).items()
             if str in typing.get_args(hint) and getattr(cls(), key) is None]
    return schedule_named(f"{name}:{','.join(f'{key}=tiny' for key in given)}")[0]


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
@pytest.mark.parametrize("repetitions", [1, 4])
@pytest.mark.parametrize("name", names("schedules"))
def test_a_schedule_keeps_the_contract(name, repetitions, clause):
    made = example(name)
    try:
        made.reads(repetitions)
    except ValueError as error:
        pytest.skip(f"not for {repetitions} repetitions: {error}")
    clause(made, repetitions)


@pytest.mark.parametrize("name", names("schedules"))
def test_a_schedule_has_one_canonical_name(name):
    made, text = schedule_named(name)
    assert text == name == canonical(name, made)
