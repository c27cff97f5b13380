"""Tells who watches a customer that something of it changed; what, they read themselves."""

import asyncio

from entitlements import metrics
from entitlements.domain.entity import EntityKey
from entitlements.domain.errors import Overloaded

MAX_WATCHERS = 500
"""In all; about half of the connections that HTTP takes."""
MAX_WATCHERS_PER_CUSTOMER = 50
"""So that one customer's applications leave room for others'."""


class Watcher:
    """Waits for changes of one customer. However many come meanwhile, they wait as one."""

    def __init__(self, customer_id: str, resource_id: str | None) -> None:
        self.customer_id = customer_id
        self._resource_id = resource_id
        self._changed = asyncio.Event()
        self._is_closed = False

    def wants(self, key: EntityKey) -> bool:
        """True for all of the customer's; where one resource is watched, for it and the customer itself."""
        return self._resource_id is None or key.resource_id in {None, self._resource_id}

    def wake(self) -> None:
        """Has `changed` return."""
        self._changed.set()

    def close(self) -> None:
        """Has `changed` end."""
        self._is_closed = True
        self._changed.set()

    async def changed(self) -> bool:
        """Returns once something changed since the last call: True, or False when this process ends."""
        await self._changed.wait()
        self._changed.clear()
        return not self._is_closed


class ChangeNotifier:
    """Who watches which customer. Its methods belong to one event loop."""

    def __init__(self) -> None:
        self._watchers: dict[str, set[Watcher]] = {}
        self._is_closed = False
        self.count = 0
        """The number of watchers."""

    def watch(self, customer_id: str, resource_id: str | None) -> Watcher:
        """One who is woken by every change, until `forget`.

        Raises:
            Overloaded: there are too many, of this customer or in all.
        """
        watchers = self._watchers.get(customer_id, set())
        if len(watchers) >= MAX_WATCHERS_PER_CUSTOMER or self.count >= MAX_WATCHERS:
            raise Overloaded("of those who watch for changes")
        watcher = Watcher(customer_id, resource_id)
        if self._is_closed:
            watcher.close()
        self._watchers.setdefault(customer_id, watchers).add(watcher)
        self._note(+1)
        return watcher

    def forget(self, watcher: Watcher) -> None:
        """It is gone; may be called twice."""
        watchers = self._watchers.get(watcher.customer_id, set())
        if watcher in watchers:
            watchers.remove(watcher)
            self._note(-1)
        if not watchers:
            self._watchers.pop(watcher.customer_id, None)

    def is_watched(self, customer_id: str) -> bool:
        """False where nobody would be woken."""
        return customer_id in self._watchers

    def changed(self, key: EntityKey) -> None:
        """Something of this entity is another than before."""
        for watcher in self._watchers.get(key.customer_id, ()):
            if watcher.wants(key):
                watcher.wake()

    def all_changed(self) -> None:
        """Anything may be another than before: changes were missed, or a plan was published."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.wake()

    def close(self) -> None:
        """Ends all watching, and what begins after it at once."""
        self._is_closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.close()

    def _note(self, step: int) -> None:
        self.count += step
        metrics.WATCHERS.set(self.count)
