"""Is the report of a comparison one safe page that ranks as the document does?"""

from __future__ import annotations

import json
import re

import pytest
from browser import opened
from speedsim.cli import main
from speedsim.report.page import render
from speedsim.report.pages import page_of

SYNTH = ["--synth", "flips=0.15+0.06+0.03+0.02+0.01,count=20"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    found = tmp_path_factory.mktemp("comparison") / "c.json"
    assert main(["compare", *SYNTH, "--schedules", "speed,autoregressive,speed:max_in_flight=2", "--gpu", "l4,h200_sxm",
                 "--tier", "roofline", "--json", str(found)]) == 0
    return found


def test_the_page_ranks_every_place_and_says_who_is_fastest(file):
    page, document = page_of(file), json.loads(file.read_text())
    best = max((e for e in document["entries"] if e["gpu"] == "l4"), key=lambda e: e["speedup"])
    assert page.sentence.startswith(f"{best['schedule']} decodes speed_2x6 fastest on l4, batch 1")
    assert [s.name for s in page.sections][:1] == ["overview"]
    assert {"place-1", "place-2"} <= {s.name for s in page.sections}
    html = render(page)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    for entry in document["entries"]:
        assert f"{entry['speedup']:.2f}" in html


def test_an_entry_that_is_not_ranked_is_named_with_its_reason(file, tmp_path):
    document = json.loads(file.read_text())
    document["entries"][0]["why_not"] = "no <b>proposer</b>"
    (tmp_path / "c.json").write_text(json.dumps(document))
    html = render(page_of(tmp_path / "c.json"))
    assert "no &lt;b&gt;proposer&lt;/b&gt;" in html


def test_chromium_opens_it_without_a_complaint(file, tmp_path):
    (tmp_path / "c.html").write_text(render(page_of(file)))
    with opened((tmp_path / "c.html").as_uri(), "dark") as (_, complaints):
        assert complaints == []
