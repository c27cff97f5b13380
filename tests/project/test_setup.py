"""What `make demo` and `make test` do first: a `.venv` that serves, whatever stands there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

LOCK = "requirements-none.lock"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, and a lock that names nothing."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/venv", tmp_path / ".ci/venv")
    (tmp_path / LOCK).write_text("")
    return tmp_path


def set_up(checkout: Path, *, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own script
        ["/bin/sh", ".ci/venv", LOCK],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )


def interpreter(folder: Path, script: str) -> Path:
    """A program in the place of Python."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


def test_a_python_that_is_too_old_is_one_sentence(checkout: Path) -> None:
    old = interpreter(checkout / "old", "exit 1")

    done = set_up(checkout, python=str(old))

    assert 1 == done.returncode
    assert [f"Python 3.11 or newer is needed, and {old} is not"] == [
        line.partition(":")[0] for line in done.stderr.splitlines()
    ]


def test_an_environment_of_an_old_python_is_made_anew(checkout: Path) -> None:
    """One without pip, or one whose Python was removed, is of the same kind: it does not serve."""
    interpreter(checkout / ".venv/bin", "exit 1")

    done = set_up(checkout)

    assert 0 == done.returncode, done.stderr
    assert "exit 1" not in (checkout / ".venv/bin/python").read_bytes().decode(errors="replace")[:100]
    assert (checkout / ".venv/bin/pip").exists()


def test_an_environment_that_serves_stays(checkout: Path) -> None:
    """And what its lock names is installed once."""
    serving = f'exec "{sys.executable}" "$@"'
    interpreter(checkout / ".venv/bin", serving)

    first, second = set_up(checkout), set_up(checkout)

    assert f"Installing {LOCK} ...\n" == first.stdout
    assert "" == second.stdout
    assert serving in (checkout / ".venv/bin/python").read_text()
