"""The shared tier against a real Redis: each rule of contract/redis.md on writing."""

import json
import time
from dataclasses import replace
from unittest.mock import ANY

import pytest
from prometheus_client import REGISTRY

from entitlements.cache import redis_writing
from entitlements.cache.redis import UNKNOWN_CUSTOMER_TTL_SECONDS, RedisTier
from entitlements.cache.tiers import Miss, Shared
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import NO_TIMESTAMP_MS, MeteredEntitlement
from entitlements.domain.entity import Entity, EntityKey, UsageUpdate
from entitlements.domain.reason import AccessDeniedReason
from entitlements.redis.connection import RedisConnection
from tests.builders import a_boolean_feature, an_entity
from tests.cache.samples import CUSTOMER, NOW_MS, RESOURCE, credit, entity, metered, usage_update
from tests.redis.parts import TTL_SECONDS, a_tier, put, taken
from tests.redis_server import RedisServer

ENTITY = "production:c_customer-1"


async def current_usage(tier: RedisTier, key: EntityKey = CUSTOMER) -> float | None:
    found = await taken(tier, key)
    if isinstance(found, Miss):
        return None
    seats = found.features["seats"]
    assert isinstance(seats, MeteredEntitlement)
    return seats.usage.current


async def test_the_keys_and_values_are_the_contracts(redis: RedisServer, tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3), credit(current=4.5)))

    texts = redis.texts()
    usage = f'"usagePeriodStart":{NOW_MS - 1000},"usagePeriodEnd":{NOW_MS + 1000}'
    assert texts.pop(ENTITY)
    metadata = json.loads(texts.pop(f"{ENTITY}:metadata") or "")
    assert metadata.pop("toldAt") > 0
    assert metadata == {"accessDeniedReason": None}
    assert texts == {
        f"{ENTITY}#timestamp": f"{NOW_MS}",
        f"{ENTITY}:metadata#timestamp": f"{NOW_MS}",
        f"{ENTITY}:f_seats": f'{{"currentUsage":3,{usage}}}',
        f"{ENTITY}:f_seats#timestamp": f"{NOW_MS}",
        f"{ENTITY}:credit_tokens": '{"currentUsage":4.5,"usagePeriodStart":null,"usagePeriodEnd":null}',
        f"{ENTITY}:credit_tokens#timestamp": f"{NOW_MS}",
    }


async def test_a_resource_has_keys_of_its_own(redis: RedisServer, tier: RedisTier) -> None:
    await put(tier, RESOURCE, entity(metered()))

    assert {
        f"{ENTITY}:r_resource-1",
        f"{ENTITY}:r_resource-1#timestamp",
        f"{ENTITY}:r_resource-1:metadata",
        f"{ENTITY}:r_resource-1:metadata#timestamp",
        f"{ENTITY}:r_resource-1:f_seats",
        f"{ENTITY}:r_resource-1:f_seats#timestamp",
        f"{ENTITY}#timestamp",
    } == set(redis.texts())


async def test_what_was_stored_is_got(tier: RedisTier) -> None:
    stored = an_entity(
        metered(), credit(), a_boolean_feature(), denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION
    )

    await put(tier, CUSTOMER, stored)

    assert stored == await taken(tier, CUSTOMER)


async def test_what_was_never_stored_is_absent(tier: RedisTier) -> None:
    assert await taken(tier, CUSTOMER) is Miss.ABSENT


@pytest.mark.parametrize("customer_id", ["a b", "ä\U0001f600", "a%41", "a:b", "*?[x]\\", '"', "\n", "\ud800"])
async def test_ids_are_raw_in_keys(tier: RedisTier, customer_id: str) -> None:
    key = EntityKey(customer_id)

    await put(tier, key, entity(metered()))

    assert entity(metered()) == await taken(tier, key)


