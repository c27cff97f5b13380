"""Applies the feed's changes to what is held, and turns gaps in it into suspicion."""

import logging

from entitlements import metrics
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey
from entitlements.domain.entity_history import Origin
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.domain.freshness import Trust
from entitlements.domain.ports import Clock, EntityStore
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.completeness import FeedTrust
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.revalidator import Revalidator

logger = logging.getLogger(__name__)

_USAGE_APPLIED = metrics.FEED_EVENTS.labels("usage", "applied")
_USAGE_DROPPED = metrics.FEED_EVENTS.labels("usage", "dropped")


class FeedApplier:
    """Applies what the feed sends, and moves the trust in it."""

    def __init__(
        self,
        *,
        store: EntityStore,
        fetcher: EntityFetcher,
        revalidator: Revalidator,
        clock: Clock,
        feed_trust: FeedTrust,
        changes: ChangeNotifier,
    ) -> None:
        self._feed_trust = feed_trust
        self._changes = changes
        self._store = store
        self._fetcher = fetcher
        self._revalidator = revalidator
        self._clock = clock

    @property
    def trust(self) -> Trust:
        """Since when the feed can be relied on."""
        return self._feed_trust.trust

    def followed(self) -> None:
        """From now on every change arrives."""
        metrics.FEED_CONNECTED.set(1)
        self._feed_trust.trust = self.trust.followed(self._clock.monotonic())
        self._changes.all_changed()

    def lost(self) -> None:
        """From now on changes are missed."""
        metrics.FEED_CONNECTED.set(0)
        self._feed_trust.trust = self.trust.lost(self._clock.monotonic())

    def missed(self, cause: str) -> None:
        """A message could not be taken: all that is held is suspect."""
        metrics.FEED_GAPS.labels(cause).inc()
        logger.warning(
            "changes may have been missed; what is cached is checked again", extra={"cause": cause}
        )
        self._doubt()

    async def apply(self, event: FeedEvent, *, already_shared: bool = False) -> None:
        """Brings what is held up to date with one event.

        Args:
            event: what the feed sent.
            already_shared: another process followed it and has written it for all.
        """
        match event:
            case EntitlementsChanged():
                await self._replace(event, already_shared=already_shared)
                self._changes.changed(event.key)
            case UsageChanged():
                await self._move_meter(event, already_shared=already_shared)
                self._changes.changed(event.key)
            case PackagePublished():
                self._doubt_everything(event)

    async def _replace(self, event: EntitlementsChanged, *, already_shared: bool) -> None:
        if event.entity is None:
            self._fetcher.doubt(event.key)
            await self._store.drop(event.key, already_shared=already_shared)
            metrics.FEED_EVENTS.labels("entitlements", "dropped_entity").inc()
        else:
            arrived = CachedEntity(entity=event.entity, confirmed_at=self._clock.monotonic())
            await self._store.store(event.key, arrived, already_shared=already_shared, origin=Origin.FEED)
            metrics.FEED_EVENTS.labels("entitlements", "applied").inc()
        if event.key.resource_id is None:
            self._recheck_resources(event.key.customer_id)

    def _recheck_resources(self, customer_id: str) -> None:
        """A resource's entitlements depend on its customer's (contract/redis.md, Rules)."""
        for key in self._store.resources_of(customer_id):
            self._recheck_now(key)

    def _recheck_now(self, key: EntityKey) -> None:
        self._fetcher.doubt(key)
        if not self._revalidator.recheck(key):
            self.missed("too_many_suspects")

    async def _move_meter(self, event: UsageChanged, *, already_shared: bool) -> None:
        if await self._store.apply_usage(event.key, event.update, already_shared=already_shared):
            _USAGE_APPLIED.inc()
            return
        if self._fetcher.is_fetching(event.key):
            self._fetcher.note_usage(event.key, event.update)
        _USAGE_DROPPED.inc()

    def _doubt_everything(self, event: PackagePublished) -> None:
        metrics.FEED_EVENTS.labels("package", "applied").inc()
        if event.affects_all_customers:
            self._doubt()

    def _doubt(self) -> None:
        """All that is held is suspect."""
        self._feed_trust.trust = self.trust.doubted(self._clock.monotonic())
        self._changes.all_changed()
