"""Every rule that code or a test cites (`contract/FILE, Heading`) stands in docs/contract."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.harness import ROOT

CONTRACT = ROOT / "docs/contract"
FOLDERS = ("bench", "deploy", "docs", "emulator", "entitlements", "grpc_service", "sidecar_project", "tests")
_CITATION = re.compile(r"contract/(?P<page>\w+\.md)(?:, (?P<place>[^).:;\"]+))?")
_SECTIONS = re.compile(r"sections? (\d)(?: to (\d))?")
_SUFFIXES = {".py", ".proto", ".graphql", ".md", ".yaml", ".yml", ".toml"}


class Citation(NamedTuple):
    """Where a rule is cited, and what is said of where it stands."""

    file: str
    page: str
    place: str | None


def citations_in(file: str, text: str) -> list[Citation]:
    """Each citation of a text, in order."""
    folded = re.sub(r"\s*\n[\s#/*]*", " ", text)  # one may be broken over two lines of a docstring
    return [Citation(file, found["page"], found["place"]) for found in _CITATION.finditer(folded)]


def headings_of(page: str) -> list[str]:
    """The headings of a page of the contract; none where there is no such page."""
    file = CONTRACT / page
    lines = file.read_text().splitlines() if file.exists() else []
    return [line.lstrip("# ") for line in lines if line.startswith("#")]


def resolves(citation: Citation) -> bool:
    """True when the page exists and has what is cited: a heading by its first words, or numbered sections."""
    headings = headings_of(citation.page)
    if citation.place is None:
        return bool(headings)
    sections = _SECTIONS.match(citation.place)
    if sections is None:
        return any(citation.place.strip().startswith(_plain(heading)) for heading in headings)
    first, last = int(sections[1]), int(sections[2] or sections[1])
    return all(any(h.startswith(f"{number}.") for h in headings) for number in range(first, last + 1))


def _plain(heading: str) -> str:
    """A heading as it is cited: without what explains it."""
    return re.split(r"[:(]", heading)[0].strip()


def _cited() -> list[Citation]:
    return [
        citation
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*")
        if file.suffix in _SUFFIXES and file != Path(__file__)
        for citation in citations_in(str(file.relative_to(ROOT)), file.read_text())
    ]


def test_every_citation_resolves() -> None:
    """A rule that cannot be looked up is no rule for an heir."""
    assert [] == [citation for citation in _cited() if not resolves(citation)]


def test_the_contract_is_cited() -> None:
    """The search that finds citations finds those that are there."""
    assert {path.name for path in CONTRACT.glob("*.md")} - {"README.md"} <= {each.page for each in _cited()}


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("(contract/redis.md, Rules)", True),
        ("(contract/evaluation.md, sections 1 to 3): pure", True),
        ("contract/operations.md, When something\n    is down.", True),
        ("(contract/redis.md, Rulings)", False),
        ("(contract/evaluation.md, section 9)", False),
        ("(contract/redes.md)", False),
    ],
)
def test_a_citation_is_held_to_what_is_there(text: str, is_there: bool) -> None:
    assert [is_there] == [resolves(citation) for citation in citations_in("a.py", text)]
