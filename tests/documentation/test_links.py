"""Every page is found from the README, and every link of a page leads somewhere."""

import re
from pathlib import Path

import pytest

from tests.documentation.pages import PAGES
from tests.harness import ROOT

_LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


def _targets(page: Path) -> set[Path]:
    return {(page.parent / link).resolve() for link in _LINK.findall(page.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    assert [] == [str(target) for target in _targets(page) if not target.exists()]


def test_every_page_is_found_from_the_readme() -> None:
    """In one step or more; but those that GitHub shows by itself."""
    shown_by_itself = {ROOT / "README.md", ROOT / "SECURITY.md"}
    found: set[Path] = set()
    to_read = {ROOT / "README.md"}
    while to_read:
        found |= to_read
        to_read = {target for page in to_read for target in _targets(page) & set(PAGES)} - found

    assert set(PAGES) - shown_by_itself == found - shown_by_itself
