"""The pages for people, and the commands and programs in them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.harness import ROOT

FOLDERS = (".", "bench", "deploy", "docs", "docs/contract")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))
SHELL_WORDS = {"sh", "shell", "bash", "console"}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^|\n)\n((?:    .*\n)+)")
_INLINE = re.compile(r"`(?:\.venv/bin/python )?((?:manage\.py|make|runsidecar|runemulator) ?[^`]*)`")


class Command(NamedTuple):
    """One line that a reader is to type."""

    page: str
    text: str


def fenced(page: Path) -> Iterator[tuple[str, str]]:
    """Each fenced block: its language and its text."""
    for block in _FENCE.finditer(page.read_text()):
        yield block[1], block[2]


def commands(page: Path) -> Iterator[Command]:
    """Every line of every shell block, fenced or indented, in the page's order; continued ones are joined."""
    text = page.read_text()
    found = [(block.start(), block[2]) for block in _FENCE.finditer(text) if block[1] in SHELL_WORDS]
    plain = _FENCE.sub(lambda block: "\n" * len(block[0]), text)  # places stay the same
    found += [(block.start(), block[1]) for block in _INDENTED.finditer(plain)]
    for _, block in sorted(found):
        for typed in _whole(block.replace("\\\n", " ").splitlines()):
            if typed and not typed.startswith("#"):
                yield Command(page.name, typed)


def _whole(lines: list[str]) -> Iterator[str]:
    """Each command; one goes on over the lines that a quotation spans."""
    begun = ""
    for line in lines:
        begun += line.strip().removeprefix("$ ")
        if not _is_open(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


def _is_open(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


def mentions(page: Path) -> Iterator[str]:
    """Words of ours in the running text, such as `manage.py outbox replay`."""
    yield from _INLINE.findall(_FENCE.sub("", page.read_text()))
