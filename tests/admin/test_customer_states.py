"""The cached customers by their state, at this process's own pages."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client as DjangoClient

from entitlements.admin import holdings
from entitlements.composition import sidecar
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from tests.builders import a_boolean_feature, an_entity

PLACE = "/admin/entitlements/cachedcustomer/"


@pytest.fixture
def held() -> Iterator[None]:
    """One of each: fresh, suspect, stale by the cloud's silence, and too stale by a rule's bound."""
    built = sidecar()
    now = built.clock.monotonic()
    ages = {"Fresh-1": 0.0, "suspect-1": 4000.0, "stale-1": 50.0, "stale-2": 60.0, "beyond-1": 9000.0}
    for name, age in ages.items():
        failed_at = now if name.startswith(("stale", "beyond")) else None
        cached = CachedEntity(
            entity=an_entity(a_boolean_feature("f")), confirmed_at=now - age, failed_at=failed_at
        )
        built.memory.update(EntityKey(name), lambda _, cached=cached: cached)  # type: ignore[misc]
    bound, built.stale_bounds._max_stale_seconds = built.stale_bounds._max_stale_seconds, 5000.0
    yield
    built.stale_bounds._max_stale_seconds = bound
    built.memory.clear()


def _listed(on_call: DjangoClient, **asked: str) -> list[str]:
    page = on_call.get(PLACE, asked).content.decode()
    return re.findall(r'<a class="sidecar-id" href="[^"]*">([^<]+)</a>', page)


def test_who_is_in_which_state_is_counted_and_filtered(on_call: DjangoClient, held: None) -> None:
    """Each state leads to those in it; a search among them goes on, and does not mind the case."""
    page = on_call.get(PLACE).content.decode()

    for reported in ("Fresh: 1", "Suspect: 1", "Stale: 2", "Too stale: 1"):
        assert reported in page
    assert ["stale-2", "stale-1"] == _listed(on_call, state="stale")
    assert ["stale-1"] == _listed(on_call, state="stale", q="STALE-1")
    assert ["beyond-1"] == _listed(on_call, state="too stale")
    assert "Nothing is estimate" not in page
    assert 5 == len(_listed(on_call, state="nonsense"))


def test_they_are_put_into_order(on_call: DjangoClient, held: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all of memory and not one page; the order says how many it shows."""
    monkeypatch.setattr(holdings, "ROWS", 2)

    assert ["beyond-1", "suspect-1"] == _listed(on_call, sort="confirmed longest ago")
    assert ["beyond-1", "Fresh-1"] == _listed(on_call, sort="by id")
    assert ["stale-2", "stale-1"] == _listed(on_call, sort="confirmed longest ago", state="stale")
    assert 2 == len(_listed(on_call, sort="largest"))
