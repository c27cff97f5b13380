"""An explanation in sentences: what a tired person reads."""

import json
from dataclasses import replace

import pytest

from entitlements.domain.decision import Query
from entitlements.domain.entitlement import CreditRate, EntitlementKind
from entitlements.domain.entity import Entity
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Source
from entitlements.domain.reason import AccessDeniedReason
from entitlements.fallbacks import ConfiguredRules
from entitlements.service.answers import Provenance
from entitlements.service.explaining import Explaining
from entitlements.service.explanation_document import explanation_document
from entitlements.service.wording import (
    REASONS,
    headline,
    provenance_text,
    step_text,
)
from tests.builders import (
    NOW_MS,
    a_boolean_feature,
    a_credit,
    a_credit_query,
    a_metered_feature,
    a_query,
    a_usage,
    an_entity,
    an_enum_feature,
)
from tests.service.conftest import House, build_house

HOUR_MS = 3_600_000
RULES = ConfiguredRules({"g": FallbackValue(has_access=True)})
METER = a_metered_feature("f", limit=100, usage=a_usage(105, period_end_ms=NOW_MS + 3 * HOUR_MS))
BALANCE = a_credit("tokens", limit=1000, usage=a_usage(1000))
HEADLINES: list[tuple[Entity, Query, str]] = [
    (
        an_entity(METER),
        a_query(requested_usage=1),
        "Denied: usage 105 + requested 1 exceeds the limit of 100; resets in 3 h",
    ),
    (
        an_entity(replace(METER, feature=replace(METER.feature, units_plural="calls"), usage=a_usage(0.1))),
        a_query(),
        "Granted: usage 0.1 is within the limit of 100 calls",
    ),
    (
        an_entity(replace(METER, is_unlimited=True)),
        a_query(),
        "Granted: usage 105, unlimited",
    ),
    (
        an_entity(replace(METER, has_soft_limit=True)),
        a_query(),
        "Granted: usage 105 of 100; the limit is soft and may be exceeded",
    ),
    (an_entity(a_boolean_feature("f")), a_query(), "Granted: the subscription includes it, and nothing is"),
    (
        an_entity(a_boolean_feature("f", denied_reason=AccessDeniedReason.REVOKED)),
        a_query(),
        "Denied: the cloud says: the entitlement was revoked",
    ),
    (
        an_entity(an_enum_feature("f")),
        a_query(requested_values=("eu", "moon")),
        'Denied: requested "moon", but permitted are "eu", "us"',
    ),
    (an_entity(an_enum_feature("f")), a_query(requested_values=("eu",)), 'Granted: requested "eu", all'),
    (
        an_entity(an_enum_feature("f", values=())),
        a_query(),
        "Granted: no value was requested; permitted are none",
    ),
    (
        an_entity(a_boolean_feature("f", credit_rate=CreditRate(amount=1, currency_id="tokens")), BALANCE),
        a_query(),
        'Denied: it draws on "tokens": 0 of 1,000 credits are left',
    ),
    (
        an_entity(BALANCE),
        a_credit_query(requested_usage=2),
        'Denied: "tokens": 0 of 1,000 credits are left; requested 2',
    ),
    (
        an_entity(METER),
        a_credit_query(),
        'Denied: no currency "tokens": the customer has no such entitlement',
    ),
    (
        an_entity(METER),
        a_query("x", expected_kind=EntitlementKind.ENUM),
        'Denied: no feature "x": the feature is not part of the subscription',
    ),
    (
        an_entity(METER),
        a_query("g"),
        'Granted by a fallback (ENTITLEMENTS_FALLBACK): no feature "g": the feature is not part',
    ),
    (
        an_entity(METER),
        a_query("f", expected_kind=EntitlementKind.ENUM),
        "Denied by a fallback (the default, as none is configured): it is metered, but was asked for as enum",
    ),
    (
        an_entity(METER),
        a_query("f", expected_kind=EntitlementKind.ENUM, fallback=FallbackValue(has_access=True)),
        "Granted by a fallback (the call's own): it is metered",
    ),
    (
        an_entity(METER),
        a_query(""),
        "Denied by a fallback (the default, as none is configured): name a feature",
    ),
]


def explaining_of(house: House) -> Explaining:
    return Explaining(reader=house.reader, rules=house.rules, authority=house.api, clock=house.clock)


@pytest.mark.parametrize(("entity", "query", "expected"), HEADLINES)
async def test_the_headline_says_what_decided(entity: Entity, query: Query, expected: str) -> None:
    house = build_house(rules=RULES)
    house.edge.answer = entity

    explained = await explaining_of(house).explain(query)

    await house.fetcher.stop()
    assert headline(explained).startswith(expected)
    assert "headline" in json.loads(json.dumps(explanation_document(explained)))


@pytest.mark.parametrize(
    ("entity", "query", "reported"),
    [
        (
            an_entity(a_metered_feature("f", limit=5, usage=a_usage(5))),
            a_query(),
            "; 0 left: the next 1 is denied",
        ),
        (
            an_entity(a_metered_feature("f", limit=5, usage=a_usage(4.5))),
            a_query(requested_usage=0),
            "; 0.5 left: the next 1 is denied",
        ),
        (an_entity(a_metered_feature("f", limit=5, usage=a_usage(4))), a_query(), ""),
        (an_entity(a_metered_feature("f", limit=5, usage=a_usage(4))), a_query(requested_usage=1), ""),
        (an_entity(a_boolean_feature("f")), a_query(), ""),
        (
            an_entity(a_credit(limit=5, usage=a_usage(4.5))),
            a_credit_query(),
            "; 0.5 left: the next 1 is denied",
        ),
    ],
)
async def test_a_limit_that_is_reached_is_shown_though_it_is_granted(
    entity: Entity, query: Query, reported: str
) -> None:
    """Where nothing was asked for that would exceed it."""
    house = build_house()
    house.edge.answer = entity

    explained = await explaining_of(house).explain(query)

    await house.fetcher.stop()
    step = explained.steps[-1]
    assert headline(explained) == f"Granted: {step_text(step, explained)}{reported}"


async def test_an_ended_period_and_validity_are_reported(house: House) -> None:
    """With what was counted before, and since when it is over."""
    usage = a_usage(105, period_end_ms=NOW_MS - 2 * HOUR_MS)
    house.edge.answer = an_entity(
        a_metered_feature("f", limit=100, usage=usage, valid_until_ms=NOW_MS - HOUR_MS)
    )

    explained = explanation_document(await explaining_of(house).explain(a_query()))

    texts = {step["rule"]: step["text"] for step in explained["steps"]}
    assert texts["period"] == "its usage period ended 2 h ago: usage 105 starts again at 0"
    assert texts["entitlement"] == 'feature "f" is known as metered; it was valid until 1 h ago'
    assert ["passed", "passed", "passed", "passed", "granted"] == [
        step["verdict"] for step in explained["steps"]
    ]


def test_every_reason_and_state_has_words() -> None:
    assert set(AccessDeniedReason) == set(REASONS)
    for source in Source:
        for state in (*EntityState, None):
            assert provenance_text(Provenance(source=source, state=state))
    assert "from memory, confirmed by the cloud 1 min 5 s ago, fresh" == provenance_text(
        Provenance(source=Source.MEMORY, state=EntityState.FRESH, age_ms=65_000)
    )
