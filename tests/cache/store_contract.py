"""What every `EntityStore` does, whatever it is made of; each implementation's tests derive from it."""

import asyncio

import pytest

from entitlements.domain.entitlement import NO_TIMESTAMP_MS, MeteredEntitlement, Usage
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.ports import EntityStore, Lookup, Source
from tests.cache.samples import CUSTOMER, NOW_MS, RESOURCE, cached, credit, entity, metered, usage_update


async def _held_entity(store: EntityStore, key: EntityKey) -> Entity | None:
    found = await store.find(key)
    return None if found is None else found.cached.entity


async def _held_usage(store: EntityStore, key: EntityKey) -> Usage:
    held = await _held_entity(store, key)
    assert held is not None
    seats = held.features["seats"]
    assert isinstance(seats, MeteredEntitlement)
    return seats.usage


class EntityStoreContract:
    """Derive from it and give a fixture `store`."""

    async def test_what_was_never_stored_is_not_found(self, store: EntityStore) -> None:
        assert await store.find(CUSTOMER) is None
        assert store.get(CUSTOMER) is None

    async def test_what_was_stored_is_found(self, store: EntityStore) -> None:
        arrived = cached(entity(metered(), credit()))

        stored = await store.store(CUSTOMER, arrived)

        assert await store.find(CUSTOMER) == Lookup(key=CUSTOMER, cached=arrived, source=Source.MEMORY)
        assert arrived == stored
        assert arrived == store.get(CUSTOMER)

    async def test_an_empty_entity_is_found(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(Entity()))

        assert Entity() == await _held_entity(store, CUSTOMER)

    async def test_a_customer_and_its_resource_are_two(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered())))
        await store.store(RESOURCE, cached(entity(credit())))

        assert entity(metered()) == await _held_entity(store, CUSTOMER)
        assert entity(credit()) == await _held_entity(store, RESOURCE)
        assert list(store.resources_of(CUSTOMER.customer_id)) == [RESOURCE]

    @pytest.mark.parametrize("id_", ["a%41b", "a/b", "a?b&c=d", "ä \U0001f600", "c:r_d", "#timestamp"])
    async def test_ids_are_taken_as_they_are(self, store: EntityStore, id_: str) -> None:
        key = EntityKey(id_, id_)
        await store.store(key, cached(entity(metered())))

        assert entity(metered()) == await _held_entity(store, key)
        assert await store.find(EntityKey(id_)) is None

    async def test_entitlements_sent_later_replace_those_with_a_newer_stamp(self, store: EntityStore) -> None:
        stamped_today, sent_later = entity(metered(), at_ms=NOW_MS), entity(credit(), at_ms=NOW_MS - 1)
        await store.store(CUSTOMER, cached(stamped_today))

        held = await store.store(CUSTOMER, cached(sent_later, confirmed_at=200))

        assert cached(sent_later, confirmed_at=200) == held
        assert sent_later == await _held_entity(store, CUSTOMER)

    async def test_entitlements_asked_for_earlier_do_not_replace_what_was_sent(
        self, store: EntityStore
    ) -> None:
        sent, lagging = entity(credit(), at_ms=NOW_MS - 1), entity(metered(), at_ms=NOW_MS)
        await store.store(CUSTOMER, cached(sent, confirmed_at=200))

        held = await store.store(CUSTOMER, cached(lagging, confirmed_at=150))

        assert cached(sent, confirmed_at=200) == held

    @pytest.mark.parametrize("at_ms", [NOW_MS, NOW_MS + 1])
    async def test_equal_or_newer_entitlements_replace_the_held_ones(
        self, store: EntityStore, at_ms: int
    ) -> None:
        await store.store(CUSTOMER, cached(entity(metered())))

        await store.store(CUSTOMER, cached(entity(credit(), at_ms=at_ms)))

        assert entity(credit(), at_ms=at_ms) == await _held_entity(store, CUSTOMER)

    async def test_what_has_no_timestamp_replaces_what_was_confirmed_before(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered())))

        await store.store(CUSTOMER, cached(Entity(), confirmed_at=200))

        assert Entity() == await _held_entity(store, CUSTOMER)

    async def test_usage_moves(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered(current=3))))

        moved = await store.apply_usage(CUSTOMER, usage_update(current=5, at_ms=NOW_MS + 1))

        assert moved
        assert (await _held_usage(store, CUSTOMER)).current == 5

    async def test_older_usage_is_ignored(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered(current=3))))

        moved = await store.apply_usage(CUSTOMER, usage_update(current=2, at_ms=NOW_MS - 1))

        assert not moved
        assert (await _held_usage(store, CUSTOMER)).current == 3

    async def test_a_usage_push_without_a_period_keeps_the_period(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered())))

        await store.apply_usage(CUSTOMER, usage_update(current=5, at_ms=NOW_MS + 1))

        assert Usage(
            current=5,
            period_start_ms=NOW_MS - 1000,
            period_end_ms=NOW_MS + 1000,
            updated_at_ms=NOW_MS + 1,
        ) == await _held_usage(store, CUSTOMER)

    async def test_entitlements_that_carry_older_usage_keep_the_newer(self, store: EntityStore) -> None:
        """A caller that reported reads its own write, also after a fetch that did not know of it yet."""
        await store.store(CUSTOMER, cached(entity(metered(current=3))))
        await store.apply_usage(CUSTOMER, usage_update(current=5, at_ms=NOW_MS + 1))

        await store.store(CUSTOMER, cached(entity(metered(current=3), at_ms=NOW_MS + 9), confirmed_at=200))

        assert (await _held_usage(store, CUSTOMER)).current == 5

    @pytest.mark.parametrize("held", [None, entity(credit())], ids=["entity", "meter"])
    async def test_usage_of_what_is_not_held_is_dropped(
        self, store: EntityStore, held: Entity | None
    ) -> None:
        if held is not None:
            await store.store(CUSTOMER, cached(held))

        moved = await store.apply_usage(CUSTOMER, usage_update())

        assert not moved
        assert held == await _held_entity(store, CUSTOMER)

    async def test_usage_without_a_timestamp_moves(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered(current=3))))

        moved = await store.apply_usage(CUSTOMER, usage_update(current=1, at_ms=NO_TIMESTAMP_MS))

        assert moved
        assert (await _held_usage(store, CUSTOMER)).current == 1

    async def test_what_was_dropped_is_not_found(self, store: EntityStore) -> None:
        await store.store(RESOURCE, cached(entity(metered())))

        await store.drop(RESOURCE)

        assert await store.find(RESOURCE) is None
        assert list(store.resources_of(RESOURCE.customer_id)) == []

    async def test_what_is_older_than_what_was_dropped_is_stored(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered())))
        await store.drop(CUSTOMER)

        await store.store(CUSTOMER, cached(entity(credit(), at_ms=NOW_MS - 1)))

        assert entity(credit(), at_ms=NOW_MS - 1) == await _held_entity(store, CUSTOMER)

    async def test_dropping_what_is_not_held_changes_nothing(self, store: EntityStore) -> None:
        await store.drop(CUSTOMER)

        assert await store.find(CUSTOMER) is None

    async def test_a_failed_recheck_is_noted_until_the_next_confirmation(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered()), confirmed_at=100))
        await store.mark_recheck_failed(CUSTOMER, at=150)
        marked = store.get(CUSTOMER)
        await store.store(CUSTOMER, cached(entity(metered()), confirmed_at=200))
        confirmed = store.get(CUSTOMER)

        assert marked is not None
        assert confirmed is not None
        assert marked.failed_at == 150
        assert confirmed.failed_at is None

    async def test_a_failed_recheck_of_what_is_not_held_is_forgotten(self, store: EntityStore) -> None:
        await store.mark_recheck_failed(CUSTOMER, at=150)

        assert store.get(CUSTOMER) is None

    async def test_concurrent_writes_leave_the_newest(self, store: EntityStore) -> None:
        await store.store(CUSTOMER, cached(entity(metered(), at_ms=NOW_MS)))
        stamps = [7, 3, 9, 1, 8, 2, 6]

        await asyncio.gather(
            *(
                store.store(
                    CUSTOMER, cached(entity(metered(), at_ms=NOW_MS + stamp), confirmed_at=200 + stamp)
                )
                for stamp in stamps
            ),
            *(
                store.apply_usage(CUSTOMER, usage_update(current=stamp, at_ms=NOW_MS + stamp))
                for stamp in stamps
            ),
        )

        held = await _held_entity(store, CUSTOMER)
        assert held is not None
        assert held.updated_at_ms == NOW_MS + 9
        assert (await _held_usage(store, CUSTOMER)).current == 9
