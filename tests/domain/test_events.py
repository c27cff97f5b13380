"""What the feed sends, as values."""

from entitlements.domain.entity import UsageUpdate
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from tests.builders import A_KEY, an_entity


def test_events_are_distinguished_by_their_class() -> None:
    """A listener matches on the class, and equal news are equal values."""
    update = UsageUpdate(feature_id="seats", current=1.0)
    events: list[FeedEvent] = [
        EntitlementsChanged(key=A_KEY, entity=an_entity()),
        EntitlementsChanged(key=A_KEY, entity=None),
        UsageChanged(key=A_KEY, update=update),
        PackagePublished(affects_all_customers=True),
    ]

    assert UsageChanged(key=A_KEY, update=UsageUpdate(feature_id="seats", current=1.0)) == events[2]
    assert 4 == len(set(map(repr, events)))