@pytest.mark.parametrize(
    ("arrived_at_ms", "stamp_ms"),
    [
        (NOW_MS - 1, NOW_MS),
        (NOW_MS, NOW_MS),
        (NOW_MS + 1, NOW_MS + 1),
        (NO_TIMESTAMP_MS, NO_TIMESTAMP_MS),
    ],
)
async def test_a_set_sent_later_replaces_whatever_its_stamp(
    tier: RedisTier, arrived_at_ms: int, stamp_ms: int
) -> None:
    """What was taken away may have been stamped last; official readers see a stamp that never goes back."""
    arrived = Entity(denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION, updated_at_ms=arrived_at_ms)
    await put(tier, CUSTOMER, entity(credit(), at_ms=NOW_MS))

    await put(tier, CUSTOMER, arrived)

    assert replace(arrived, updated_at_ms=stamp_ms) == await taken(tier, CUSTOMER)


@pytest.mark.parametrize("arrived_at_ms", [NOW_MS - 1, NOW_MS, NOW_MS + 1])
async def test_a_set_sent_earlier_than_the_one_in_redis_is_not_written(
    tier: RedisTier, arrived_at_ms: int
) -> None:
    """A process that was stopped for a while must not put back what another has replaced meanwhile."""
    held = entity(credit(), at_ms=NOW_MS)
    await put(tier, CUSTOMER, held)

    late = CachedEntity(entity=entity(metered(), at_ms=arrived_at_ms), confirmed_at=time.monotonic() - 60)
    await tier.store(CUSTOMER, late)

    assert held == await taken(tier, CUSTOMER)


async def test_a_usage_stamped_in_the_year_9999_gives_way(redis: RedisServer, tier: RedisTier) -> None:
    """A clock that was wrong must not freeze a meter."""
    await put(tier, CUSTOMER, entity(metered(current=9, usage_at_ms=253_402_300_799_000)))

    await put(tier, CUSTOMER, entity(metered(current=3)))

    assert redis.text(f"{ENTITY}:f_seats#timestamp") == str(NOW_MS)


async def test_each_key_is_compared_by_its_own_timestamp(tier: RedisTier) -> None:
    """Older entitlements with newer usage: the usage is written, the entitlements are not."""
    await put(tier, CUSTOMER, entity(metered(current=3, usage_at_ms=NOW_MS), at_ms=NOW_MS))

    await put(tier, CUSTOMER, entity(metered(current=5, usage_at_ms=NOW_MS + 1), at_ms=NOW_MS - 1))

    expected = entity(metered(current=5, usage_at_ms=NOW_MS + 1), at_ms=NOW_MS)
    assert expected == await taken(tier, CUSTOMER)


async def test_newer_entitlements_do_not_bring_older_usage(tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3, usage_at_ms=NOW_MS), at_ms=NOW_MS))

    await put(tier, CUSTOMER, entity(metered(current=2, usage_at_ms=NOW_MS - 1), at_ms=NOW_MS + 1))

    assert 3 == await current_usage(tier)


async def test_entitlements_without_a_timestamp_are_stamped_now(tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered(), at_ms=NO_TIMESTAMP_MS))

    assert entity(metered(), at_ms=NOW_MS) == await taken(tier, CUSTOMER)


async def test_a_meter_without_a_timestamp_is_a_hit_after_a_fetch(
    redis: RedisServer, tier: RedisTier
) -> None:
    """The vendor's misses on every read for ever (contract/better.md)."""
    await put(tier, CUSTOMER, entity(metered(current=3, usage_at_ms=NO_TIMESTAMP_MS)))

    assert 3 == await current_usage(tier)
    assert redis.text(f"{ENTITY}:f_seats#timestamp") == "0"


@pytest.mark.parametrize("ttl_seconds", [TTL_SECONDS, 100])
async def test_every_key_expires(redis: RedisServer, connection: RedisConnection, ttl_seconds: int) -> None:
    tier = a_tier(connection, ttl_seconds=ttl_seconds)
    await put(tier, RESOURCE, entity(metered(), credit()))
    await tier.apply_usage(RESOURCE, usage_update())

    lifetimes = {redis.command("TTL", name) for name in redis.texts()}
    assert {ttl_seconds, ttl_seconds - 1} >= lifetimes


