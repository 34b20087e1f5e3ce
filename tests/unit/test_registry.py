"""Discovery: where names are looked for, which spelling means which file, and what an unknown one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from speedsim import registry
from speedsim.registry import RegistryError, find, names
from speedsim.units import InputError


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, with one user folder, and nothing shipped."""
    for folder in ("cwd", "user", "shipped/sim"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("SPEEDSIM_PATH", str(tmp_path / "user"))
    monkeypatch.setattr(registry, "_HERE", tmp_path / "shipped" / "sim")
    return tmp_path


def put(path: Path, text: str = "name: x\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_working_directory_wins_over_user_folders_and_these_over_what_is_shipped(world: Path) -> None:
    shipped = put(world / "shipped/hw_configs/gpus/h200_sxm.yaml")
    assert find("gpus", "h200_sxm") == shipped
    user = put(world / "user/gpus/h200_sxm.yaml")
    assert find("gpus", "h200_sxm") == user
    laid_out_alike = put(world / "user/hw_configs/gpus/h200_sxm.yaml")
    assert find("gpus", "h200_sxm") == laid_out_alike
    own = put(world / "cwd/hw_configs/gpus/h200_sxm.yaml")
    assert find("gpus", "h200_sxm") == own
    assert names("gpus") == ["h200_sxm"]


def test_data_inside_the_package_are_found_as_in_an_installed_wheel(world: Path) -> None:
    inside = put(world / "shipped/sim/workloads/models/m.yaml")
    assert find("models", "m") == inside


def test_dots_dashes_underscores_and_case_are_equal(world: Path) -> None:
    path = put(world / "cwd/hw_configs/stacks/vllm_0_24.yaml")
    assert {find("stacks", name) for name in ("vllm_0_24", "vllm-0.24", "vLLM_0.24")} == {path}


def test_a_unique_prefix_is_enough_and_an_exact_name_needs_no_uniqueness(world: Path) -> None:
    for name in ("l4", "l40", "l40s", "b200_sxm"):
        put(world / f"cwd/hw_configs/gpus/{name}.yaml")
    assert [find("gpus", name).stem for name in ("b2", "l4", "l40", "l40s")] == ["b200_sxm", "l4", "l40", "l40s"]


def test_an_ambiguous_prefix_names_the_candidates(world: Path) -> None:
    put(world / "cwd/hw_configs/gpus/h100_sxm.yaml")
    put(world / "cwd/hw_configs/gpus/h100_pcie.yaml")
    with pytest.raises(RegistryError, match=r"^gpu 'h100' may be h100_pcie or h100_sxm$"):
        find("gpus", "h100")


def test_the_file_that_says_default_of_is_meant_by_an_ambiguous_prefix(world: Path) -> None:
    put(world / "cwd/hw_configs/gpus/rtx_pro_6000_workstation.yaml")
    server = put(world / "cwd/hw_configs/gpus/rtx_pro_6000_server.yaml", "default_of: rtx_pro_6000  # as sold\n")
    assert find("gpus", "RTX-PRO-6000") == server
    with pytest.raises(RegistryError):
        find("gpus", "rtx_pro")


def test_a_name_with_an_at_is_a_fitted_child_and_its_parent_stays_unfitted(world: Path) -> None:
    parent = put(world / "cwd/hw_configs/gpus/h200_sxm.yaml")
    child = put(world / "cwd/hw_configs/fitted/h200_sxm@silicon-vllm-0.24.0.yaml")
    assert find("gpus", "h200_sxm@silicon-vllm-0.24.0") == child
    assert find("gpus", "h200") == parent
    assert names("gpus") == ["h200_sxm"]
    assert names("fitted") == ["h200_sxm@silicon-vllm-0.24.0"]


def test_a_what_if_is_found_by_its_whole_name_as_a_gpu(world: Path) -> None:
    put(world / "cwd/hw_configs/gpus/h200_sxm.yaml")
    path = put(world / "cwd/hw_configs/what_if/h200_free_launch.yaml")
    assert find("gpus", "h200_free_launch") == path
    assert find("gpus", "h200").stem == "h200_sxm"


def test_traces_end_in_jsonl_or_parquet_and_their_cards_are_none(world: Path) -> None:
    for name in ("a.jsonl", "a.card.json", "b.parquet", "b.card.json", "notes.md"):
        put(world / f"cwd/workloads/traces/{name}")
    assert names("traces") == ["a", "b"]


def test_an_unknown_name_is_told_the_nearest_ones_in_one_line(world: Path) -> None:
    put(world / "cwd/hw_configs/gpus/h200_sxm.yaml")
    put(world / "cwd/hw_configs/gpus/t4.yaml")
    with pytest.raises(InputError, match=r"^gpu 'h201_sxm' is unknown \(did you mean h200_sxm\?\)$"):
        find("gpus", "h201_sxm")
    with pytest.raises(RegistryError, match=r"^gpu '' is unknown \(known: h200_sxm, t4\)$"):
        find("gpus", "")
    with pytest.raises(RegistryError, match=r"^plan 'x' is unknown \(there is none\)$"):
        find("plans", "x")


def test_what_looks_like_a_path_is_a_file_or_an_error(world: Path) -> None:
    path = put(world / "cwd/mine.yaml")
    assert find("gpus", "mine.yaml") == Path("mine.yaml")
    assert find("gpus", str(path)) == path
    with pytest.raises(RegistryError, match=r"^gpu 'other\.yaml': no such file$"):
        find("gpus", "other.yaml")
    for nonsense in ("x/" * 5000, "a/\x00", "./"):
        with pytest.raises(RegistryError):
            find("gpus", nonsense)


def test_schedules_are_found_by_file_and_give_their_options(tmp_path: Path) -> None:
    from speedsim.schedules.speed import Speed

    assert {"speed", "autoregressive"} <= set(names("schedules"))
    assert registry.schedule("speed") is Speed
    with pytest.raises(RegistryError, match=r"^schedule 'sped' is unknown \(did you mean speed[,?]"):
        registry.schedule("sped")


def test_names_are_found_from_a_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert registry.find("gpus", "h200_sxm").is_file()
