"""Answers for the explorer, computed while its reader waits, and the server that gives them, on this machine only.

The text is synthetic and short, so that an answer takes a fraction of a second: flips fall by half from exit to exit.
What a reader sees is the engine's own answer to the command that stands below it.
Loopback only; the Host header must name it (a page elsewhere cannot ask through a foreign name); nothing is written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..metrics import speedup
from ..registry import names
from ..scenario import Resolved, Scenario, plainly, play, resolve
from ..shelf import Shelf
from ..stack import LAUNCHES
from ..timeline import Timeline
from ..uncertainty import at_corners, parts
from ..units import InputError, NotCoveredError
from .explore import live_page

MOST_KEPT = 4096
"""Answers remembered."""
SHORTEST, LONGEST = 12, 64
"""Tokens of a sequence: fewer where many are decoded at a time."""


class Engine:
    """Answers questions of the explorer one at a time and remembers them."""

    def __init__(self) -> None:
        self._shelf, self._lock = Shelf(), threading.Lock()
        self._answers: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
        self._plain: dict[Scenario, Timeline] = {}
        self.axes = self._axes()

    def _axes(self) -> list[dict[str, Any]]:
        models = [name for name in names("models") if self._shelf.model(name).value.repetitions > 1]
        gpus = [name for name in names("gpus") if "@" not in name]

        def choice(name: str, label: str, values: list[str], start: str) -> dict[str, Any]:
            return {"name": name, "label": label, "values": values, "kind": "choice", "start": values.index(start)}

        def slide(name: str, label: str, values: list[Any], start: Any) -> dict[str, Any]:
            return {"name": name, "label": label, "values": [str(value) for value in values], "kind": "slide",
                    "start": values.index(start)}

        return [
            choice("gpu", "GPU", gpus, "h200_sxm"), choice("stack", "stack", names("stacks"), "torch_graph"),
            choice("launch", "launch", ["as the stack", *LAUNCHES], "as the stack"),
            choice("model", "model", models, "speed_2x6"), choice("schedule", "schedule", names("schedules"), "speed"),
            slide("depth", "most tokens in flight", [1, 2, 3, 4, 5, 6, 8, 12, 16], 6),
            slide("flip", "first guesses that change, %", [0, 2, 5, 10, 15, 20, 30, 40, 60], 15),
            slide("bandwidth", "HBM bandwidth, times the card's", [0.25, 0.5, 0.75, 1, 1.5, 2, 4], 1),
            slide("l2", "L2 capacity, times the card's", [0, 0.25, 0.5, 1, 2, 4], 1),
            slide("batch", "sequences at a time", [1, 2, 4, 8, 16], 1),
            slide("context", "position of the first token", [64, 256, 1024, 4096, 16384, 65536], 256),
        ]

    def answer(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What the page shows of a point, `refused` where it has no answer. Raises InputError for no point of it."""
        known = {axis["name"]: axis["values"] for axis in self.axes}
        if asked.keys() != known.keys() or any(value not in known[name] for name, value in asked.items()):
            raise InputError("not a point of the explorer")
        key = tuple(sorted(asked.items()))
        with self._lock:
            found = self._answers.get(key)
            if found is None:
                if len(self._answers) >= MOST_KEPT:
                    self._answers.clear()
                    self._plain.clear()
                try:
                    found = self._computed(self._scenario(asked))
                except (InputError, NotCoveredError) as error:
                    found = {"refused": str(error)}
                self._answers[key] = found
            return found

    def _scenario(self, asked: Mapping[str, str]) -> Scenario:
        model = self._shelf.model(asked["model"]).value
        gpu = self._shelf.gpu(asked["gpu"]).value
        batch, first = int(asked["batch"]), int(asked["flip"]) / 100
        flips = "+".join(f"{first / 2 ** exit_:.4g}" for exit_ in range(model.repetitions - 1))
        count = max(SHORTEST, LONGEST // batch)
        schedule = asked["schedule"]
        if schedule == "speed":
            schedule += f":max_in_flight={min(int(asked['depth']), model.repetitions)}"
        changes = []
        if asked["bandwidth"] != "1":
            bandwidth = gpu.hbm.bandwidth_bytes_per_s * float(asked["bandwidth"])
            changes.append(("hbm.bandwidth", f"{bandwidth / 1e9:.6g}GB/s"))
        if asked["l2"] != "1":
            changes.append(("l2.capacity", f"{round(gpu.l2.capacity_bytes * float(asked['l2']) / 2**20)}MiB"))
        return Scenario(
            gpu=asked["gpu"], stack=asked["stack"], model=asked["model"], schedule=schedule, batch=batch,
            launch=None if asked["launch"] == "as the stack" else asked["launch"], record="summary",
            synth=f"flips={flips},count={count},sequences={batch},first={asked['context']}", sets=tuple(changes))

    def _computed(self, scenario: Scenario) -> dict[str, Any]:
        mine = resolve(scenario, self._shelf)
        line = play(mine)
        plain = self._plainly(mine)
        count, tokens = line.counters, max(1, line.counters.committed_tokens)
        found: dict[str, Any] = {
            "time": _per_token(line), "plain": _per_token(plain), "gain": speedup(line, plain),
            "passes": count.passes / tokens, "rows": count.row_passes / max(1, count.passes),
            "tps": tokens * 1e12 / line.decode_ps if line.decode_ps else None,
            "hbm": sum(count.hbm_bytes.values()) / tokens / 1e6, "command": _command(scenario),
            **{f"b_{bound}": time / 1e6 / tokens for bound, time in line.bound_ps.items()},
            **{f"p_{bound}": time / 1e6 / tokens for bound, time in plain.bound_ps.items()},
        }
        ranges = mine.stack.value.uncertainty
        if found["gain"] and scenario.tier in ranges.device:
            own, other = parts(line.bound_ps), parts(plain.bound_ps)
            ratio = at_corners(other, ranges, scenario.tier) / at_corners(own, ranges, scenario.tier)
            found |= {"low": float(ratio.min()), "high": float(ratio.max())}
        return found


    def _plainly(self, mine: Resolved) -> Timeline:
        """The rival's run, which knows of the text only how long it is."""
        lengths = (mine.scenario.synth or "").partition(",")[2]
        key = replace(mine.scenario, schedule="autoregressive", synth=lengths)
        if key not in self._plain:
            self._plain[key] = play(plainly(mine))
        return self._plain[key]


def _per_token(line: Timeline) -> float:
    return sum(d.end_ps - d.start_ps for d in line.decodes) / 1e6 / max(1, line.counters.committed_tokens)


def _command(scenario: Scenario) -> str:
    words = ["speedsim run", f"--gpu {scenario.gpu}", f"--stack {scenario.stack}", f"--model {scenario.model}",
             f"--schedule {scenario.schedule}", f"--batch {scenario.batch}", f"--synth {scenario.synth}"]
    words += [f"--launch {scenario.launch}"] if scenario.launch else []
    return " ".join([*words, *(f"--set {key}={value}" for key, value in scenario.sets)])


def server(port: int) -> ThreadingHTTPServer:
    """The explorer on http://127.0.0.1:PORT; port 0 takes a free one. Raises InputError where the port is taken."""
    engine = Engine()
    page = live_page(engine.axes).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """The page, or an answer."""
            own = self.connection.getsockname()[1]
            if self.headers.get("Host") not in (f"127.0.0.1:{own}", f"localhost:{own}"):
                return self._reply(HTTPStatus.FORBIDDEN, "text/plain", b"only this machine is answered\n")
            where = urlsplit(self.path)
            if where.path == "/":
                return self._reply(HTTPStatus.OK, "text/html; charset=utf-8", page)
            if where.path != "/answer":
                return self._reply(HTTPStatus.NOT_FOUND, "text/plain", b"there is only / and /answer\n")
            try:
                found = engine.answer(dict(parse_qsl(where.query, max_num_fields=32)))
            except (InputError, ValueError) as error:
                return self._reply(HTTPStatus.BAD_REQUEST, "text/plain", f"{error}\n".encode())
            return self._reply(HTTPStatus.OK, "application/json", json.dumps(found, allow_nan=False).encode())

        def _reply(self, status: HTTPStatus, kind: str, body: bytes) -> None:
            self.send_response(status)
            told = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store",
                    "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a slider asks many times."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"--port {port}: {error}") from None