@pytest.mark.parametrize("ttl_seconds", [-1, -604800, 0])
async def test_a_negative_ttl_writes_without_expiry(
    redis: RedisServer, connection: RedisConnection, ttl_seconds: int
) -> None:
    tier = a_tier(connection, ttl_seconds=ttl_seconds)
    await put(tier, RESOURCE, entity(metered(), credit()))
    await tier.apply_usage(RESOURCE, usage_update())

    assert {redis.command("TTL", name) for name in redis.texts()} == {-1}


@pytest.mark.parametrize(
    ("ttl_seconds", "expected"), [(TTL_SECONDS, UNKNOWN_CUSTOMER_TTL_SECONDS), (-1, 5), (2, 2)]
)
@pytest.mark.parametrize("reason", [None, AccessDeniedReason.CUSTOMER_NOT_FOUND])
async def test_an_unknown_customer_is_short_lived(
    redis: RedisServer,
    connection: RedisConnection,
    reason: AccessDeniedReason | None,
    ttl_seconds: int,
    expected: int,
) -> None:
    tier = a_tier(connection, ttl_seconds=ttl_seconds)

    await put(tier, CUSTOMER, Entity(denied_reason=reason))

    assert redis.texts()
    assert {expected, expected - 1} >= {redis.command("TTL", name) for name in redis.texts()}
    assert Entity(denied_reason=reason) == await taken(tier, CUSTOMER)


async def test_an_unknown_customer_is_replaced_by_the_first_event(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, Entity(denied_reason=AccessDeniedReason.CUSTOMER_NOT_FOUND))

    await put(tier, CUSTOMER, entity(metered(), at_ms=1))

    assert entity(metered(), at_ms=1) == await taken(tier, CUSTOMER)
    assert redis.command("TTL", ENTITY) > UNKNOWN_CUSTOMER_TTL_SECONDS


async def test_a_customer_without_a_subscription_lives_as_long_as_others(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, Entity(denied_reason=AccessDeniedReason.NO_ACTIVE_SUBSCRIPTION))

    assert redis.command("TTL", ENTITY) > UNKNOWN_CUSTOMER_TTL_SECONDS


async def test_a_fetch_settles_a_resource_whose_customer_was_never_read(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, RESOURCE, entity(metered()))

    assert entity(metered()) == await taken(tier, RESOURCE)
    assert redis.text(f"{ENTITY}#timestamp") == "0"
    assert await taken(tier, CUSTOMER) is Miss.ABSENT


async def test_a_fetch_settles_a_resource_whose_timestamp_is_older_than_its_customers(
    redis: RedisServer, tier: RedisTier
) -> None:
    """The vendor's misses on every read for ever (contract/better.md)."""
    await put(tier, CUSTOMER, entity(metered(), at_ms=NOW_MS))
    await put(tier, RESOURCE, entity(credit(), at_ms=NOW_MS - 5))

    assert entity(credit(), at_ms=NOW_MS - 5) == await taken(tier, RESOURCE)
    assert redis.text(f"{ENTITY}:r_resource-1#timestamp") == str(NOW_MS - 5)
    assert json.loads(redis.text(f"{ENTITY}:r_resource-1:metadata") or "") == {
        "accessDeniedReason": None,
        "customerTimestamp": NOW_MS,
        "toldAt": ANY,
    }


async def test_a_settled_resource_is_outdated_again_when_its_customer_changes(tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(metered(), at_ms=NOW_MS))
    await put(tier, RESOURCE, entity(credit(), at_ms=NOW_MS - 5))

    await put(tier, CUSTOMER, entity(metered(), at_ms=NOW_MS + 1))

    assert await taken(tier, RESOURCE) is Miss.OUTDATED


