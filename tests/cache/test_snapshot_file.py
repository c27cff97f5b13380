"""An entity is read as it was written; what is no line is distinguished from what is."""

import io

import pytest
from hypothesis import given

from entitlements.cache.snapshot_file import entity_of, header, is_header, line_of, places_in
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.reason import AccessDeniedReason
from entitlements.json_fields import Malformed
from tests.builders import an_entity
from tests.cache.samples import CUSTOMER, NOW_MS, credit, metered
from tests.domain.strategies import entities

_BOUND = 1_000_000


@given(entities())
def test_an_entity_is_read_as_it_was_written(entity: Entity) -> None:
    """Usages with their timestamps, too."""
    assert entity == entity_of(line_of(CUSTOMER, entity, confirmed_ms=NOW_MS))


def test_meters_balances_and_a_reason_are_kept() -> None:
    """Also of a resource, whatever its id holds."""
    denied = an_entity(denied_reason=AccessDeniedReason.CUSTOMER_IS_ARCHIVED)
    for entity in (an_entity(metered(), credit(), updated_at_ms=NOW_MS), denied):
        assert entity == entity_of(line_of(EntityKey("a\tb\nc", "ü"), entity, confirmed_ms=1))


def test_places_are_found_between_junk() -> None:
    """A line that is none hides no other; what lies past the bound is left out."""
    first, second = EntityKey("a\tb\nc"), EntityKey("a", "r")
    lines = [line_of(key, an_entity(), confirmed_ms=7) for key in (first, second)]
    content = b"".join(
        [lines[0], b"\xff\n", b'{"customer_id": 1, "resource_id": null, "confirmed_ms": 1}\n', lines[1]]
    )
    found = list(places_in(io.BytesIO(content + lines[0][:-1]), max_size_bytes=_BOUND))

    assert [first, None, None, second, None] == [None if each is None else each[0] for each in found]
    assert found[0] is not None
    assert 0 == found[0][1].offset
    assert len(lines[0]) == found[0][1].size_bytes
    assert 7 == found[0][1].confirmed_ms
    assert len(list(places_in(io.BytesIO(content), max_size_bytes=len(lines[0])))) == 1


@pytest.mark.parametrize("line", [b"", b"{}\t{}\t{}\n", b'{"updated_at_ms": 1}\t{}\t[]\n', b"a\tb\n"])
def test_what_is_no_entity_is_junk(line: bytes) -> None:
    """Whatever the disk made of it."""
    with pytest.raises(Malformed):
        entity_of(line)


def test_only_the_version_that_is_understood_is_read() -> None:
    """A later one may mean something else."""
    assert is_header(header(now_ms=1))
    assert not is_header(header(now_ms=1).replace(b'"version": 1', b'"version": 2'))
    assert not is_header(b"\xff")
    assert not is_header(b"[]")
