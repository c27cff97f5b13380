"""The shared tier against a real Redis: each rule of contract/redis.md on reading, and junk."""

import json
import logging

import pytest
from prometheus_client import REGISTRY

from entitlements.cache.redis import RedisTier
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import (
    Feature,
    FeatureType,
    MeteredEntitlement,
    MeterType,
    ResetPeriod,
    Usage,
)
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.freshness import NEVER
from entitlements.domain.reason import AccessDeniedReason
from tests.builders import a_boolean_feature, an_entity
from tests.cache.samples import CUSTOMER, NOW_MS, RESOURCE, credit, entity, metered, usage_update
from tests.redis.parts import ShiftedClock, put, taken
from tests.redis_server import RedisServer

ENTITY = "production:c_customer-1"


def junk_count() -> float:
    return REGISTRY.get_sample_value("sidecar_cache_junk_total", {"tier": "redis"}) or 0.0


async def test_what_another_wrote_is_read(redis: RedisServer, tier: RedisTier) -> None:
    """An entity in the older form, without metadata, by a writer of its own."""
    document = {
        "feature-seats": {
            "calculatedEntitlement": {
                "feature": {"id": "seats", "featureType": "NUMBER", "meterType": "Fluctuating"},
                "usageLimit": 10,
            },
            "featureUsage": {
                "currentUsage": 1,
                "resetPeriod": "MONTH",
                "usagePeriodAnchor": 5,
                "nextResetDate": 6,
            },
        }
    }
    redis.command("SET", ENTITY, json.dumps(document))
    redis.command("SET", f"{ENTITY}#timestamp", NOW_MS)
    redis.command("SET", f"{ENTITY}:f_seats", '{"currentUsage": 3, "nextResetDate": 7}')
    redis.command("SET", f"{ENTITY}:f_seats#timestamp", NOW_MS + 1)

    feature = Feature(id="seats", feature_type=FeatureType.NUMBER, meter_type=MeterType.FLUCTUATING)
    assert await taken(tier, CUSTOMER) == entity(
        MeteredEntitlement(
            feature=feature,
            usage_limit=10,
            usage=Usage(current=3, period_end_ms=7, updated_at_ms=NOW_MS + 1),
            reset_period=ResetPeriod.MONTH,
            period_anchor_ms=5,
        )
    )


async def test_usage_is_taken_from_its_own_key(redis: RedisServer, tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3), credit(current=3)))
    for name in ("f_seats", "credit_tokens"):
        redis.command("SET", f"{ENTITY}:{name}", '{"currentUsage": 7}')
        redis.command("SET", f"{ENTITY}:{name}#timestamp", "5")

    found = await taken(tier, CUSTOMER)

    assert isinstance(found, Entity)
    seats = found.features["seats"]
    assert isinstance(seats, MeteredEntitlement)
    assert Usage(current=7, updated_at_ms=5) == seats.usage
    assert Usage(current=7, updated_at_ms=5) == found.credits["tokens"].usage


@pytest.mark.parametrize("name", ["f_seats", "credit_tokens"])
@pytest.mark.parametrize("suffix", ["", "#timestamp"])
async def test_a_missing_usage_key_or_timestamp_is_a_miss_for_the_entity(
    redis: RedisServer, tier: RedisTier, name: str, suffix: str
) -> None:
    await put(tier, CUSTOMER, entity(metered(), credit(), a_boolean_feature()))

    redis.command("DEL", f"{ENTITY}:{name}{suffix}")

    assert await taken(tier, CUSTOMER) is Miss.ABSENT


@pytest.mark.parametrize("name", ["f_seats", "credit_tokens"])
async def test_a_usage_that_a_writer_left_out_is_the_documents(
    redis: RedisServer, tier: RedisTier, name: str
) -> None:
    """As official writers do before the first usage: enough for a check, which is checked again behind it."""
    stored = entity(metered(current=2), credit(current=3), a_boolean_feature())
    await put(tier, CUSTOMER, stored)

    redis.command("DEL", f"{ENTITY}:{name}", f"{ENTITY}:{name}#timestamp")
    found = await tier.get(CUSTOMER)

    assert isinstance(found, CachedEntity)
    assert found.lacks_usages
    assert NEVER == found.confirmed_at
    seats = found.entity.features["seats"]
    assert isinstance(seats, MeteredEntitlement)
    assert 2 == seats.usage.current
    assert 3 == found.entity.credits["tokens"].usage.current