async def test_a_settled_resource_still_takes_an_event_between_the_two_timestamps(tier: RedisTier) -> None:
    """Were the resource stamped like its customer, an event that came late would be lost for good."""
    await put(tier, CUSTOMER, entity(metered(), at_ms=NOW_MS))
    await put(tier, RESOURCE, entity(credit(current=1), at_ms=NOW_MS - 5))

    await put(tier, RESOURCE, entity(credit(current=2), at_ms=NOW_MS - 2))

    assert entity(credit(current=2), at_ms=NOW_MS - 2) == await taken(tier, RESOURCE)


@pytest.mark.parametrize("timestamp", [None, "junk", "99999999999999999"])
async def test_a_customer_without_a_usable_timestamp_does_not_keep_its_resource_from_being_a_hit(
    redis: RedisServer, tier: RedisTier, timestamp: str | None
) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    redis.command("DEL", f"{ENTITY}#timestamp")
    if timestamp is not None:
        redis.command("SET", f"{ENTITY}#timestamp", timestamp)

    await put(tier, RESOURCE, entity(credit()))

    assert entity(credit()) == await taken(tier, RESOURCE)
    assert await taken(tier, CUSTOMER) is Miss.ABSENT  # and not its old value with a made-up timestamp


@pytest.mark.parametrize(
    ("at_ms", "current"), [(NOW_MS - 1, 3), (NOW_MS, 5), (NOW_MS + 1, 5), (NO_TIMESTAMP_MS, 5)]
)
async def test_usage_moves_unless_it_is_older(tier: RedisTier, at_ms: int, current: float) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3)))

    moved = await tier.apply_usage(CUSTOMER, usage_update(current=5, at_ms=at_ms))

    assert (current == 5) == (moved is Shared.TAKEN)
    assert current == await current_usage(tier)


async def test_usage_of_a_balance_moves(tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(credit(current=3)))

    moved = await tier.apply_usage(
        CUSTOMER, UsageUpdate(currency_id="tokens", current=5, updated_at_ms=NOW_MS + 1)
    )

    assert Shared.TAKEN is moved
    assert entity(credit(current=5, usage_at_ms=NOW_MS + 1)) == await taken(tier, CUSTOMER)


async def test_usage_without_a_period_keeps_the_one_in_the_usage_key(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    with_period = UsageUpdate(
        feature_id="seats",
        current=1,
        updated_at_ms=NOW_MS + 1,
        period_start_ms=NOW_MS - 5,
        period_end_ms=NOW_MS + 6,
    )
    await tier.apply_usage(CUSTOMER, with_period)

    await tier.apply_usage(CUSTOMER, usage_update(current=5, at_ms=NOW_MS + 2))

    assert json.loads(redis.text(f"{ENTITY}:f_seats") or "") == {
        "currentUsage": 5,
        "usagePeriodStart": NOW_MS - 5,
        "usagePeriodEnd": NOW_MS + 6,
    }


async def test_usage_that_others_always_forestall_is_written_as_the_newest(
    tier: RedisTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_writing, "replace_usage", lambda *_, **__: False)
    await put(tier, CUSTOMER, entity(metered(current=3)))

    newer = await tier.apply_usage(CUSTOMER, usage_update(current=5, at_ms=NOW_MS + 1))
    older = await tier.apply_usage(CUSTOMER, usage_update(current=4, at_ms=NOW_MS - 1))

    assert Shared.TAKEN is newer
    assert Shared.OVERTAKEN is older
    assert 5 == await current_usage(tier)


@pytest.mark.parametrize("missing", ["", "#timestamp"])
async def test_usage_of_an_entity_that_is_not_cached_is_dropped(
    redis: RedisServer, tier: RedisTier, missing: str
) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3)))
    redis.command("DEL", f"{ENTITY}{missing}")

    moved = await tier.apply_usage(CUSTOMER, usage_update(current=5))

    assert Shared.MISSING is moved
    assert json.loads(redis.text(f"{ENTITY}:f_seats") or "")["currentUsage"] == 3


