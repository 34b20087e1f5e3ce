"""Is the report of a curve one page that shows its points?"""

from __future__ import annotations

import json

from browser import opened
from speedsim.report.page import render
from speedsim.report.pages import page_of

POINTS = [
    {"schedule": schedule, "batch": batch, "time_per_token_us": 1e6 / user, "tokens_per_s_user": user,
     "tokens_per_s": user * batch, "gain": gain, "low": gain and gain * 0.9, "high": gain and gain * 1.1,
     "pareto": schedule == "speed", "meets_slo": batch < 8}
    for schedule, batch, user, gain in (("autoregressive", 1, 2000.0, 1.0), ("autoregressive", 8, 1500.0, 1.0),
                                        ("speed", 1, 4000.0, 2.0), ("speed", 8, 1800.0, 1.2))
]


def test_the_page_names_the_fastest_user_and_the_most_tokens(tmp_path):
    (tmp_path / "c.json").write_text(json.dumps({"schema": "speedsim-curve/1", "points": POINTS}))
    page = page_of(tmp_path / "c.json")
    assert page.sentence == ("One user gets up to 4,000 tokens a second (speed, batch 1); the GPU gives up to 14,400 "
                             "(speed, batch 8).")
    html = render(page)
    assert "2 of 4" in html
    (tmp_path / "c.html").write_text(html)
    with opened((tmp_path / "c.html").as_uri()) as (shown, complaints):
        shown.locator("#throughput circle[data-t]").first.hover()
        assert "autoregressive, batch 1" in shown.locator("#hover").inner_text()
        assert complaints == []
