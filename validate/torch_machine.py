"""Plays a program on the reference decoder: the simulated machine's twin of real kernels.

    Issue  -> kept until the next Wait: the run of issues is one launch unit
    Wait   -> the unit is launched, 4 bytes a read row come back, the host synchronises and goes on
    Commit, Squash, Retire -> bookkeeping; times are read on the host's clock

This is control `host`. Decisions on the device are device_control.py. Prompts are prefilled when their sequence's first
row is issued; the clock stands still meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from speedsim.program import NOTHING, Command, Commit, Issue, Pass, Program, Retire, Squash, Wait
from speedsim.timeline import Timeline

from .account import Account, Clock
from .execution_log import ExecutionLog
from .refusal import RefusedError
from .seating import Seating
from .units import Units

Prompts = Mapping[int, Sequence[int]]
"""Tokens of each sequence's prompt, positions 0 .. first."""


class TorchMachine:
    """A stage that plays programs. Sequences without a prompt start from random keys and values: their times are real,
    their text is not."""

    def __init__(self, units: Units, source: str, prompts: Prompts | None = None, log: ExecutionLog | None = None,
                 notes: Sequence[str] = ()) -> None:
        self._units, self._stage = units, units.stage
        self._source, self._prompts, self._log = source, prompts or {}, log
        self._notes = [
            *notes, *units.notes,
            "measured: passes of one launch unit are not timed apart; time on the device is not divided: it is `wait`",
            "measured: kernels, bytes and flop were not counted",
        ]
        self._unit: list[Pass] = []

    def play(self, program: Program) -> Timeline:
        """Run the program to its end."""
        shape = self._stage.decoder.shape
        self._seating = Seating(self._stage.seats, self._stage.places, shape.repetitions)
        self._account = Account(self._source, shape.repetitions, self._notes)
        self._unit, before = [], self._units.captured
        self._synchronise()
        self._clock = Clock()
        try:
            command = next(program)
            while True:
                command = program.send(self._obey(command))
        except StopIteration:
            self._flush()
        if self._units.captured > before:
            made = self._units.captured - before
            self._account.note(f"{made} graphs were captured during the run: play it once more")
        return self._account.timeline()

    def _obey(self, command: Command) -> frozenset[int]:
        """Do what the program says; a Wait is answered with its passes."""
        if isinstance(command, Issue):
            self._issue(command.item)
        elif isinstance(command, Wait):
            self._flush()
            return command.passes
        elif isinstance(command, Commit):
            self._account.commit(command.token, self._clock.now())
            self._seating.commit(command.token)
        elif isinstance(command, Squash):
            self._account.squash(command.tokens)
            self._seating.squash(command.tokens)
        elif isinstance(command, Retire):
            self._account.retire(command.sequence)
            self._seating.retire(command.sequence)
        else:
            raise RefusedError(f"this machine does not play {type(command).__name__}")
        return NOTHING

    def _issue(self, item: Pass) -> None:
        """Seat the pass's rows and keep it for the unit's launch."""
        if item.model != "target" or item.device or item.stream or item.after:
            raise RefusedError(f"pass {item.id}: this machine runs one model on one stream of one device")
        highest = max(row.position for row in item.rows)
        if highest >= self._stage.max_len:
            raise RefusedError(f"position {highest} lies beyond the {self._stage.max_len} positions of this machine")
        self._seating.admit(item, self._enter)
        self._account.entered(item, self._clock.now())
        self._unit.append(item)

    def _enter(self, sequence: int, place: int) -> None:
        """Prefill a sequence's prompt while the clock stands still."""
        self._flush()
        self._synchronise()
        self._clock.stop()
        prompt = self._prompts.get(sequence)
        if prompt is None:
            word = (sequence * 7919 + 1) % self._stage.decoder.shape.vocab
            self._stage.words[self._stage.prompt_word(place)] = word
        else:
            self._stage.prefill(place, torch.tensor(prompt, device=self._stage.device))
        self._synchronise()
        self._clock.go_on()

    def _flush(self) -> None:
        """Launch what was issued, wait for it, and tell the log what its heads said."""
        if not self._unit:
            return
        unit, self._unit = self._unit, []
        start = self._clock.now()
        seated = [self._seating.seat(item) for item in unit]
        widths = self._units.run(seated, [item.repetitions for item in unit])
        said = self._units.answers(seated)
        self._account.ran(unit, widths, (start, self._clock.now()))
        if self._log is not None:
            for item, predictions in zip(unit, said, strict=True):
                self._log.hear(item, predictions)

    def _synchronise(self) -> None:
        if self._stage.device.type == "cuda":
            torch.cuda.synchronize(self._stage.device)