async def test_usage_of_a_meter_that_the_entity_has_not_is_dropped(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, entity(credit()))

    moved = await tier.apply_usage(CUSTOMER, usage_update(feature_id="seats"))

    assert Shared.OVERTAKEN is moved
    assert f"{ENTITY}:f_seats" not in redis.texts()


@pytest.mark.parametrize("usage", ["junk", "[]", '{"currentUsage":"3"}'])
async def test_usage_replaces_junk_in_its_key(redis: RedisServer, tier: RedisTier, usage: str) -> None:
    await put(tier, CUSTOMER, entity(metered(current=3)))
    redis.command("SET", f"{ENTITY}:f_seats", usage)

    moved = await tier.apply_usage(CUSTOMER, usage_update(current=5))

    assert Shared.TAKEN is moved
    assert 5 == await current_usage(tier)


async def test_usage_of_an_entity_that_is_junk_is_dropped_and_counted(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, entity(metered()))
    redis.command("SET", ENTITY, "junk")
    before = REGISTRY.get_sample_value("sidecar_cache_junk_total", {"tier": "redis"}) or 0.0

    moved = await tier.apply_usage(CUSTOMER, usage_update())

    assert Shared.MISSING is moved
    assert REGISTRY.get_sample_value("sidecar_cache_junk_total", {"tier": "redis"}) == before + 1


async def test_what_was_dropped_is_absent_and_anything_may_follow(
    redis: RedisServer, tier: RedisTier
) -> None:
    await put(tier, CUSTOMER, entity(credit(), at_ms=NOW_MS))

    await tier.drop(CUSTOMER)

    assert await taken(tier, CUSTOMER) is Miss.ABSENT
    assert not {ENTITY, f"{ENTITY}#timestamp", f"{ENTITY}:metadata"} & set(redis.texts())
    await put(tier, CUSTOMER, entity(credit(), at_ms=1))
    assert entity(credit(), at_ms=1) == await taken(tier, CUSTOMER)


async def test_a_dropped_customer_makes_its_resources_misses(tier: RedisTier) -> None:
    await put(tier, CUSTOMER, entity(credit()))
    await put(tier, RESOURCE, entity(credit()))

    await tier.drop(CUSTOMER)

    assert await taken(tier, RESOURCE) is Miss.OUTDATED


async def test_a_write_to_what_is_no_string_replaces_it(redis: RedisServer, tier: RedisTier) -> None:
    for name in (ENTITY, f"{ENTITY}#timestamp", f"{ENTITY}:metadata", f"{ENTITY}:f_seats"):
        redis.command("LPUSH", name, "other", "data")

    await put(tier, CUSTOMER, entity(metered()))

    assert entity(metered()) == await taken(tier, CUSTOMER)


def _customer_with(meta_data: object) -> Entity:
    currency = replace(credit().currency, additional_meta_data={"a": meta_data})
    return entity(replace(credit(), currency=currency))


async def test_what_is_no_number_is_null_for_others(tier: RedisTier) -> None:
    """As JavaScript writes it; the customer is shared all the same."""
    await put(tier, CUSTOMER, _customer_with(float("nan")))

    assert _customer_with(None) == await taken(tier, CUSTOMER)
    assert 0 == tier.junk_values
    assert 0 == tier.dropped_writes


@pytest.mark.parametrize("meta_data", [object(), 1j])
async def test_what_has_no_json_form_is_dropped_and_is_nobody_elses_junk(
    redis: RedisServer, tier: RedisTier, meta_data: object, caplog: pytest.LogCaptureFixture
) -> None:
    """People look for a stranger in Redis where junk is reported."""
    await put(tier, CUSTOMER, _customer_with(meta_data))

    assert {} == redis.texts()
    assert 0 == tier.junk_values
    assert 1 == tier.dropped_writes
    assert tier.takes_writes
    assert "an entity has no JSON form and stays out of redis" in caplog.text
