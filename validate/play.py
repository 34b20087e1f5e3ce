"""`replay` and `live`: a schedule on the reference decoder, answered by a trace or by the decoder itself.

    replay   TraceOracle: the same passes and shapes as the prediction, on real kernels
    live     LiveOracle: what the decoder really says; its log is an execution log, and the source of traces

Live decoding anywhere in the project is this and nothing else. Under device control the device decides; the program
then plays over what the device logged, and the run is refused unless every row of every pass is the program's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from speedsim import trace
from speedsim.batch import in_lock_step
from speedsim.oracle import TraceOracle
from speedsim.program import NOTHING, Commit, Ids, Issue, Oracle, Program, Retire, Schedule, Squash, Text, Wait, watched
from speedsim.timeline import Timeline
from speedsim.workloads.decoder import Decoder

from .account import Account
from .attention import backend
from .attention import plan as plan_named
from .device_control import DeviceForm, DeviceLoop, DeviceRun
from .execution_log import ExecutionLog, LiveOracle, LogOracle
from .refusal import RefusedError
from .stage import Stage
from .torch_machine import Prompts, TorchMachine
from .units import Units


def program_of(schedule: Schedule, oracle: Oracle, texts: Iterable[Text], batch: int = 1) -> Program:
    """The program of many sequences, `batch` of them live at a time; its oracle hears of every issue."""
    ids = Ids()
    return watched(in_lock_step([(t.sequence, schedule.program(oracle, t, ids)) for t in texts], batch, ids), oracle)


def texts_of(sequences: Iterable[trace.Sequence], repetitions: int) -> list[Text]:
    """What a schedule may know of recorded sequences."""
    return [Text(s.id, s.first, None if s.end == "eos" else s.count, repetitions) for s in sequences]


class Player:
    """A decoder on a device, ready to play; graphs that one run captured serve the next."""

    def __init__(self, decoder: Decoder, max_len: int, *, source: str, control: str = "host", launch: str = "graph",
                 widths: tuple[int, ...] | None = None, batch: int = 1, attention: str = "auto", step: str = "plain",
                 plan: str = "auto", notes: Sequence[str] = ()) -> None:
        if control not in ("host", "device"):
            raise RefusedError(f"control {control!r}: this machine plays host and device")
        if control == "device" and batch != 1:
            raise RefusedError(f"batch {batch}: device control is measured with one sequence at a time")
        g = decoder.shape.repetitions
        most_rows = max(64, batch * g, *(widths or ()))
        attend = backend(attention, str(decoder.embed.weight.device))
        kernels = plan_named(plan, launch, attend)
        self.stage = Stage(decoder, most_rows + batch, batch, max_len, attend, kernels)
        self.units = Units(self.stage, launch, widths, most_rows, max(64, g))
        self._source, self._control, self._batch, self._step = source, control, batch, step
        self._notes = [*notes, f"plan {kernels}", f"attention {attend.__name__}"]
        self._loops: dict[tuple[object, bool], DeviceLoop] = {}

    def replay(self, schedule: Schedule, sequences: Sequence[trace.Sequence]) -> Timeline:
        """Play a schedule over recorded facts. The text on the device is random: only times and shapes are real."""
        g = self.stage.decoder.shape.repetitions
        texts = texts_of(sequences, g)
        if self._control == "device":
            return self._on_device(schedule, texts, {}, None, {s.id: s for s in sequences})
        oracle = TraceOracle({s.id: s for s in sequences})
        machine = TorchMachine(self.units, self._source, notes=[*self._notes, "replay of a trace"])
        return machine.play(program_of(schedule, oracle, texts, self._batch))

    def live(self, schedule: Schedule, texts: Sequence[Text], prompts: Prompts, eos: int | None = None,
             log: ExecutionLog | None = None) -> Timeline:
        """Decode live; `prompts` hold positions 0 .. first of each text, `eos` ends a text."""
        for text in texts:
            if len(prompts[text.sequence]) != text.first + 1:
                raise RefusedError(f"sequence {text.sequence}: its first row stands at position {text.first}, "
                                   f"its prompt has {len(prompts[text.sequence])} tokens")
        log = ExecutionLog(self.stage.decoder.shape.repetitions) if log is None else log
        log.eos = eos
        if self._control == "device":
            return self._on_device(schedule, texts, prompts, eos, None, log)
        machine = TorchMachine(self.units, self._source, prompts, log, [*self._notes, "live"])
        return machine.play(program_of(schedule, LiveOracle(log), texts, self._batch))

    def _on_device(self, schedule: Any, texts: Sequence[Text], prompts: Prompts, eos: int | None,
                   facts: dict[int, trace.Sequence] | None, log: ExecutionLog | None = None) -> Timeline:
        """Decode with the device's decisions, then check them and keep the account."""
        g = self.stage.decoder.shape.repetitions
        if schedule.slots(g) is None or not hasattr(schedule, "step"):
            raise RefusedError(f"{schedule}: it has no device form")
        log = ExecutionLog(g) if log is None else log
        log.eos = eos
        loop = self._loop(schedule, facts is not None)
        runs = []
        for text in texts:
            token = self._enter(text, prompts)
            sequence = None if facts is None else facts[text.sequence]
            if sequence is not None and sequence.end == "eos":
                log.last[text.sequence] = sequence.first + sequence.count - 1
            runs.append(loop.run(text, token, eos, sequence))
            log.sweeps.extend(runs[-1].sweeps)
        notes = [*self._notes, *self.units.notes, *loop.notes, "live" if facts is None else "replay of a trace",
                 "control device: heads of all slots are computed",
                 "measured: kernels, bytes and flop were not counted; time on the device is `wait`"]
        return _checked(schedule, texts, runs, log, loop.slots, Account(self._source, g, notes))

    def _loop(self, schedule: DeviceForm, replays: bool) -> DeviceLoop:
        known = self._loops.get((schedule, replays))
        if known is None:
            steps = self.stage.max_len * self.stage.decoder.shape.repetitions
            known = DeviceLoop(self.stage, schedule, self.units.launch, steps, self._step, replays)
            self._loops[schedule, replays] = known
        return known

    def _enter(self, text: Text, prompts: Prompts) -> int:
        """Prefill the prompt into place 0; its last token."""
        prompt = prompts.get(text.sequence)
        if prompt is None:
            return (text.sequence * 7919 + 1) % self.stage.decoder.shape.vocab
        self.stage.prefill(0, torch.tensor(prompt, device=self.stage.device))
        return int(prompt[-1])


