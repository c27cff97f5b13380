"""How long a reply stands."""

from dataclasses import replace

import pytest

from entitlements.domain.cached_response import CachedResponse
from entitlements.domain.freshness import Trust
from tests.builders import NOW_MS, a_cached_entity

TRUST = Trust(max_unverified_seconds=60).followed(100)
REPLY = CachedResponse(
    message=b"yes",
    cached=a_cached_entity(),
    trust=TRUST,
    fresh_until=200.0,
    from_ms=NOW_MS,
    until_ms=NOW_MS + 10,
)


@pytest.mark.parametrize(
    ("now", "now_ms", "stands"),
    [
        (100.0, NOW_MS, True),
        (200.0, NOW_MS + 9, True),
        (200.1, NOW_MS, False),
        (100.0, NOW_MS + 10, False),
        (100.0, NOW_MS - 1, False),
    ],
)
def test_until_when_a_reply_stands(now: float, now_ms: int, stands: bool) -> None:
    """Until its entity is suspect, or the wall clock passes its boundary or is set back."""
    assert stands is REPLY.stands(trust=TRUST, now=now, now_ms=now_ms)


def test_reply_without_a_boundary_stands() -> None:
    """What never ends depends on the wall clock only in that it is not set back."""
    assert replace(REPLY, until_ms=None).stands(trust=TRUST, now=100.0, now_ms=NOW_MS * 2)


def test_any_change_of_the_feed_ends_a_reply() -> None:
    """Also one that looks the same: whether something was missed in between is for a fresh decision."""
    assert not REPLY.stands(trust=replace(TRUST), now=100.0, now_ms=NOW_MS)
