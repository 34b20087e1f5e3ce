"""Control `device`: the schedule's step runs on the GPU over fixed slots, and the host only launches.

    one launch:  log the slots;  sweep the group over all slots, empty ones included;  arg-max of every slot's head;
                 state = schedule.step(state, predictions);  what comes next is already on the device

The host keeps a few launches ahead and looks at the flag of an old one to learn that the text has ended, so the queue
never runs dry and a few launches at the end run for nobody. What ran is then compared, row by row, with the program
that the simulator plays: play.py feeds it the logged predictions, and a run whose rows differ is refused.

A replay answers from a trace instead of the heads (which run all the same): off-text tokens keep the guess OFF_TEXT.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from speedsim.oracle import OFF_TEXT
from speedsim.program import Ids, Oracle, Program, Text
from speedsim.trace import Sequence
from torch import Tensor

from .execution_log import Ran, Sweep
from .refusal import RefusedError
from .stage import Rows, Stage
from .units import WINDOW_BLOCK, capture

NO_TOKEN = -7
"""An end-of-sequence token that no head predicts."""
PS_PER_NS, PS_PER_MS = 1000, 10**9
AHEAD = 4
"""Launches that the host keeps ahead of the flag it looks at."""


class DeviceForm(Protocol):
    """A schedule whose decisions can be taken on the device. Its state has at least token, position, depth, live and
    seat, integer arrays [slots], the oldest row in slot 0."""

    def program(self, oracle: Oracle, text: Text, ids: Ids) -> Program: ...  # noqa: D102
    def slots(self, repetitions: int) -> int: ...  # noqa: D102
    def reads(self, repetitions: int) -> frozenset[int]: ...  # noqa: D102
    def unit(self, repetitions: int) -> tuple[int, ...]: ...  # noqa: D102
    def start(self, text: Text, token: int, eos: int, last: int) -> Any: ...  # noqa: D102
    def step(self, state: Any, predictions: Any) -> Any: ...  # noqa: D102


class Facts(NamedTuple):
    """A trace on the device."""

    exits: Tensor
    """[positions, G]."""
    first: Tensor
    length: Tensor

    def predictions(self, state: Any, repetitions: int) -> Tensor:
        """What the trace's oracle would answer for every slot behind a step of so many repetitions."""
        index = state.position - self.first
        known = index.clamp(0, len(self.exits) - 1)
        before = self.exits[(known - 1).clamp(min=0), -1]
        on_text = (index >= 0) & (index < self.length) & ((index == 0) | (state.token == before))
        exit = (state.depth + repetitions - 1).clamp(0, self.exits.shape[1] - 1)
        return torch.where(on_text, self.exits[known, exit], OFF_TEXT)


@dataclass(frozen=True)
class DeviceRun:
    """One sequence decoded on the device."""

    sweeps: list[Sweep]
    """What ran, pass by pass."""
    step_ends_ps: list[int]
    """When each step ended, from the start of the decode."""


