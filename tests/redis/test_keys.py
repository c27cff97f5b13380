"""The names in Redis, byte for byte (contract/redis.md)."""

import pytest

from entitlements.domain.entity import EntityKey
from entitlements.redis.keys import KeySpace, customer_of, raw, raw_key, timestamp_of

KEYS = KeySpace(prefix="production")
CUSTOMER = EntityKey("C")
RESOURCE = EntityKey("C", "R")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (KEYS.entity(CUSTOMER), "production:c_C"),
        (KEYS.entity(RESOURCE), "production:c_C:r_R"),
        (KEYS.metadata(CUSTOMER), "production:c_C:metadata"),
        (KEYS.metadata(RESOURCE), "production:c_C:r_R:metadata"),
        (KEYS.feature_usage(CUSTOMER, "F"), "production:c_C:f_F"),
        (KEYS.feature_usage(RESOURCE, "F"), "production:c_C:r_R:f_F"),
        (KEYS.credit_usage(CUSTOMER, "M"), "production:c_C:credit_M"),
        (KEYS.credit_usage(RESOURCE, "M"), "production:c_C:r_R:credit_M"),
        (timestamp_of(KEYS.entity(CUSTOMER)), "production:c_C#timestamp"),
        (timestamp_of(KEYS.feature_usage(RESOURCE, "F")), "production:c_C:r_R:f_F#timestamp"),
        (KEYS.fetch_lock(CUSTOMER), "production:refetchEntityEntitlementsAfterCacheMiss-C"),
        (KEYS.fetch_lock(RESOURCE), "production:refetchEntityEntitlementsAfterCacheMiss-C:R"),
        (KEYS.fetch_channel(CUSTOMER), "production:refetchEntityEntitlementsAfterCacheMiss:C"),
        (KEYS.fetch_channel(RESOURCE), "production:refetchEntityEntitlementsAfterCacheMiss:C:R"),
        (KEYS.fetch_channels, "production:refetchEntityEntitlementsAfterCacheMiss:*"),
        (KEYS.feed_lease, "production:sidecar:feed-lease"),
    ],
)
def test_names_are_the_contracts(name: str, expected: str) -> None:
    assert expected == name


@pytest.mark.parametrize("id_", ["a%41b", "a/b", "a b", "ä", "a:r_b", ""])
def test_ids_stand_in_names_as_they_are(id_: str) -> None:
    assert f"production:c_{id_}:r_{id_}:f_{id_}" == KEYS.feature_usage(EntityKey(id_, id_), id_)


def test_a_prefix_is_no_pattern() -> None:
    assert (
        r"a\*\[b\]\?\\:refetchEntityEntitlementsAfterCacheMiss:*"
        == KeySpace(prefix="a*[b]?\\").fetch_channels
    )


def test_the_customer_of_a_resource_is_the_customer_as_a_whole() -> None:
    assert (CUSTOMER, CUSTOMER) == (customer_of(RESOURCE), customer_of(CUSTOMER))


def test_names_are_utf_8_and_half_a_surrogate_pair_has_bytes_too() -> None:
    assert ("ä".encode(), b"\xed\xa0\x80") == (raw("ä"), raw("\ud800"))


def test_django_adds_neither_prefix_nor_version() -> None:
    assert raw_key("production:c_C", "prefix", 1) == "production:c_C"


@pytest.mark.parametrize("key", [EntityKey("c"), EntityKey("c", "r"), EntityKey("c:d/ü", "r r")])
def test_an_entity_is_known_by_its_name(key: EntityKey) -> None:
    """And what stands beside it is not taken for one."""
    keys = KeySpace(prefix="p*")
    name = raw(keys.entity(key))

    assert key == keys.key_of(name)
    beside = (keys.metadata(key), keys.feature_usage(key, "f"), keys.credit_usage(key, "t"))
    assert [None] * 4 == [keys.key_of(raw(each)) for each in (timestamp_of(keys.entity(key)), *beside)]
    assert keys.key_of(b"p*:c_\xff") is None
