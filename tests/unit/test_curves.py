"""`validate curves`: what it writes is a child that loads, with a curve that falls from 1 to 0."""

from __future__ import annotations

import pytest

pytest.importorskip("numba", reason="the cycle tier needs the extra fast")

from speedsim.catalog import load_gpu
from speedsim.validate.curves import _falling as falling
from speedsim.validate.curves import child, main


def test_a_curve_falls_from_one_to_zero_whatever_was_seen():
    assert falling([(0.3, 0.999), (0.7, 0.8), (0.8, 0.85), (1.2, 0.004)]) == [
        (0.0, 1.0), (0.3, 1.0), (0.7, 0.8), (0.8, 0.8), (1.2, 0.0)]


def test_the_child_loads_and_differs_in_its_curves_alone(tmp_path):
    card = load_gpu("h200_sxm")
    path = tmp_path / "h200_sxm@cycle.yaml"
    path.write_text(child(card, {"hit_curve": [(0.0, 1.0), (0.7, 0.9), (1.3, 0.0)], "read_fraction": 0.95}))
    made = load_gpu(str(path))
    assert made.value.l2.hit_curve == ((0.0, 1.0), (0.7, 0.9), (1.3, 0.0))
    assert (made.value.hbm.read_fraction, made.value.hbm.bandwidth_bytes_per_s) == (
        0.95, card.value.hbm.bandwidth_bytes_per_s)
    assert made.provenance["l2.hit_curve"].kind == "derived"


def test_a_footprint_that_is_no_number_is_refused():
    with pytest.raises(Exception, match="write numbers such as"):
        main(["--at", "half"])
