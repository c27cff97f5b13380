"""Applies the feed's changes to what is held, and turns gaps in it into suspicion."""

import logging

from entitlements import metrics
from entitlements.domain.cached_entity import CachedEntity
from entitlements.domain.entity import EntityKey, UsageUpdate
from entitlements.domain.entity_history import Origin
from entitlements.domain.events import EntitlementsChanged, FeedEvent, PackagePublished, UsageChanged
from entitlements.domain.freshness import Trust
from entitlements.domain.membership import Membership
from entitlements.domain.ports import Clock, EntityStore
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.feed_trust import FeedTrust
from entitlements.service.fetcher import EntityFetcher
from entitlements.service.late_changes import LateChanges
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
        self._late = LateChanges(clock.monotonic)

    @property
    def trust(self) -> Trust:
        """Since when the feed can be relied on."""
        return self._feed_trust.trust

    def followed(self) -> None:
        """From now on every change arrives."""
        self._feed_trust.move(Membership.followed)
        self._changes.all_changed()

    def lost(self) -> None:
        """From now on changes are missed."""
        self._feed_trust.move(Membership.lost)

    def missed(self, cause: str) -> None:
        """A message could not be taken: all that is held is suspect."""
        metrics.FEED_GAPS.labels(cause).inc()
        logger.warning(
            "changes may have been missed; what is cached is checked again", extra={"cause": cause}
        )
        self._doubt()

    async def apply(self, event: FeedEvent, *, at: float | None = None) -> None:
        """Brings what is held up to date with one event.

        Args:
            event: what the feed sent.
            at: when it arrived, monotonic seconds; None: now. It orders what is written for others, so who
                may have been stopped has to say a moment at which this process still led.
        """
        match event:
            case EntitlementsChanged():
                await self._replace(event, at=self._clock.monotonic() if at is None else at)
                self._changes.changed(event.key)
            case UsageChanged():
                await self._move_meter(event.key, event.update)
                self._changes.changed(event.key)
            case PackagePublished():
                self._doubt_everything(event)

    def is_waiting_for(self, key: EntityKey) -> bool:
        """True where something is to be done once others have written the entity into Redis; any thread."""
        return key in self._late

    async def catch_up(self, key: EntityKey) -> None:
        """Does what could not be done to an entity before: another process has just written it into Redis.

        It may have asked the cloud before the change, which found nothing in Redis to change.
        """
        late = self._late.pop(key)
        if late.was_dropped:
            await self._store.drop(key)
        for update in late.usages:
            await self._move_meter(key, update)

    async def _replace(self, event: EntitlementsChanged, *, at: float) -> None:
        if event.entity is None:
            self._fetcher.doubt(event.key)
            await self._store.drop(event.key)
            self._late.note_drop(event.key)
            metrics.FEED_EVENTS.labels("entitlements", "dropped_entity").inc()
        else:
            arrived = CachedEntity(entity=event.entity, confirmed_at=at)
            await self._store.store(event.key, arrived, origin=Origin.FEED)
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

    async def _move_meter(self, key: EntityKey, update: UsageUpdate) -> None:
        if await self._store.apply_usage(key, update):
            _USAGE_APPLIED.inc()
            return
        if self._fetcher.is_fetching(key):
            self._fetcher.note_usage(key, update)
        self._late.note_usage(key, update)
        _USAGE_DROPPED.inc()

    def _doubt_everything(self, event: PackagePublished) -> None:
        metrics.FEED_EVENTS.labels("package", "applied").inc()
        if event.affects_all_customers:
            self._doubt()

    def _doubt(self) -> None:
        """All that is held is suspect."""
        self._feed_trust.move(Membership.doubted)
        self._changes.all_changed()
