"""A frame of the feed → an event, or nothing that is counted."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.feed_payloads import ENTITLEMENTS, PACKAGE, USAGE, event_from_frame
from tests.builders import NOW_MS
from tests.upstream.test_feed_protocol import JSON
from tests.upstream.test_payloads import an_entitlement


def event_of(subscription: str, data: Any) -> FeedEvent | None:
    frame = json.dumps({"type": "next", "id": "1", "payload": {"data": {subscription: data}}})
    return event_from_frame(subscription, frame, now_ms=NOW_MS)


def test_entitlements_replace_an_entity() -> None:
    event = event_of(
        ENTITLEMENTS, {"customerId": "c", "resourceId": "r", "entitlements": [an_entitlement()], "new": 1}
    )

    assert isinstance(event, EntitlementsChanged)
    assert EntityKey("c", "r") == event.key
    assert event.entity is not None
    assert ["f"] == list(event.entity.features)


@pytest.mark.parametrize("resource_id", [None, ""])
def test_without_a_resource_it_is_the_customer(resource_id: object) -> None:
    event = event_of(ENTITLEMENTS, {"customerId": "c", "resourceId": resource_id, "entitlements": []})

    assert EntitlementsChanged(key=EntityKey("c"), entity=None) == event


def test_no_entitlements_with_a_reason_are_an_entity() -> None:
    event = event_of(
        ENTITLEMENTS,
        {"customerId": "c", "entitlements": [], "accessDeniedReason": "NoActiveSubscription"},
    )

    assert isinstance(event, EntitlementsChanged)
    assert event.entity is not None
    assert AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION is event.entity.denied_reason


@pytest.mark.parametrize(
    ("type_", "names"),
    [("FEATURE", {"feature_id": "f"}), ("CREDIT", {"currency_id": "f"}), (None, {"feature_id": "f"})],
)
def test_usage_moves_a_meter(type_: str | None, names: dict[str, str]) -> None:
    event = event_of(
        USAGE,
        {
            "customerId": "c",
            "entitlementReference": {"id": "f", "type": type_},
            "usage": {"currentUsage": 5, "usageUpdatedAt": 7000, "usagePeriodEnd": "1970-01-01T00:00:09Z"},
        },
    )

    assert (
        UsageChanged(
            key=EntityKey("c"),
            update=UsageUpdate(
                current=5,
                updated_at_ms=7000,
                period_end_ms=9000,
                sent_at_ms=NOW_MS,
                **names,  # type: ignore[arg-type]
            ),
        )
        == event
    )


@pytest.mark.parametrize(
    ("migration", "all_"), [("ALL_CUSTOMERS", True), ("NEW_CUSTOMERS", False), (None, False)]
)
def test_a_package_may_affect_all(migration: str | None, all_: bool) -> None:
    assert PackagePublished(affects_all_customers=all_) == event_of(PACKAGE, {"migrationType": migration})


@pytest.mark.parametrize(
    ("subscription", "data"),
    [
        (ENTITLEMENTS, {}),
        (ENTITLEMENTS, {"customerId": ""}),
        (ENTITLEMENTS, None),
        (ENTITLEMENTS, []),
        (USAGE, {"customerId": "c"}),
        (USAGE, {"customerId": "c", "entitlementReference": {"id": "f"}, "usage": {"currentUsage": "5"}}),
        (USAGE, {"customerId": "c", "entitlementReference": {"id": ""}, "usage": {"currentUsage": 5}}),
        (USAGE, {"customerId": 5, "entitlementReference": {"id": "f"}, "usage": {"currentUsage": 5}}),
        ("newSubscription", {"customerId": "c"}),
    ],
)
def test_what_cannot_be_used_is_nothing(subscription: str, data: Any) -> None:
    assert event_of(subscription, data) is None


@pytest.mark.parametrize(
    "frame", ["", "x", "[]", "{}", '{"payload": 5}', '{"payload": {"data": []}}', "[" * 9999]
)
def test_a_frame_that_is_none_is_nothing(frame: str) -> None:
    assert event_from_frame(ENTITLEMENTS, frame, now_ms=NOW_MS) is None


@given(st.sampled_from([ENTITLEMENTS, USAGE, PACKAGE, "x"]), JSON)
def test_no_frame_raises(subscription: str, data: Any) -> None:
    event_of(subscription, data)
    event_of(
        subscription, {"customerId": "c", "entitlements": [data], "usage": data, "entitlementReference": data}
    )


@pytest.mark.parametrize("entitlements", [None, "x", {}, 7])
def test_a_set_that_is_none_does_not_drop_the_entity(entitlements: Any) -> None:
    """Without a list and without a reason an event says nothing.

    It was taken for an empty list, and a broken event threw away an entity that nobody had taken back.
    """
    assert event_of(ENTITLEMENTS, {"customerId": "c", "entitlements": entitlements}) is None


def test_a_reason_needs_no_list() -> None:
    """It says why there is nothing."""
    event = event_of(ENTITLEMENTS, {"customerId": "c", "accessDeniedReason": "CustomerIsArchived"})

    assert isinstance(event, EntitlementsChanged)
    assert event.entity is not None
    assert event.entity.denied_reason is AccessDeniedReason.CUSTOMER_IS_ARCHIVED
