"""Whole documents: what is written is read again, and what others wrote is read or is junk."""

import json
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entitlements.cache.codec import (
    Metadata,
    decode_entity,
    decode_metadata,
    decode_timestamp,
    decode_usage,
    encode_entity,
    encode_metadata,
    encode_usage,
)
from entitlements.domain.entitlement import (
    BooleanEntitlement,
    CreditEntitlement,
    CreditRate,
    Currency,
    Entitlement,
    EnumEntitlement,
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    NumericEntitlement,
    ResetPeriod,
    ResetPeriodConfiguration,
    UnitTransformation,
    Usage,
)
from entitlements.domain.entity import Entity
from entitlements.domain.moments import LATEST_MS
from entitlements.domain.reason import AccessDeniedReason
from entitlements.json_fields import Malformed
from entitlements.redis.scripts import encode_timestamp
from tests.builders import a_boolean_feature, a_credit, a_metered_feature, an_entity
from tests.cache.samples import CUSTOMER, RESOURCE

_texts = st.text(max_size=8)
_ids = st.text(min_size=1, max_size=8)
_numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5).map(float)
_moments = st.integers(0, LATEST_MS)
_reasons = st.none() | st.sampled_from(AccessDeniedReason)
_json = st.recursive(st.none() | st.booleans() | _numbers | _texts, lambda inner: st.lists(inner, max_size=2))
_usages = st.builds(
    Usage,
    current=_numbers,
    period_start_ms=st.none() | _moments,
    period_end_ms=st.none() | _moments,
    updated_at_ms=_moments,
)
_rates = st.none() | st.builds(CreditRate, amount=_numbers, currency_id=_ids)
_transformations = st.none() | st.builds(UnitTransformation, divide=_numbers, round=st.none() | _texts)


def _features(type_: FeatureType, *meters: MeterType | None) -> st.SearchStrategy[Feature]:
    words = st.none() | _texts
    return st.builds(
        Feature,
        id=_ids,
        feature_type=st.just(type_),
        meter_type=st.sampled_from(meters or (None,)),
        display_name=words,
        description=words,
        units=words,
        units_plural=words,
        unit_transformation=_transformations,
    )


_common = {"denied_reason": _reasons, "valid_until_ms": st.none() | _moments}
_terms = _common | {"credit_rate": _rates}
_limits = {"is_unlimited": st.booleans(), "has_soft_limit": st.none() | st.booleans()}
_entitlements: st.SearchStrategy[Entitlement] = st.one_of(
    st.builds(BooleanEntitlement, feature=_features(FeatureType.BOOLEAN), **_terms),
    st.builds(
        EnumEntitlement,
        feature=_features(FeatureType.ENUM),
        enum_values=st.lists(_texts, max_size=3).map(tuple),
        **_terms,
    ),
    st.builds(
        NumericEntitlement,
        feature=_features(FeatureType.NUMBER, None, MeterType.NONE),
        value=st.none() | _numbers,
        **_terms,
        **_limits,
    ),
    st.builds(
        MeteredEntitlement,
        feature=_features(FeatureType.NUMBER, MeterType.INCREMENTAL, MeterType.FLUCTUATING),
        usage_limit=st.none() | _numbers,
        usage=_usages,
        reset_period=st.none() | st.sampled_from(ResetPeriod),
        reset_period_configuration=st.none()
        | st.builds(ResetPeriodConfiguration, field=st.just("weeklyAccordingTo"), according_to=_texts),
        period_anchor_ms=st.none() | _moments,
        **_terms,
        **_limits,
    ),
    st.builds(
        CreditEntitlement,
        currency=st.builds(
            Currency,
            currency_id=_ids,
            display_name=_texts,
            description=st.none() | _texts,
            additional_meta_data=st.none() | st.dictionaries(_texts, _json, max_size=2),
        ),
        usage_limit=_numbers,
        has_soft_limit=st.booleans(),
        usage=_usages,
        **_common,
    ),
)