def _checked(schedule: Schedule, texts: Sequence[Text], runs: Sequence[DeviceRun], log: ExecutionLog, slots: int,
             account: Account) -> Timeline:
    """The account of a device run, kept by the program itself over the log: other rows are refused."""
    oracle = LogOracle(log)
    unit_passes = len(schedule.unit(log.repetitions))  # type: ignore[attr-defined]
    spans = iter(_spans(runs))
    program, unit, now = program_of(schedule, oracle, texts), [], 0
    answer = NOTHING
    try:
        command = next(program)
        while True:
            answer = NOTHING
            if isinstance(command, Issue):
                account.entered(command.item, now)
                unit.append(command.item)
                if len(unit) == unit_passes:
                    start, now = next(spans)
                    account.ran(unit, [slots] * unit_passes, (start, now), slots - len(unit[0].rows))
                    unit = []
            elif isinstance(command, Wait):
                answer = command.passes
            elif isinstance(command, Commit):
                account.commit(command.token, now)
            elif isinstance(command, Squash):
                account.squash(command.tokens)
            elif isinstance(command, Retire):
                account.retire(command.sequence)
            command = program.send(answer)
    except StopIteration:
        oracle.finish()
    log.heard.update(oracle.heard)
    return account.timeline()


def _spans(runs: Sequence[DeviceRun]) -> Iterable[tuple[int, int]]:
    """(start, end) of every step, sequences one after the other without their prefills."""
    base = 0
    for run in runs:
        start = 0
        for end in run.step_ends_ps:
            yield base + start, base + end
            start = end
        base += start
