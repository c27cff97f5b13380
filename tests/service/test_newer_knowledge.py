"""Which knowledge is newer (contract/upstream.md): feed, API and Edge in every order."""

import asyncio

import pytest

from entitlements.domain.decision import Query
from entitlements.domain.entity import Entity, UsageUpdate
from entitlements.domain.errors import Unreachable
from entitlements.domain.events import EntitlementsChanged, UsageChanged
from entitlements.domain.freshness import EntityState
from tests.builders import A_KEY, NOW_MS, a_boolean_feature, a_metered_feature, a_usage, an_entity
from tests.service.conftest import House

YESTERDAY_MS = NOW_MS - 24 * 3600 * 1000
AHEAD_MS = NOW_MS + 24 * 3600 * 1000
PROMO, SSO = a_boolean_feature("promo"), a_boolean_feature("sso")
BOTH = an_entity(PROMO, SSO, updated_at_ms=NOW_MS)
BOTH_AHEAD = an_entity(PROMO, SSO, updated_at_ms=AHEAD_MS)
REVOKED = an_entity(SSO, updated_at_ms=YESTERDAY_MS)
EMPTY_NOW = an_entity(updated_at_ms=0)


async def pushed(house: House, entity: Entity) -> None:
    house.clock.advance(1)
    await house.feed_applier.apply(EntitlementsChanged(key=A_KEY, entity=entity))


async def has_promo(house: House) -> tuple[bool, EntityState | None]:
    house.clock.advance(2)
    answer = await house.reader.check(Query(key=A_KEY, feature_id="promo"))
    return answer.decision.has_access, answer.provenance.state


async def reloaded(house: House) -> None:
    house.clock.advance(1)
    assert await house.maintenance.reload(A_KEY, budget_seconds=1)


@pytest.fixture
async def following(house: House) -> House:
    """A house that follows the feed."""
    house.feed_applier.followed()
    return house


@pytest.mark.parametrize("held", [BOTH, BOTH_AHEAD], ids=["stamped today", "by a clock that was ahead"])
async def test_a_revocation_is_applied_at_once(following: House, held: Entity) -> None:
    """What was stamped last is taken away, so that the set's stamps go back."""
    await pushed(following, held)

    await pushed(following, REVOKED)

    assert (False, EntityState.FRESH) == await has_promo(following)


@pytest.mark.parametrize("held", [BOTH, BOTH_AHEAD], ids=["stamped today", "by a clock that was ahead"])
async def test_reload_applies_a_revocation_that_the_feed_did_not_send(house: House, held: Entity) -> None:
    """As after a backup was restored in the cloud."""
    await pushed(house, held)
    house.api.answer = house.edge.answer = REVOKED

    await reloaded(house)

    assert not (await has_promo(house))[0]


async def test_a_recheck_after_a_reconnect_asks_the_api_where_the_edge_seems_older(house: House) -> None:
    """The Edge says what is true, or what was: its stamps cannot say, so the API is asked, once."""
    await pushed(house, BOTH)
    house.feed_applier.followed()
    house.api.answer = house.edge.answer = REVOKED

    await house.fetcher.fetch(A_KEY)

    assert (False, EntityState.FRESH) == await has_promo(house)
    assert [A_KEY] == house.api.asked


async def test_an_edge_that_still_shows_what_was_taken_away_is_not_believed(house: House) -> None:
    """The stamp of what is gone is remembered."""
    await pushed(house, BOTH)
    await pushed(house, REVOKED)
    house.edge.answer, house.api.answer = BOTH, REVOKED
    house.clock.advance(1)

    await house.fetcher.fetch(A_KEY)

    assert not (await has_promo(house))[0]


async def test_an_edge_that_lags_changes_nothing_while_the_api_is_away(house: House) -> None:
    """The last known answers, marked."""
    await pushed(house, BOTH)
    await pushed(house, REVOKED)
    house.edge.answer, house.api.answer = BOTH, Unreachable("api", "is away")
    house.clock.advance(1)

    await house.fetcher.fetch(A_KEY)

    assert not (await has_promo(house))[0]


async def test_an_edge_that_sends_something_newer_is_believed_alone(house: House) -> None:
    await pushed(house, REVOKED)
    house.edge.answer = BOTH
    house.clock.advance(1)

    await house.fetcher.fetch(A_KEY)

    assert (await has_promo(house))[0]
    assert [] == house.api.asked


async def test_what_comes_while_the_api_is_asked_makes_it_be_asked_again(house: House) -> None:
    """Its answer may be older than the event; the second one is not, whatever its stamps."""
    await pushed(house, BOTH)
    house.edge.answer = Unreachable("edge", "is away")
    house.api.answer, house.api.gate = BOTH, asyncio.Event()
    fetch = asyncio.create_task(house.fetcher.fetch(A_KEY))
    await house.api.reached.wait()
    await pushed(house, REVOKED)
    house.api.answer = EMPTY_NOW

    house.api.gate.set()
    await fetch

    assert [A_KEY, A_KEY] == house.api.asked
    held = house.store.get(A_KEY)
    assert held is not None
    assert EMPTY_NOW == held.entity


async def test_what_comes_while_a_reload_is_under_way_makes_it_ask_again(house: House) -> None:
    house.api.answer, house.api.gate = BOTH, asyncio.Event()
    reload = asyncio.create_task(house.maintenance.reload(A_KEY, budget_seconds=1))
    await house.api.reached.wait()
    await pushed(house, REVOKED)
    house.api.answer = REVOKED

    house.api.gate.set()
    await reload

    assert [A_KEY, A_KEY] == house.api.asked
    assert not (await has_promo(house))[0]


async def test_a_push_for_a_period_that_is_over_moves_nothing(house: House) -> None:
    """However new its stamp; nothing else says which period is the current one."""
    usage = a_usage(10, updated_at_ms=YESTERDAY_MS)
    await pushed(house, an_entity(a_metered_feature("m", usage=usage)))
    update = UsageUpdate(
        feature_id="m",
        current=0,
        updated_at_ms=NOW_MS - 500,
        period_end_ms=NOW_MS - 100,
        sent_at_ms=house.clock.now_ms(),
    )

    await house.feed_applier.apply(UsageChanged(key=A_KEY, update=update))

    answer = await house.reader.check(Query(key=A_KEY, feature_id="m"))
    assert 10 == answer.decision.basis.usage.current  # type: ignore[union-attr]
