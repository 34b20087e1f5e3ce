"""Is the report of an answer one safe page that shows what the answer says?"""

from __future__ import annotations

import json
import re

import pytest
from browser import opened
from speedsim.cli import main
from speedsim.report.of_result import result_page
from speedsim.report.page import render
from speedsim.result import answer, document
from speedsim.scenario import Scenario

SYNTH = "flips=0.15+0.06+0.03+0.02+0.01,count=60,sequences=2"


@pytest.fixture(scope="module")
def doc():
    return document(answer(Scenario(synth=SYNTH)))


def page_of(doc):
    return render(result_page(doc))


def sections(html):
    return re.findall(r'<section id="([\w-]+)">', html)


def test_the_command_writes_one_page_and_an_answer_is_read_back_as_written(tmp_path, capsys, doc):
    answer_file, page = tmp_path / "answer.json", tmp_path / "page.html"
    assert main(["run", "--synth", SYNTH, "--json", str(answer_file)]) == 0
    assert main(["report", str(answer_file), "--out", str(page)]) == 0
    assert page.read_text() == page_of(doc)
    assert page.stat().st_size < 6_000_000


def test_the_page_opens_with_the_answer_and_has_every_picture(doc):
    html = page_of(doc)
    assert doc["sentence"].replace("'", "&#39;") in html
    assert sections(html) == ["gain", "time", "waterfall", "pipeline", "rhythm", "kernels", "roofline", "bytes", "l2",
                              "inputs", "missing"]


def test_a_summary_names_the_pictures_it_lacks():
    html = page_of(document(answer(Scenario(synth=SYNTH, record="summary"))))
    assert "pipeline" not in sections(html)
    assert "need every pass: speedsim run --record passes" in html
    assert "kernels" in sections(html)


def test_text_of_a_file_can_never_become_a_tag(doc):
    hostile = "</script><img src=x onerror=alert(1)>\"'&"
    bad = json.loads(json.dumps(doc).replace("speed_2x6", json.dumps(hostile)[1:-1]))
    bad["notes"] = [hostile]
    bad["sentence"] = hostile
    html = page_of(bad)
    assert "<img" not in html
    assert html.count("</script>") == html.count("<script")


def test_a_page_loads_nothing(doc):
    html = page_of(doc)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    assert "default-src 'none'" in html
    assert not re.search(r"url\((?!#)|@import", html)


def test_the_waterfall_ends_at_the_schedule(doc):
    from speedsim.report.bars import per_token

    for figures in doc["schedules"].values():
        assert sum(per_token(figures).values()) == pytest.approx(figures["total_us"] / figures["committed_tokens"])


@pytest.mark.parametrize("changes", [
    {"schedule": "autoregressive"}, {"batch": 2}, {"control": "device"}, {"launch": "eager"}, {"gpu": "l4"},
    {"tier": "roofline"}, {"synth": "flips=0+0+0+0+0,count=1"},
    {"model": "speed_4x3", "synth": "flips=0.2+0.1,count=20"},
])
def test_every_kind_of_answer_has_a_page(changes):
    html = page_of(document(answer(Scenario(**({"synth": SYNTH} | changes)))))
    assert "nan" not in html.lower().replace("nano", "")
    assert "time" in sections(html)


@pytest.mark.parametrize(("content", "said"), [
    ("{", "not a JSON document"), ("[]", "it has no schema"),
    ('{"schema": "other/1"}', "is not one of speedsim-result/1"),
    ('{"schema": "speedsim-result/1", "x": NaN}', "NaN is no number"),
    ('{"schema": "speedsim-result/1"}', "damaged"), ('{"schema": "speedsim-result/1", "schedule": 3}', "damaged"),
])
def test_a_wrong_file_is_refused_in_one_line(tmp_path, capsys, content, said):
    (tmp_path / "x.json").write_text(content)
    assert main(["report", str(tmp_path / "x.json"), "--out", str(tmp_path / "p.html")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_chromium_draws_the_pipeline_without_a_complaint(tmp_path, doc, scheme):
    (tmp_path / "page.html").write_text(page_of(doc))
    with opened((tmp_path / "page.html").as_uri(), scheme) as (page, complaints):
        cells = page.locator("#pipeline-plot .cell")
        before = cells.count()
        assert before > 60
        assert page.locator("#pipeline-plot .cell[style*=hatch]").count() > 0
        page.locator("#pipeline-plot .cell").first.hover()
        assert "position 64, repetition 1 of 6" in page.locator("#hover").inner_text()
        page.get_by_role("button", name="fewer passes").click()
        assert cells.count() < before
        page.get_by_role("button", name="later passes").click()
        assert "passes 1 to" not in page.locator("#pipeline-plot .controls").inner_text()
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.locator("#theme").click()
        assert page.evaluate("document.documentElement.dataset.theme") != scheme
        assert complaints == []
