"""What is written in the API's shape is read as the same entity."""

import json
from dataclasses import replace

from hypothesis import given

from entitlements.domain.entitlement import (
    CreditRate,
    Currency,
    FeatureType,
    MeterType,
    ResetPeriod,
    ResetPeriodConfiguration,
    UnitTransformation,
)
from entitlements.domain.entity import Entity
from entitlements.domain.reason import AccessDeniedReason
from entitlements.upstream.payloads import entity_from_state
from entitlements.upstream.state_documents import state_from_entity
from tests.builders import (
    NOW_MS,
    a_boolean_feature,
    a_credit,
    a_feature,
    a_metered_feature,
    a_numeric_feature,
    a_usage,
    an_entity,
    an_enum_feature,
)
from tests.domain.strategies import entities


def _read_again(entity: Entity) -> Entity:
    return entity_from_state(json.loads(json.dumps(state_from_entity(entity))), now_ms=NOW_MS)


@given(entities())
def test_an_entity_is_read_as_it_was_written(entity: Entity) -> None:
    """Any kind of entitlement, any usage; what is empty has no place for a timestamp."""
    expected = replace(entity, updated_at_ms=0) if entity.is_empty else entity

    assert expected == _read_again(entity)


def test_every_field_is_kept() -> None:
    """Terms, units, periods, rates, reasons."""
    feature = replace(
        a_feature("calls", feature_type=FeatureType.NUMBER, meter_type=MeterType.INCREMENTAL),
        display_name="Calls",
        description="of the API",
        units="call",
        units_plural="calls",
        unit_transformation=UnitTransformation(divide=10.0, round="UP"),
    )
    metered = replace(
        a_metered_feature(
            "calls",
            limit=None,
            is_unlimited=True,
            has_soft_limit=True,
            usage=a_usage(3.5, period_start_ms=NOW_MS - 1, period_end_ms=NOW_MS + 1, updated_at_ms=NOW_MS),
            reset_period=ResetPeriod.MONTH,
            reset_period_configuration=ResetPeriodConfiguration(
                field="monthlyAccordingTo", according_to="SubscriptionStart"
            ),
            period_anchor_ms=NOW_MS - 2,
            credit_rate=CreditRate(amount=0.5, currency_id="tokens"),
        ),
        feature=feature,
    )
    balance = replace(
        a_credit(limit=7.5, has_soft_limit=True, valid_until_ms=NOW_MS),
        currency=Currency(
            currency_id="tokens",
            display_name="Tokens",
            description="for thinking",
            unit_singular="token",
            unit_plural="tokens",
            additional_meta_data={"icon": "spark"},
        ),
    )
    entity = an_entity(
        metered,
        a_numeric_feature("quota", value=None, is_unlimited=True),
        an_enum_feature(denied_reason=AccessDeniedReason.REVOKED),
        a_boolean_feature(valid_until_ms=NOW_MS),
        balance,
        denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION,
        updated_at_ms=NOW_MS,
    )

    assert entity == _read_again(entity)
