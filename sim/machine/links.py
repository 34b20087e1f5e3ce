"""Roads between devices, and which hidden states have been carried over them.

A transfer takes latency + bytes / rate, one at a time in each direction. It starts when what it carries is there and
the road is free, in the order in which they are ready; the road is taken during the latency, too. Passes with tokens
whose states were carried to their device wait for them.
Ignored: a switch that several roads share; what the copy engine takes of the memory's bandwidth; the host's call.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import simpy

from ..hardware import Gpu
from ..timeline import Span
from ..units import InputError, NotCoveredError, duration_ps
from .recorder import Recorder


class _State(NamedTuple):
    """A token's hidden state: where it is, from when on, and its size."""

    device: int
    there: simpy.Event
    bytes: int


class Links:
    """The links of all devices."""

    def __init__(self, env: simpy.Environment, gpu: Gpu, recorder: Recorder) -> None:
        self._env, self._gpu, self._recorder = env, gpu, recorder
        self._roads: dict[tuple[int, int], simpy.Resource] = {}
        self._states: dict[int, _State] = {}
        """By token."""
        self._arrivals: dict[tuple[int, int], simpy.Event] = {}
        """When a token's state is on a device to which it was carried."""

    def left(self, token: int, device: int, there: simpy.Event, size: int) -> None:
        """A pass will leave the token's state of so many bytes on the device, with this event."""
        self._states[token] = _State(device, there, size)

    def needs(self, tokens: Iterable[int], device: int) -> list[simpy.Event]:
        """Transfers that a pass with these tokens waits for on the device; their values are their ends."""
        if not self._arrivals:
            return []
        return [there for token in tokens if (there := self._arrivals.get((token, device))) is not None]

    def move(self, tokens: Iterable[int], device: int) -> None:
        """Carry states to the device, in one transfer from each device that holds any of them."""
        loads: dict[int, list[int]] = {}
        for token in tokens:
            if token not in self._states:
                raise InputError(f"Move: token {token} has been in no pass, or is text already")
            if self._states[token].device != device:
                loads.setdefault(self._states[token].device, []).append(token)
        for source, load in loads.items():
            states = [self._states[token] for token in load]
            there = self._carry(sum(s.bytes for s in states), source, device, [s.there for s in states])
            for token, state in zip(load, states, strict=True):
                self._states[token] = _State(device, there, state.bytes)
                self._arrivals[token, device] = there

    def drop(self, tokens: Iterable[int]) -> None:
        """Nobody will ask for these tokens' states any more."""
        for token in tokens:
            self._states.pop(token, None)

    def forget(self) -> None:
        """No sequence is left."""
        self._states.clear()
        self._arrivals.clear()

    def _carry(self, size: int, source: int, target: int, needs: list[simpy.Event]) -> simpy.Event:
        """An event whose value is when `size` bytes, there with all of `needs`, have arrived."""
        link = self._gpu.link
        if link.peer_bytes_per_s is None or link.latency_ps is None:
            what = "rate" if link.peer_bytes_per_s is None else "latency"
            raise NotCoveredError(f"{self._gpu.name}: its file has no {what} for a link to another GPU")
        took = link.latency_ps + duration_ps(size, link.peer_bytes_per_s)
        road = self._roads.setdefault((source, target), simpy.Resource(self._env, 1))
        return self._env.process(self._transfer(road, took, size, f"{source}>{target}", needs))

    def _transfer(self, road: simpy.Resource, took: int, size: int, name: str,
                  needs: list[simpy.Event]) -> Generator[simpy.Event, Any, int]:
        waiting = [event for event in needs if not event.triggered]
        if waiting:
            yield self._env.all_of(waiting)
        with road.request() as turn:
            yield turn
            begin: int = self._env.now  # type: ignore[assignment]
            yield self._env.timeout(took)
        self._recorder.beside(Span("link", name, begin, took, "wait", bytes_requested=size))
        return begin + took
