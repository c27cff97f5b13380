"""A Dockerfile as values: its stages, their instructions, continuation lines joined."""

import re
from pathlib import Path
from typing import NamedTuple

_CONTINUED = re.compile(r"\\\n\s*")


class Instruction(NamedTuple):
    """One instruction."""

    word: str
    text: str


def stages(file: Path) -> list[list[Instruction]]:
    """The instructions after each FROM."""
    lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("#")]
    found: list[list[Instruction]] = []
    for line in _CONTINUED.sub("", "".join(lines)).splitlines():
        word, _, text = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word and found:
            found[-1].append(Instruction(word, text.strip()))
    return found
