"""Does every answer say what of its card was ever compared with a measurement?"""

from __future__ import annotations

import pytest
from speedsim import load_gpu
from speedsim.compared import compared
from speedsim.registry import names
from speedsim.result import answer, document, notes
from speedsim.scenario import Scenario

SYNTH = "flips=0.1+0.1+0.1+0.1+0.1,count=4"


@pytest.mark.parametrize("name", names("compared"))
def test_a_comparison_is_of_a_card_that_exists_and_says_with_what(name):
    assert compared(load_gpu(name).value).name == name
    assert all("," in part for part in compared(load_gpu(name).value).parts)


def test_an_answer_for_a_card_without_measurements_says_so():
    result = answer(Scenario(gpu="l4", synth=SYNTH))
    assert any("nothing of the NVIDIA L4 was ever compared" in note for note in notes(result))
    assert document(result)["gpu"]["compared"] == {"parts": [], "decodes": []}


def test_an_answer_for_a_card_whose_kernels_were_compared_says_that_no_decode_was():
    result = answer(Scenario(gpu="h200_sxm", synth=SYNTH))
    told = "compared with measurements of the NVIDIA H200 SXM: linear layers and decode attention; no whole decode"
    assert told in notes(result)
    assert document(result)["gpu"]["compared"]["parts"]


def test_a_card_that_extends_another_has_been_compared_with_nothing(tmp_path, monkeypatch):
    (tmp_path / "hw_configs" / "gpus").mkdir(parents=True)
    (tmp_path / "hw_configs" / "gpus" / "mine.yaml").write_text("name: mine\ntitle: mine\nextends: h200_sxm\n")
    monkeypatch.chdir(tmp_path)
    assert "nothing of the mine" in compared(load_gpu("mine").value).told("mine")
