"""docs/configuration.md says what the variables are, because it is written from them."""

import subprocess
import sys
from pathlib import Path

import pytest

from docs import configuration
from entitlements.config.variables import variable_names
from tests.harness import ROOT


def test_the_page_is_up_to_date_and_names_every_variable() -> None:
    """`make docs` writes it."""
    text = configuration.PAGE.read_text()

    assert configuration.page() == text
    assert [] == [name for name in variable_names() if f"| `{name}`" not in text]


def test_a_drift_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make check` reports it with its fix."""
    page = tmp_path / "configuration.md"
    page.write_text(configuration.page().replace("8080", "8081"))
    monkeypatch.setattr(configuration, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["configuration", "--check"])

    with pytest.raises(SystemExit, match="run `make docs`"):
        configuration.main()

    monkeypatch.setattr(sys, "argv", ["configuration"])
    configuration.main()
    assert configuration.page() == page.read_text()


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("SIDECAR_REFRESHES_PER_SECOND", "| `20` | `0 < n <= 1000` |"),
        ("SIDECAR_MAX_MESSAGE_BYTES", "| `4194304` | `1024 <= n <= 1073741824` |"),
        ("LOG_LEVEL", "| `warn` | `error`, `warn`, `info`, `debug` |"),
        ("EDGE_ENABLED", "| `true` |  |"),
        ("SERVER_API_KEY", "*secret* |  |  | full access key"),
    ],
)
def test_default_and_bounds(name: str, cells: str) -> None:
    (line,) = [line for line in configuration.page().splitlines() if line.startswith(f"| `{name}`")]

    assert cells in line


def test_the_check_of_the_makefile() -> None:
    """As `make check` calls it."""
    command = [sys.executable, "-m", "docs.configuration", "--check"]

    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603
