"""What a person may say of the emulator, as values; tests/project/test_demo.py runs it."""

from pathlib import Path

import pytest

from sidecar_project.emulating import DEFAULT_PORT, port_of, states_of


@pytest.mark.parametrize("text", [None, ""])
def test_a_port_that_is_not_set_is_the_usual_one(text: str | None) -> None:
    assert port_of(text) == DEFAULT_PORT


@pytest.mark.parametrize("text", ["0", "4301", "65535"])
def test_a_port_is_taken_as_it_is_set(text: str) -> None:
    assert port_of(text) == int(text)


@pytest.mark.parametrize("text", ["http", "65536", "-1", "4300 "])
def test_what_is_no_port_is_reported_by_its_variable(text: str) -> None:
    with pytest.raises(SystemExit, match=f"EMULATOR_PORT is '{text}'; it must be a port"):
        port_of(text)


def test_resources_of_a_file_are_states_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "customers.json"
    file.write_text(
        '{"customers": {"a": {"entitlementsV2": [], "resources": {"r": {"entitlementsV2": [], "x": 1}}}}}'
    )

    states = states_of(file)

    assert states == {("a", None): {"entitlementsV2": []}, ("a", "r"): {"entitlementsV2": [], "x": 1}}


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"none\.json: cannot be read"):
        states_of(tmp_path / "none.json")
