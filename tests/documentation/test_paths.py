"""The files and functions that pages for developers name are there."""

import ast
import re
import tomllib
from collections.abc import Iterator

import pytest

from tests.harness import ROOT

PAGES = ("CONTRIBUTING.md", "README.md", "docs/architecture.md", "docs/private-names.md")
FOLDERS = tuple(
    f"{folder.name}/"
    for folder in ROOT.iterdir()
    if folder.is_dir() and folder.name not in {"build", ".venv", ".demo"}
)
_QUOTED = re.compile(r"`([^`\s]+)`")
_PATH_IN_TEXT = re.compile(r"[\w.]+(?:/[\w.]+)+")


def _named(text: str) -> Iterator[str]:
    """Quoted words that begin as a path of the repository does."""
    return (word for word in _QUOTED.findall(text) if word.startswith(FOLDERS))


def _names_of(source: str) -> set[str]:
    """Its classes and functions, and their methods as `Class.method`."""
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            methods = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {node.name} | {f"{node.name}.{method.name}" for method in methods}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
    return names


def _is_there(named: str) -> bool:
    """True for a path, or `path:name`, that exists."""
    path, _, name = named.partition(":")
    file = ROOT / path
    return file.exists() and (not name or name in _names_of(file.read_text()))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    assert [] == [named for named in _named((ROOT / page).read_text()) if not _is_there(named)]


def test_what_the_linters_messages_name_exists() -> None:
    """Who is refused by one is sent there."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    banned = settings["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    paths = [path for rule in banned.values() for path in _PATH_IN_TEXT.findall(rule["msg"])]

    assert [] == [path for path in paths if not (ROOT / path.rstrip(".")).exists()]
    assert paths, "the messages name no path any more"


@pytest.mark.parametrize(
    ("named", "is_there"),
    [
        ("entitlements/background.py", True),
        ("entitlements/background.py:Background.keep", True),
        ("entitlements/background.py:ended", True),
        ("entitlements/foreground.py", False),
        ("entitlements/background.py:Background.hold", False),
        ("entitlements/background.py:keep", False),
    ],
)
def test_what_counts_as_there(named: str, *, is_there: bool) -> None:
    assert is_there is _is_there(named)
