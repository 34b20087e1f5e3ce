"""Does the explorer show what was computed, answer this machine alone, and write nothing?"""

from __future__ import annotations

import http.client
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from browser import opened
from speedsim.cli import main
from speedsim.report.live import LONGEST, Engine, server
from speedsim.report.tables import sweep
from speedsim.result import answer
from speedsim.scenario import Scenario

OVER = ["--over", "schedule.max_in_flight=1:3", "--over", "batch=1,2", "--over", "gpu=l4,h200_sxm"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    assert main(["sweep", "--synth", "flips=0.15+0.06+0.03+0.02+0.01,count=20,sequences=2", "--tier", "roofline", *OVER,
                 "--engine", "serial", "--out", str(out)]) == 0
    return out


@contextmanager
def serving():
    with server(0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_address[1]
        finally:
            running.shutdown()
            thread.join(timeout=30)


def ask(port, path, host=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    reply = connection.getresponse()
    return reply.status, reply.read()


def start():
    return {axis["name"]: axis["values"][axis["start"]] for axis in Engine().axes}


def test_a_slider_in_chromium_shows_the_point_of_the_sweep(folder, tmp_path):
    page_file = tmp_path / "e.html"
    assert main(["explore", str(folder), "--out", str(page_file)]) == 0
    table = sweep(folder)
    with opened(page_file.as_uri()) as (page, complaints):
        for depth, batch, gpu in ((0, 0, 0), (2, 1, 1), (1, 0, 1)):
            page.locator("input[name='schedule.max_in_flight']").fill(str(depth))
            page.locator("input[name='batch']").fill(str(batch))
            page.locator("select[name='gpu']").select_option(str(gpu))
            at = [axis.at for axis in table.axes]
            row = int(((at[0] == depth) & (at[1] == batch) & (at[2] == gpu)).argmax())
            page.wait_for_timeout(100)
            assert f"{table.column('gain.speedup')[row]:.2f} ×" in page.locator("#figures").inner_text()
        assert complaints == []


def test_a_static_page_asks_nobody(folder, tmp_path):
    assert main(["explore", str(folder), "--out", str(tmp_path / "e.html")]) == 0
    html = (tmp_path / "e.html").read_text()
    assert "connect-src 'none'" in html or "connect-src &#39;none&#39;" in html
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


def test_a_live_answer_is_the_engines_answer_to_the_command_below_it():
    found = Engine().answer(start())
    words = found["command"].split()
    given = dict(zip(words[2::2], words[3::2], strict=True))
    whole = answer(Scenario(gpu=given["--gpu"], model=given["--model"], schedule=given["--schedule"],
                            synth=given["--synth"]))
    assert found["gain"] == whole.speedup
    assert found["passes"] == whole.timeline(whole.key).counters.passes / LONGEST


def test_what_no_run_can_be_is_refused_in_the_page():
    engine = Engine()
    found = engine.answer(start() | {"gpu": "t4", "launch": "graph+pdl"})
    assert "launch graph+pdl" in found["refused"]


def test_the_server_answers_its_own_names_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving() as port:
        assert ask(port, "/")[0] == 200
        assert ask(port, "/", f"localhost:{port}")[0] == 200
        assert ask(port, "/", "evil.example")[0] == 403
        assert ask(port, "/", f"evil.example:{port}")[0] == 403
        assert ask(port, "/../../etc/passwd")[0] == 404
        assert ask(port, "/answer?gpu=l4")[0] == 400
        assert ask(port, "/answer?" + urlencode(start() | {"gpu": "../x"}))[0] == 400
        status, body = ask(port, "/answer?" + urlencode(start()))
        assert status == 200
        assert json.loads(body)["gain"] > 1
    assert list(tmp_path.iterdir()) == []


def test_chromium_moves_a_live_slider():
    with serving() as port, opened(f"http://127.0.0.1:{port}/") as (page, complaints):
        page.locator("#figures .card").first.wait_for()
        page.locator("input[name=depth]").fill("0")
        page.get_by_text("Speculation changes nothing.").wait_for()
        assert "speed:max_in_flight=1" in page.locator("#command").inner_text()
        assert complaints == []


def test_one_of_sweep_and_serve_is_asked_for(folder, capsys):
    assert main(["explore"]) == 2
    assert main(["explore", str(folder), "--serve"]) == 2
    assert "give the folder of a sweep, or --serve" in capsys.readouterr().err
    assert main(["explore", "--serve", "--port", "99999999"]) == 2
