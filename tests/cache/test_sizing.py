"""The counted bytes against what the interpreter really allocates."""

import enum
import gc
import time
import tracemalloc
from functools import partial
from types import MappingProxyType

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.sizing import ALLOCATION_UNIT_BYTES, growth_by_numbers, size_of
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entitlement import Currency
from entitlements.domain.entity import EntityKey
from tests.builders import (
    a_boolean_feature,
    a_cached_entity,
    a_metered_feature,
    a_usage,
    an_entity,
    an_enum_feature,
)
from tests.cache.samples import big_entity, customer_key


class _Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("entitlements", "customers", "with_resource"),
    [(10, 1000, False), (1, 5000, True), (0, 5000, False), (0, 5000, True)],
)
def test_counted_bytes_are_the_allocated_ones(entitlements: int, customers: int, with_resource: bool) -> None:
    """The memory limit bounds real bytes: within a quarter of what so many distinct entities allocate."""
    memory = MemoryTier(max_size_bytes=1_000_000_000)
    memory.update(EntityKey("warm-up"), lambda _: big_entity(1))
    memory.clear()
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(customers):
            resource_id = f"resource-{number:08d}" if with_resource else None
            key = EntityKey(customer_key(number).customer_id, resource_id)
            memory.update(key, partial(_replaced, big_entity(number, entitlements=entitlements)))
        gc.collect()
        allocated_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 0.75 < memory.size_bytes / allocated_bytes < 1.25


def test_ten_entitlements_are_sized_quickly() -> None:
    """Sizing is part of every write, so it must not be what a write costs."""
    entity = big_entity(7)
    size_of(entity)

    fastest = min(_seconds_to_size(entity) for _ in range(50))

    assert fastest < 0.000_3  # about 60 µs measured; the rest is for a busy machine


def test_an_object_met_twice_counts_once() -> None:
    name = "a name of some length, met twice"

    assert size_of((name, None)) == size_of((name, name))


@pytest.mark.parametrize("shared", [None, True, _Colour.RED])
def test_what_exists_once_per_process_is_not_counted(shared: object) -> None:
    assert size_of(shared) == 0


def test_json_of_the_customers_own_is_counted_to_its_leaves() -> None:
    text = "x" * 1000
    plain = Currency(currency_id="tokens")
    laden = Currency(currency_id="tokens", additional_meta_data=MappingProxyType({"a": [{"b": (text, 1.5)}]}))

    assert size_of(laden) - size_of(plain) > len(text)


def test_sizes_are_what_the_allocator_hands_out() -> None:
    assert size_of("abc") % ALLOCATION_UNIT_BYTES == 0


def _replaced(by: CachedEntity, _: CachedEntity | None) -> CachedEntity:
    return by


def _seconds_to_size(root: object) -> float:
    before = time.perf_counter()
    size_of(root)
    return time.perf_counter() - before


_BEFORE = a_cached_entity(
    an_entity(a_metered_feature("calls", usage=a_usage(1e3, period_end_ms=7)), a_boolean_feature("sso"))
)


@pytest.mark.parametrize(
    "after",
    [
        _BEFORE,
        a_cached_entity(_BEFORE.entity, confirmed_at=7e3),
        a_cached_entity(
            an_entity(
                a_metered_feature("calls", usage=a_usage(2e3, period_end_ms=2**90)), a_boolean_feature("sso")
            )
        ),
    ],
    ids=["the same", "confirmed", "moved"],
)
def test_numbers_grow_by_the_difference_of_the_sizes(after: CachedEntity) -> None:
    """Both ways: what comes and what goes."""
    difference = size_of(after) - size_of(_BEFORE)

    assert difference == growth_by_numbers(_BEFORE, after)
    assert -difference == growth_by_numbers(after, _BEFORE)


@pytest.mark.parametrize(
    "after",
    [
        a_cached_entity(_BEFORE.entity, failed_at=9e3),
        a_cached_entity(
            an_entity(
                a_metered_feature("other", usage=a_usage(1e3, period_end_ms=7)), a_boolean_feature("sso")
            )
        ),
        a_cached_entity(an_entity(an_enum_feature("calls"), a_boolean_feature("sso"))),
        a_cached_entity(an_entity(a_boolean_feature("sso"))),
        a_cached_entity(an_entity(*_BEFORE.entity.features.values(), an_enum_feature())),
    ],
    ids=["a number more", "another feature", "another kind", "fewer", "more"],
)
def test_what_changed_in_more_than_numbers_is_sized_anew(after: CachedEntity) -> None:
    assert growth_by_numbers(_BEFORE, after) is None
    assert growth_by_numbers(after, _BEFORE) is None
