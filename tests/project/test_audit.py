"""`.ci/audit.py`: what is said of a report of pip-audit."""

import importlib.util
from typing import Any

import pytest

from tests.harness import ROOT

_SPEC = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert _SPEC is not None
assert _SPEC.loader is not None
audit = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(audit)

WELL: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD = WELL | {"vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "reported"),
    [
        ([WELL, WELL], 0, "no known advisory about 2 packages"),
        ([WELL, BAD], 1, "a 1: PYSEC-2026-1, fixed in 1.1"),
        ([BAD, UNKNOWN], 1, "a 1: PYSEC-2026-1, fixed in 1.1"),
        ([WELL, UNKNOWN], 1, "not audited, unlike the others: b"),
        ([UNKNOWN, UNKNOWN], 0, "NOT AUDITED: no data about advisories can be had here"),
        ([], 0, "NOT AUDITED: no data about advisories can be had here"),
    ],
)
def test_a_known_advisory_fails_and_silence_is_reported(
    packages: list[dict[str, Any]], code: int, reported: str
) -> None:
    """pip-audit itself is content where its source knows none of the packages."""
    assert (code, [reported]) == audit.judged({"dependencies": packages})
