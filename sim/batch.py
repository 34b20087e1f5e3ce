"""Merges the programs of B sequences into one: rows of equal kind ride in one pass, in lock step.

A schedule describes one sequence. Here every live sequence runs up to its next Issue; Issues of equal model, device,
stream and repetitions become one pass. A Wait of one is a Wait of all: nothing more is issued before it is answered.
While anyone drafts with a further model the others' passes of the target wait, so that one pass checks all drafts.
A merged pass is cancelled when everyone whose rows ride in it has cancelled theirs. Moves name tokens, which are the
run's, and go through as they are.
When a sequence ends, the next one takes its place. With B = 1 the program is that of the sequences one after the other,
command for command.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice

from .program import NOTHING, TARGET, Cancel, Command, Ids, Issue, Pass, Program, Retire, Wait


def in_lock_step(programs: Iterable[tuple[int, Program]], places: int, ids: Ids) -> Program:
    """One program of many (sequence, program) pairs, `places` of them live at a time.

    Pass ids of the merged passes come from `ids`; the ids in the sequences' own Waits and `after` are translated.
    """
    if places == 1:
        for sequence, program in programs:
            yield from program
            yield Retire(sequence)
        return
    waiting = iter(programs)
    live = [_Place(*pair) for pair in islice(waiting, places)]
    riders: dict[int, int] = {}
    while live:
        for index, place in enumerate(live):
            live[index] = yield from _to_next_stop(place, waiting, riders)
        live = [place for place in live if place.command is not None]
        waits = [(place, place.command) for place in live if type(place.command) is Wait]
        if waits:
            yield from _wait(waits)
        else:
            issues = [(place, place.command.item) for place in live if type(place.command) is Issue]
            drafts = [pair for pair in issues if pair[1].model != TARGET]
            yield from _issue(drafts or issues, ids, riders)


def _to_next_stop(place: _Place, waiting: Iterator[tuple[int, Program]], riders: dict[int, int]
                  ) -> Generator[Command, frozenset[int], _Place]:
    """Run a place up to its next Issue or Wait; a sequence that ends makes way for the next one.

    `riders` are the sequences in each merged pass that have not cancelled it.
    """
    while type(place.command) is not Issue and type(place.command) is not Wait:
        if type(place.command) is Cancel:
            merged = place.merged[place.command.id]
            riders[merged] -= 1
            place.cancelled.add(place.command.id)
            if not riders[merged]:
                yield Cancel(merged)
            place.advance(NOTHING)
            continue
        if place.command is not None:
            yield place.command
            place.advance(NOTHING)
            continue
        yield Retire(place.sequence)
        following = next(waiting, None)
        if following is None:
            return place
        place = _Place(*following)
    return place


def _issue(issues: list[tuple[_Place, Pass]], ids: Ids, riders: dict[int, int]) -> Program:
    """Merge the issues of equal kind and send their programs on."""
    kinds: dict[tuple[str, int, int, int], list[tuple[_Place, Pass]]] = {}
    for place, item in issues:
        kinds.setdefault((item.model, item.device, item.stream, item.repetitions), []).append((place, item))
    for (model, device, stream, repetitions), members in kinds.items():
        merged = Pass(
            ids.a_pass(),
            tuple(row for _, item in members for row in item.rows),
            tuple(token for _, item in members for token in item.exits),
            repetitions, model, device, stream,
            tuple(dict.fromkeys(place.merged[a] for place, item in members for a in item.after)),
        )
        riders[merged.id] = len(members)
        yield Issue(merged)
        for place, item in members:
            place.merged[item.id] = merged.id
            place.advance(NOTHING)


def _wait(waits: list[tuple[_Place, Wait]]) -> Program:
    """One wait for everything that any sequence waits for; each is answered with its own passes."""
    wanted = frozenset(place.merged[p] for place, wait in waits for p in wait.passes)
    ended = yield Wait(wanted, all(wait.any for _, wait in waits))
    for place, wait in waits:
        own = frozenset(p for p in wait.passes if place.merged[p] in ended)
        if own >= wait.passes - place.cancelled or (wait.any and own):
            place.advance(own)


class _Place:
    """A place in the batch: the sequence in it, its next command, and the merged passes its own became; no
    Wait of its own needs those that it has cancelled."""

    def __init__(self, sequence: int, program: Program) -> None:
        self.sequence = sequence
        self.program = program
        self.merged: dict[int, int] = {}
        self.cancelled: set[int] = set()
        self.command: Command | None = next(program, None)

    def advance(self, answer: frozenset[int]) -> None:
        """Answer the current command and fetch the next; None when the program has ended."""
        try:
            self.command = self.program.send(answer)
        except StopIteration:
            self.command = None
