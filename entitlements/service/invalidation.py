"""What is done when Redis names keys that somebody changed: what is held of them is looked at again there."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from entitlements import metrics
from entitlements.background import Background
from entitlements.domain.entity import EntityKey
from entitlements.domain.membership import Membership, Role
from entitlements.redis.keys import Change
from entitlements.redis.own_writes import OwnWrites
from entitlements.service.change_notifier import ChangeNotifier
from entitlements.service.feed_applier import FeedApplier
from entitlements.service.feed_trust import FeedTrust

logger = logging.getLogger(__name__)

CATCH_UP_TASK = "late-changes"


class NamedStore(Protocol):
    """The tiers, as far as names are of interest to them."""

    def holds(self, key: EntityKey) -> bool:
        """True where memory holds it or will in a moment; asked from any thread."""
        ...

    def holds_resources_of(self, customer_id: str) -> bool:
        """True where memory holds some; asked from any thread."""
        ...

    def resources_of(self, customer_id: str) -> Sequence[EntityKey]:
        """The resources of a customer that memory holds."""
        ...

    def name(self, key: EntityKey, *, may_be_evicted: bool) -> None:
        """Has it looked at again on its next use."""
        ...


class Invalidation:
    """A `TrackingListener`: passes on what others changed, and whether that is announced.

    The story of an eviction. Redis names what it gives up, its memory being full, as it names what somebody
    writes or removes, and says of none of them why.

    1. Who writes or removes an entity does it to a key and its timestamp in one step (contract/redis.md, What
       is named), and one message names both. Redis gives up one key, and then another.
    2. So a key that is named alone, and not there when it is looked for, was evicted or has expired: no news.
       What is held was right, and answers on; its changes are named no more, so it is re-checked by its age.
    3. Two given up in one turn of Redis' loop look like a removal: the cloud is asked once too often. A write
       that is given up before it was looked at was named with its timestamp: it stays news.
    4. A person who deletes one key alone looks like an eviction, unless that Redis evicts nothing.
    """

    def __init__(  # noqa: PLR0913 - each a part of its own
        self,
        *,
        store: NamedStore,
        own_writes: OwnWrites,
        changes: ChangeNotifier,
        feed_applier: FeedApplier,
        feed_trust: FeedTrust,
        background: Background,
        may_evict: Callable[[], bool] = lambda: True,
    ) -> None:
        """Passes nothing on yet.

        Args:
            store: what is held.
            own_writes: what this process itself writes there.
            changes: who watches.
            feed_applier: what is to be done once others have written.
            feed_trust: what is relied on.
            background: the parent of what is done then.
            may_evict: False where that Redis gives up no key of itself.
        """
        self._store = store
        self._own_writes = own_writes
        self._changes = changes
        self._feed_applier = feed_applier
        self._feed_trust = feed_trust
        self._background = background
        self._may_evict = may_evict

    def wants(self, change: Change) -> bool:
        """See TrackingListener: nearly all are of customers that are not held, and must cost nothing."""
        key = change.key
        return (
            self._store.holds(key)
            or key in self._own_writes
            or self._feed_applier.is_waiting_for(key)
            or self._changes.is_watched(key.customer_id)
            or (change.is_whole and self._store.holds_resources_of(key.customer_id))
        )

    def changed(self, changes: Sequence[Change]) -> None:
        """See TrackingListener."""
        for change in changes:
            if self._own_writes.has_named(change.key):
                metrics.REDIS_NAMED_ENTITIES.labels("own").inc()
            else:
                metrics.REDIS_NAMED_ENTITIES.labels("others").inc()
                self._look_again(change)

    def lease_changed(self) -> None:
        """See TrackingListener; the leader's own renewals are named as well."""
        if self._feed_trust.membership.role is not Role.LEADER:
            self._feed_trust.lease_wanted.set()

    def tracking_began(self) -> None:
        """See TrackingListener."""
        metrics.REDIS_TRACKING.set(1)
        self._feed_trust.move(Membership.tracking_began)
        self._changes.all_changed()

    def tracking_ended(self) -> None:
        """See TrackingListener."""
        metrics.REDIS_TRACKING.set(0)
        logger.warning("redis does not name what changes; what is cached is looked at again, or by its age")
        self._feed_trust.move(Membership.tracking_ended)

    def emptied(self) -> None:
        """See TrackingListener."""
        self._feed_trust.move(Membership.emptied)
        self._changes.all_changed()

    def _look_again(self, change: Change) -> None:
        key = change.key
        may_be_evicted = not change.with_timestamp and self._may_evict()
        self._store.name(key, may_be_evicted=may_be_evicted)
        self._changes.changed(key)
        if change.is_whole:  # a resource's entitlements depend on its customer's (contract/redis.md, Rules)
            for resource in self._store.resources_of(key.customer_id):
                self._store.name(resource, may_be_evicted=may_be_evicted)
        if self._feed_applier.is_waiting_for(key):
            self._background.once(CATCH_UP_TASK, partial(self._feed_applier.catch_up, key))