@given(st.lists(_entitlements, max_size=4))
def test_an_entity_is_read_as_it_was_written(entitlements: list[Entitlement]) -> None:
    entity = an_entity(*entitlements, updated_at_ms=0)

    assert entity == decode_entity(encode_entity(RESOURCE, entity))


@given(_usages)
def test_a_usage_is_read_as_it_was_written(usage: Usage) -> None:
    assert usage == decode_usage(encode_usage(usage), updated_at_ms=usage.updated_at_ms)


@given(
    st.binary(max_size=40)
    | st.recursive(_json, lambda inner: st.dictionaries(_texts, inner)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_whatever_is_found_is_read_or_is_junk(text: bytes) -> None:
    for decode in (decode_entity, decode_metadata, decode_timestamp):
        try:
            decode(text)
        except Malformed:
            continue


def test_features_stand_under_their_plain_ids() -> None:
    entity = an_entity(a_boolean_feature("flag"), a_metered_feature("seats"))

    assert ["flag", "seats"] == list(json.loads(encode_entity(CUSTOMER, entity)))


def test_a_feature_and_a_credit_of_one_name_are_both_kept() -> None:
    entity = an_entity(
        a_boolean_feature("tokens"), a_boolean_feature("credit_tokens"), a_credit("tokens"), updated_at_ms=0
    )

    assert entity == decode_entity(encode_entity(CUSTOMER, entity))


def test_an_id_comes_from_the_value() -> None:
    text = b'{"other":{"calculatedEntitlement":{"feature":{"id":"flag","featureType":"BOOLEAN"}}}}'

    assert {"flag"} == set(decode_entity(text).features)


def test_an_entry_that_is_skipped_leaves_the_others() -> None:
    text = (
        b'{"a":{"calculatedEntitlement":{}},'
        b'"b":{"calculatedEntitlement":{"feature":{"id":"flag","featureType":"BOOLEAN"}}}}'
    )

    assert {"flag"} == set(decode_entity(text).features)


def test_an_empty_map_is_an_empty_entity() -> None:
    assert Entity() == decode_entity(b"{}")
    assert encode_entity(CUSTOMER, Entity()) == b"{}"


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"a":1}', b'{"a":{"calculatedEntitlement":1}}'])
def test_what_is_no_map_of_entries_is_junk(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_entity(text)


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        (Metadata(), b'{"accessDeniedReason":null}'),
        (
            Metadata(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND),
            b'{"accessDeniedReason":"CustomerNotFound"}',
        ),
        (Metadata(customer_timestamp_ms=5), b'{"accessDeniedReason":null,"customerTimestamp":5}'),
    ],
)
def test_metadata_is_the_contracts(metadata: Metadata, text: bytes) -> None:
    assert text == encode_metadata(metadata)
    assert metadata == decode_metadata(text)


def test_missing_metadata_says_nothing() -> None:
    assert Metadata() == decode_metadata(None)


@pytest.mark.parametrize("text", [b"[]", b"x", b'{"accessDeniedReason":1}'])
def test_what_is_no_metadata_is_junk(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_metadata(text)


@pytest.mark.parametrize("timestamp_ms", [0, 1, 1_760_000_000_000, LATEST_MS])
def test_a_timestamp_is_a_decimal_string(timestamp_ms: int) -> None:
    assert str(timestamp_ms).encode() == encode_timestamp(timestamp_ms)
    assert timestamp_ms == decode_timestamp(encode_timestamp(timestamp_ms))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-1",
        b"1.5",
        b"1e3",
        b" 1",
        b"1_0",
        b"NaN",
        b"0x1",
        "\u0661".encode(),
        b"253402300800000",
        b"1" * 5000,
    ],
)
def test_what_is_no_timestamp_is_junk(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_timestamp(text)


def test_meta_data_is_not_changed_in_place() -> None:
    text = encode_entity(
        CUSTOMER,
        an_entity(
            CreditEntitlement(currency=Currency(currency_id="tokens", additional_meta_data={"a": [1]}))
        ),
    )

    assert isinstance(decode_entity(text).credits["tokens"].currency.additional_meta_data, MappingProxyType)