class DeviceLoop:
    """The fixed-slot loop of one schedule on one stage: one graph, or eager."""

    def __init__(self, stage: Stage, schedule: DeviceForm, launch: str, most_steps: int, step: str = "plain",
                 replays: bool = False) -> None:
        g = stage.decoder.shape.repetitions
        self._stage, self._schedule, self._unit = stage, schedule, schedule.unit(g)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capture = launch == "graph" and stage.device.type == "cuda"
        self.slots = schedule.slots(g)
        if self.slots > stage.seats:
            raise RefusedError(f"{self.slots} slots: this machine has {stage.seats} seats")
        device = stage.device
        self._state = self._tensors(schedule.start(Text(0, 0, None, g), 0, NO_TOKEN, NO_TOKEN))
        self._tick = torch.zeros(1, dtype=torch.int64, device=device)
        self._record = torch.zeros(most_steps + AHEAD + 1, 4, self.slots, dtype=torch.int64, device=device)
        self._alive = torch.zeros(most_steps + AHEAD + 1, dtype=torch.bool, pin_memory=device.type == "cuda")
        number = torch.zeros((), dtype=torch.int64, device=device)
        exits = torch.zeros(stage.max_len + 1, g, dtype=torch.int64, device=device)
        self._facts = Facts(exits, number, number.clone()) if replays else None
        self._step: Callable[[Any, Tensor], Any] = schedule.step
        self.notes = [] if step == "plain" else [self._compile()]

    def _tensors(self, state: Any) -> Any:
        return type(state)(*[torch.tensor(x, device=self._stage.device) for x in state])

    def _compile(self) -> str:
        """Let the compiler fuse the step, if what it makes agrees with the plain step on this device."""
        try:
            fused = torch.compile(self._schedule.step, fullgraph=True, dynamic=False)
            draw = torch.Generator(self._stage.device).manual_seed(1)
            plain = state = self._tensors(self._schedule.start(Text(0, 5, 40, self._repetitions), 1, 2, NO_TOKEN))
            for _ in range(200):
                said = torch.randint(3, (self.slots,), device=self._stage.device, generator=draw)
                plain, state = self._schedule.step(plain, said), fused(state, said)
                if not all(torch.equal(a, b) for a, b in zip(plain, state, strict=True)):
                    return "the compiled step differs from the plain one: plain step used"
        except Exception as error:  # whatever the compiler raises, the plain step is there
            return f"the step could not be compiled ({type(error).__name__}): plain step used"
        self._step = fused
        return "the step is compiled"

    @property
    def _repetitions(self) -> int:
        return self._stage.decoder.shape.repetitions

    def run(self, text: Text, token: int, eos: int | None = None, facts: Sequence | None = None) -> DeviceRun:
        """Decode one sequence whose prompt is in place 0; answer from `facts` where the loop replays."""
        last = facts.first + facts.count - 1 if facts is not None and facts.end == "eos" else NO_TOKEN
        room = self._stage.max_len - text.first
        if text.limit is not None and text.limit > room:
            raise RefusedError(f"sequence {text.sequence}: {text.limit} positions from {text.first} on lie beyond the "
                               f"{self._stage.max_len} of this machine")
        # Nothing may leave the buffers, on a card least of all: a text that is to end by itself is cut at their end.
        open_end = text.limit is None
        text = text._replace(limit=room) if open_end else text
        start = self._tensors(self._schedule.start(text, token, NO_TOKEN if eos is None else eos, last))
        for own, new in zip(self._state, start, strict=True):
            own.copy_(new)
        if facts is not None and self._facts is not None:
            self._facts.exits[: facts.count].copy_(torch.from_numpy(facts.exit_tokens.astype("int64")))
            self._facts.first.fill_(facts.first)
            self._facts.length.fill_(facts.count)
        if self._capture and self._graph is None:
            self._graph = self._captured()
        self._tick.zero_()
        ends_ps = self._drive_here() if self._stage.device.type == "cpu" else self._drive_ahead()
        found = self._what_ran(text.sequence, ends_ps)
        if open_end and max(row.position for row in found.sweeps[-1].rows) == self._stage.max_len - 1:
            raise RefusedError(f"sequence {text.sequence}: the text reached the end of this machine's "
                               f"{self._stage.max_len} positions before its own")
        return found

    def _captured(self) -> torch.cuda.CUDAGraph:
        """The graph of one step; capturing runs the step, so the state is put back behind it."""
        kept = [x.clone() for x in self._state]
        graph = capture(self._body)
        for own, old in zip(self._state, kept, strict=True):
            own.copy_(old)
        return graph

    @torch.no_grad()
    def _body(self) -> None:
        """One step on the device."""
        stage, s = self._stage, self._state
        window = stage.max_len
        if stage.device.type == "cpu" and stage.backend.__name__ == "gather":
            highest = int((s.position * s.live).max())
            window = min(window, -(-(highest + 1) // WINDOW_BLOCK) * WINDOW_BLOCK)
        place = (~s.live).to(torch.int64) * stage.places
        rows = Rows(s.seat, s.seat, s.position * s.live, place, s.depth * s.live)
        states = stage.sweep(rows, s.token.clamp(0, stage.decoder.shape.vocab - 1), sum(self._unit), window)
        said = stage.heads(states)
        if self._facts is not None:
            said = self._facts.predictions(s, sum(self._unit))
        line = torch.stack((s.position, s.depth, s.live.to(torch.int64), said))
        self._record.index_copy_(0, self._tick, line.unsqueeze(0))
        for own, new in zip(s, self._step(s, said), strict=True):
            if new is not own:
                own.copy_(new)
        self._tick += 1

    def _drive_ahead(self) -> list[int]:
        """Launch until the flag of an old step says that the text has ended; when each step ended."""
        torch.cuda.synchronize()
        begin = torch.cuda.Event(enable_timing=True)
        begin.record()
        ends: list[torch.cuda.Event] = []
        while len(ends) < len(self._alive):
            if self._graph is None:
                self._body()
            else:
                self._graph.replay()
            self._alive[len(ends)].copy_(self._state.live[0], non_blocking=True)
            end = torch.cuda.Event(enable_timing=True)
            end.record()
            ends.append(end)
            if len(ends) > AHEAD:
                ends[-1 - AHEAD].synchronize()
                if not self._alive[len(ends) - 1 - AHEAD]:
                    torch.cuda.synchronize()
                    return [int(begin.elapsed_time(e) * PS_PER_MS) for e in ends]
        raise RefusedError(f"the text has not ended after {len(ends)} steps")

    def _drive_here(self) -> list[int]:
        """The same on a processor, where a step has ended when its call returns."""
        begin = time.perf_counter_ns()
        ends: list[int] = []
        while bool(self._state.live[0]):
            if len(ends) >= len(self._alive):
                raise RefusedError(f"the text has not ended after {len(ends)} steps")
            self._body()
            ends.append((time.perf_counter_ns() - begin) * PS_PER_NS)
        return ends

    def _what_ran(self, sequence: int, ends_ps: list[int]) -> DeviceRun:
        """The record as passes; steps launched behind the end of the text are left out."""
        record = self._record[: len(ends_ps)].tolist()
        counts = self._schedule.reads(self._repetitions)
        sweeps: list[Sweep] = []
        for steps, (position, depth, live, said) in enumerate(record):
            if not live[0]:
                ends_ps = ends_ps[:steps]
                break
            done = 0
            for repetitions in self._unit:
                after = done + repetitions
                sweeps.append(Sweep(repetitions, tuple([
                    Ran(sequence, position[i], depth[i] + done, said[i] if depth[i] + after in counts else None)
                    for i in range(self.slots) if live[i]
                ])))
                done = after
        return DeviceRun(sweeps, ends_ps)
