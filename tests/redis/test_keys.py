"""The names in Redis, byte for byte (contract/redis.md)."""

import pytest
from redis.crc import key_slot

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


IN_A_CLUSTER = KeySpace(prefix="production", is_cluster=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (IN_A_CLUSTER.entity(CUSTOMER), "production:{c_C}"),
        (IN_A_CLUSTER.entity(RESOURCE), "production:{c_C}:r_R"),
        (IN_A_CLUSTER.metadata(RESOURCE), "production:{c_C}:r_R:metadata"),
        (IN_A_CLUSTER.feature_usage(RESOURCE, "F"), "production:{c_C}:r_R:f_F"),
        (IN_A_CLUSTER.credit_usage(CUSTOMER, "M"), "production:{c_C}:credit_M"),
        (IN_A_CLUSTER.fetch_lock(CUSTOMER), "production:refetchEntityEntitlementsAfterCacheMiss-{c_C}"),
        (IN_A_CLUSTER.fetch_lock(RESOURCE), "production:refetchEntityEntitlementsAfterCacheMiss-{c_C}:R"),
        (IN_A_CLUSTER.fetch_channel(RESOURCE), KEYS.fetch_channel(RESOURCE)),
        (IN_A_CLUSTER.outbox, "production:{sidecar:outbox}"),
        (IN_A_CLUSTER.probe, "production:{sidecar:doctor}"),
    ],
)
def test_names_in_a_cluster(name: str, expected: str) -> None:
    """What belongs together has the same text between its first braces."""
    assert expected == name


@pytest.mark.parametrize("customer_id", ["C", "a}b", "{", "}", "{}", "a{b}c", "ü"])
@pytest.mark.parametrize("resource_id", [None, "R", "}", "{x}"])
def test_all_of_an_entity_has_one_slot(customer_id: str, resource_id: str | None) -> None:
    """Whatever braces its ids hold; and it is known by its name."""
    key = EntityKey(customer_id, resource_id)
    keys = IN_A_CLUSTER
    whole = [keys.entity(key), keys.metadata(key), keys.feature_usage(key, "f"), keys.credit_usage(key, "c")]
    names = [*whole, *map(timestamp_of, whole), keys.fetch_lock(key), keys.entity(customer_of(key))]

    assert 1 == len({key_slot(raw(name)) for name in names})
    assert key == keys.key_of(raw(keys.entity(key)))
    assert keys.key_of(raw(keys.fetch_lock(key))) is None
    assert [None] * 3 == [keys.key_of(raw(name)) for name in whole[1:]]


@pytest.mark.parametrize("keys", [KEYS, IN_A_CLUSTER])
def test_what_is_of_the_layout_is_known(keys: KeySpace) -> None:
    ours = (keys.entity(CUSTOMER), keys.fetch_lock(RESOURCE), keys.feed_lease, keys.outbox, keys.probe)

    assert all(keys.is_of_the_layout(name) for name in ours)
    assert [True, False] == [keys.is_a_customers(name) for name in ours[:2]]
    assert not keys.is_of_the_layout("production:sessions")


@pytest.mark.parametrize("id_", ["a%41b", "a/b", "a b", "ä", "a:r_b", ""])
def test_ids_stand_in_names_as_they_are(id_: str) -> None:
    assert f"production:c_{id_}:r_{id_}:f_{id_}" == KEYS.feature_usage(EntityKey(id_, id_), id_)


def test_a_prefix_is_no_pattern() -> None:
    assert (
        r"a\*\[b\]\?\\:refetchEntityEntitlementsAfterCacheMiss:*"
        == KeySpace(prefix="a*[b]?\\").fetch_channels
    )


def test_the_customer_of_a_resource_is_the_customer_as_a_whole() -> None:
    assert CUSTOMER == customer_of(RESOURCE)
    assert CUSTOMER == customer_of(CUSTOMER)


def test_names_are_utf_8_and_half_a_surrogate_pair_has_bytes_too() -> None:
    assert "ä".encode() == raw("ä")
    assert b"\xed\xa0\x80" == raw("\ud800")


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