async def test_what_a_fetch_writes_lacks_nothing(redis: RedisServer, tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    redis.command("DEL", f"{ENTITY}:f_seats", f"{ENTITY}:f_seats#timestamp")

    await put(tier, CUSTOMER, entity(metered()))
    found = await tier.get(CUSTOMER)

    assert isinstance(found, CachedEntity)
    assert not found.lacks_usages


async def test_a_feature_that_is_not_counted_needs_no_usage_key(redis: RedisServer, tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(a_boolean_feature()))

    assert f"{ENTITY}:f_flag" not in redis.texts()
    assert entity(a_boolean_feature()) == await taken(tier, CUSTOMER)


@pytest.mark.parametrize("suffix", ["", "#timestamp"])
async def test_an_entity_without_its_timestamp_or_value_is_a_miss(
    redis: RedisServer, tier: RedisTier, suffix: str
) -> None:
    await put(tier, CUSTOMER, entity(metered()))

    redis.command("DEL", f"{ENTITY}{suffix}")

    assert await taken(tier, CUSTOMER) is Miss.ABSENT


@pytest.mark.parametrize("has_metadata", [True, False])
async def test_the_state_level_reason_is_the_metadatas(
    redis: RedisServer, tier: RedisTier, has_metadata: bool
) -> None:
    stored = an_entity(metered(), denied_reason=AccessDeniedReason.CUSTOMER_IS_ARCHIVED)
    await put(tier, CUSTOMER, stored)
    if not has_metadata:
        redis.command("DEL", f"{ENTITY}:metadata")

    found = await taken(tier, CUSTOMER)

    assert isinstance(found, Entity)
    assert found.denied_reason is (AccessDeniedReason.CUSTOMER_IS_ARCHIVED if has_metadata else None)


@pytest.mark.parametrize(
    ("customer_at", "expected"),
    [
        (None, Miss.OUTDATED),
        (NOW_MS - 1, entity(credit())),
        (NOW_MS, entity(credit())),
        (NOW_MS + 1, Miss.OUTDATED),
    ],
)
async def test_a_resource_is_no_newer_than_its_customer(
    redis: RedisServer, tier: RedisTier, customer_at: int | None, expected: Entity | Miss
) -> None:
    await put(tier, RESOURCE, entity(credit(), at_ms=NOW_MS))
    redis.command("DEL", f"{ENTITY}#timestamp")
    if customer_at is not None:
        redis.command("SET", f"{ENTITY}#timestamp", customer_at)

    assert expected == await taken(tier, RESOURCE)


@pytest.mark.parametrize(
    ("name", "junk"),
    [
        *((name, junk) for name in ("", ":metadata", ":f_seats") for junk in ("x", "[1]", "5", b"\x80\xff")),
        *((f"{name}#timestamp", junk) for name in ("", ":f_seats") for junk in ("junk", "-5", b"\x80", "{}")),
        ("", '{"seats": 5}'),
        (":metadata", '{"accessDeniedReason": 5}'),
        (":f_seats", '{"currentUsage": []}'),
    ],
)
async def test_junk_is_a_counted_miss_and_a_fetch_replaces_it(
    redis: RedisServer, tier: RedisTier, name: str, junk: str | bytes
) -> None:
    """The fetch may well be older than the timestamp beside the junk: it replaces it all the same."""
    await put(tier, CUSTOMER, entity(metered(), at_ms=NOW_MS))
    redis.command("SET", f"{ENTITY}{name}", junk)
    before = junk_count()

    found = await taken(tier, CUSTOMER)
    await put(tier, CUSTOMER, entity(metered(usage_at_ms=NOW_MS - 9), at_ms=NOW_MS - 9))

    assert Miss.JUNK == found
    assert before + 1 == junk_count()
    assert isinstance(await taken(tier, CUSTOMER), Entity)


async def test_junk_in_the_customers_timestamp_is_a_miss_for_the_resource(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, RESOURCE, entity(metered()))
    redis.command("SET", f"{ENTITY}#timestamp", "junk")

    found = await taken(tier, RESOURCE)
    await put(tier, RESOURCE, entity(metered()))

    assert found is Miss.JUNK
    assert entity(metered()) == await taken(tier, RESOURCE)


@pytest.mark.parametrize("key", [ENTITY, f"{ENTITY}#timestamp", f"{ENTITY}:f_seats"])
async def test_what_is_no_string_is_a_miss(redis: RedisServer, tier: RedisTier, key: str) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    redis.command("DEL", key)
    redis.command("LPUSH", key, "other", "data")

    assert await taken(tier, CUSTOMER) is Miss.ABSENT


async def test_junk_is_logged_once_and_without_ids(
    redis: RedisServer, tier: RedisTier, clock: ShiftedClock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        await put(tier, EntityKey(f"secret-{number}"), entity(metered()))
        redis.command("SET", f"production:c_secret-{number}", "junk")

    with caplog.at_level(logging.WARNING):
        for number in range(3):
            await taken(tier, EntityKey(f"secret-{number}"))
        once = len(caplog.records)
        clock.shift_seconds = 61
        redis.command("SET", "production:c_secret-0#timestamp", "5")
        await taken(tier, EntityKey("secret-0"))

    assert 1 == once
    assert 2 == len(caplog.records)
    assert 2 == caplog.records[-1].__dict__["untold"]
    assert "secret" not in caplog.text


async def test_an_update_of_a_usage_that_is_gone_starts_from_the_map(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    redis.command("DEL", f"{ENTITY}:f_seats")

    moved = await tier.apply_usage(CUSTOMER, usage_update(current=5))

    assert Shared.TAKEN is moved
    assert json.loads(redis.text(f"{ENTITY}:f_seats") or "") == {
        "currentUsage": 5,
        "usagePeriodStart": NOW_MS - 1000,
        "usagePeriodEnd": NOW_MS + 1000,
    }
