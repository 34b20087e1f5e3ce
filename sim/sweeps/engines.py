"""Who computes the blocks of a sweep: this process, processes of this machine, or a dask cluster.

An engine takes the points and the blocks that are missing and yields (number, content) as they come, in any order. Only
the caller writes. Workers of this machine end when it does, however it ends. A cluster needs speedsim installed on its
workers, and no disk in common: the descriptions and the trace go along.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from ..units import InputError, NotCoveredError
from .grid import Block
from .points import Points
from .table import packed

Work = Sequence[tuple[int, Block]]
CONNECT_S = 10
"""How long a cluster's scheduler may take to answer."""
MOST_WORKERS = 1024
AHEAD = 2
"""Blocks that a worker of a cluster is given at a time."""


class Engine(Protocol):
    """Computes blocks."""

    def __call__(self, points: Points, work: Work) -> Iterator[tuple[int, bytes]]:
        """Yield every block's number and content, in any order."""
        ...


def chosen(name: str, workers: int | None, address: str | None) -> Engine:
    """The engine that the options of the command line name."""
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"--workers {workers}: must be 1 or more, and at most {MOST_WORKERS}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if address is not None:
        return cluster(address, workers or cores)
    return serial if name == "serial" else processes(workers or cores)


def serial(points: Points, work: Work) -> Iterator[tuple[int, bytes]]:
    """In this process, one after the other."""
    for number, block in work:
        yield number, computed(points, block)


def computed(points: Points, block: Block) -> bytes:
    """The content of a block."""
    return packed(points.block(block), block.stop - block.first)


def processes(count: int) -> Engine:
    """So many processes of this machine."""

    def engine(points: Points, work: Work) -> Iterator[tuple[int, bytes]]:
        how = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(how)
        waiting = iter(work)
        crew: dict[Connection, Any] = {}
        try:
            for _ in range(min(count, len(work))):
                here, there = context.Pipe()
                worker = context.Process(target=_serve, args=(points, there), daemon=True)
                worker.start()
                there.close()
                crew[here] = worker
                here.send(next(waiting, None))
            while crew:
                ready: Any = wait(list(crew))
                for here in ready:
                    answer = _received(here, crew[here])
                    following = next(waiting, None)
                    here.send(following)
                    if following is None:
                        crew.pop(here).join()
                    yield answer
        finally:
            for worker in crew.values():
                worker.kill()
                worker.join()

    return engine


def _received(connection: Connection, worker: Any) -> tuple[int, bytes]:
    """A worker's answer. Raises what it raised."""
    try:
        answer = connection.recv()
    except (EOFError, OSError):
        worker.join()
        raise InputError(f"a worker process ended by itself (exit code {worker.exitcode}; out of memory?); what was "
                         "computed is kept: start again, with fewer --workers") from None
    if isinstance(answer, Exception):
        raise answer
    number, content = answer
    return number, content


def _serve(points: Points, connection: Connection) -> None:
    """A worker's life: blocks in, contents out, until there are no more or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    while (item := connection.recv()) is not None:
        number, block = item
        try:
            connection.send((number, computed(points, block)))
        except Exception as error:  # the parent raises it
            connection.send(error)


def _follow(parent: Any) -> None:
    """End when the parent has ended."""
    parent.join()
    os._exit(1)


def cluster(address: str, workers: int) -> Engine:
    """A dask cluster: the address of its scheduler, or `local` for so many workers on this machine."""

    def engine(points: Points, work: Work) -> Iterator[tuple[int, bytes]]:
        client, place = _connected(address, workers)
        try:
            shared = client.scatter(points, broadcast=True, hash=False)
            waiting = iter(work)
            running: dict[Any, int] = {}
            for number, block in islice(waiting, AHEAD * max(1, len(client.nthreads()))):
                running[client.submit(computed, shared, block, pure=False)] = number
            while running:
                for future in _finished(client, list(running), address):
                    yield running.pop(future), future.result()
                    following = next(waiting, None)
                    if following is not None:
                        running[client.submit(computed, shared, following[1], pure=False)] = following[0]
        finally:
            client.close()
            if place is not None:
                place.close()

    return engine


def _connected(address: str, workers: int) -> tuple[Any, Any]:
    """(client, the cluster where it was started for this sweep)."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise NotCoveredError("--cluster needs dask: pip install 'speedsim[cluster]'") from None
    place: Any = None
    try:
        if address == "local":
            place = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        client: Any = Client(place or address, timeout=CONNECT_S)
    except (OSError, ValueError) as error:
        raise InputError(f"--cluster {address}: no scheduler answers ({_first_line(error)})") from None
    return client, place


def _finished(client: Any, futures: list[Any], address: str) -> list[Any]:
    """Those that have ended, once any has. Raises InputError when the scheduler is gone."""
    from distributed import wait as until

    while True:
        try:
            return list(until(futures, timeout=CONNECT_S, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            alive = client.status == "running"
        except (OSError, CancelledError):
            alive = False
        if not alive:
            raise InputError(f"--cluster {address}: the scheduler is gone; what was computed is kept: start again")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
