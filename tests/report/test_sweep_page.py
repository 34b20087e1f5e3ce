"""Is the report of a sweep one safe page that shows what the table says?"""

from __future__ import annotations

import re

import numpy as np
import pytest
from browser import opened
from speedsim.cli import main
from speedsim.report.page import render
from speedsim.report.pages import page_of
from speedsim.report.sweep_plots import median
from speedsim.report.tables import sweep

SYNTH = ["--synth", "flips=0.15+0.06+0.03+0.02+0.01,count=20"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep")
    over = ["--over", "schedule.max_in_flight=1:3", "--over", "hbm.bandwidth=1TB/s,8TB/s", "--over", "gpu=l4,h200_sxm"]
    assert main(["sweep", *SYNTH, "--tier", "roofline", *over, "--engine", "serial", "--out", str(out)]) == 0
    return out


def test_axes_and_columns_are_read_as_the_sweep_wrote_them(folder):
    table = sweep(folder)
    assert [(axis.name, len(axis.texts)) for axis in table.axes] == [
        ("schedule.max_in_flight", 3), ("hbm.bandwidth", 2), ("gpu", 2)]
    assert table.axes[0].numbers == (1.0, 2.0, 3.0)
    assert table.axes[1].numbers == (1e12, 8e12)
    assert table.axes[2].numbers is None
    assert table.column("gain.speedup").shape == (12,)
    assert np.all(table.column("gain.speedup")[table.axes[0].at == 0] == 1)


def test_the_page_opens_with_the_range_of_gains_and_shows_every_axis_and_pair(folder):
    page = page_of(folder)
    gain = sweep(folder).column("gain.speedup")
    assert f"{gain.max():.2f} ×" in page.sentence
    assert [s.name for s in page.sections] == ["by-max_in_flight", "by-bandwidth", "by-gpu", "map-1", "map-2", "map-3",
                                               "time", "throughput", "points"]
    html = render(page)
    assert "bound by passes" in html
    assert "breakeven" in html
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)


def test_a_median_leaves_out_what_was_refused():
    assert median(np.array([np.nan, 1.0, 3.0])) == 2.0
    assert median(np.array([np.nan])) is None


def test_a_sweep_that_has_not_ended_says_so(folder, tmp_path, capsys):
    (tmp_path / "inputs.json").write_text((folder / "inputs.json").read_text())
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "p.html")]) == 2
    assert "the sweep has not ended" in capsys.readouterr().err
    (tmp_path / "table.parquet").write_bytes((folder / "table.parquet").read_bytes()[:-40])
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "p.html")]) == 2
    assert "damaged" in capsys.readouterr().err


def test_chromium_shows_a_point_under_the_pointer(folder, tmp_path):
    (tmp_path / "s.html").write_text(render(page_of(folder)))
    with opened((tmp_path / "s.html").as_uri()) as (page, complaints):
        page.locator("#map-1 rect[data-t]").first.hover()
        assert "gain 1.00 ×" in page.locator("#hover").inner_text()
        assert complaints == []
