"""What was known before a restart is the last resort, and nothing more."""

import pytest

from entitlements.cache.memory import MemoryTier
from entitlements.cache.tiers import Tiers
from entitlements.domain.entity import Entity, EntityKey
from entitlements.domain.errors import KeyRefused, Offline, Rejected, Unreachable, UpstreamError
from entitlements.domain.freshness import NEVER
from entitlements.domain.ports import Lookup, Source
from entitlements.service.circuits import Circuits
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.flight import NotFetched
from tests.builders import A_KEY, a_boolean_feature, a_cached_entity, an_entity
from tests.fakes import FakeClock, ScriptedSource
from tests.service.conftest import LIMITS

_ENTITY = an_entity(a_boolean_feature("f"))


class _Remembered:
    """A LastKnown that knows everybody."""

    def get(self, _key: EntityKey) -> Entity | None:
        return _ENTITY


async def _fetched(answer: Entity | UpstreamError, *, store: Tiers | None = None) -> Lookup | NotFetched:
    source = ScriptedSource(answer=answer, source=Source.API)
    fetcher = EntityFetcher(
        sources=[source],
        circuits=Circuits([Source.API], clock=FakeClock()),
        store=store or Tiers(MemoryTier(max_size_bytes=1_000_000)),
        clock=FakeClock(),
        limits=LIMITS,
        last_known=_Remembered(),
    )
    return await fetcher.fetch(A_KEY)


@pytest.mark.parametrize("error", [Unreachable("api", "is away"), KeyRefused("api"), Offline("api")])
async def test_it_answers_where_the_cloud_does_not(error: UpstreamError) -> None:
    """Never confirmed, and marked as asked for in vain: stale from the start."""
    stale = a_cached_entity(_ENTITY, confirmed_at=NEVER, failed_at=FakeClock().monotonic())

    assert Lookup(key=A_KEY, cached=stale, source=Source.SNAPSHOT) == await _fetched(error)


async def test_the_clouds_word_comes_first() -> None:
    """An answer, or a no."""
    answered = await _fetched(an_entity())
    rejected = await _fetched(Rejected("api", code="X"))

    assert isinstance(answered, Lookup)
    assert Source.API == answered.source
    assert an_entity() == answered.cached.entity
    assert isinstance(rejected, NotFetched)


async def test_what_is_held_is_newer() -> None:
    """A re-check in vain changes nothing."""
    store = Tiers(MemoryTier(max_size_bytes=1_000_000))
    held = await store.store(A_KEY, a_cached_entity(an_entity()))

    assert isinstance(await _fetched(Unreachable("api", "is away"), store=store), NotFetched)
    assert held == store.get(A_KEY)
