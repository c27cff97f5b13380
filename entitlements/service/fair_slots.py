"""A number of slots, and who waits for one: each caller in turn, however many of one wait."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from typing import TypeAlias

_Waiting: TypeAlias = "asyncio.Future[None]"


class FairSlots:
    """Belongs to one event loop; nobody waits while a slot is free."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: dict[Hashable, _Waiting] = {}
        self._queues: OrderedDict[str, OrderedDict[_Waiting, None]] = OrderedDict()
        """Of each caller what it waits for, the oldest first; the callers in the order of their turns."""

    def try_acquire(self) -> bool:
        """Takes a slot that is free, which `release` gives back."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def acquire(self, caller: str, what: Hashable) -> None:
        """Waits for a slot, which `release` gives back; raises what `displace` was given."""
        if self.try_acquire():
            return
        waiting = self._waiting[what] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, OrderedDict())[waiting] = None
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                self.release()  # it was given a slot in the turn in which it went away
            raise
        finally:
            if self._waiting.get(what) is waiting:
                del self._waiting[what]
            self._forget(caller, waiting)

    def join(self, caller: str, what: Hashable) -> None:
        """Another caller waits for the same: it has its slot at whose turn comes first."""
        waiting = self._waiting.get(what)
        if waiting is not None and not waiting.done():
            self._queues.setdefault(caller, OrderedDict())[waiting] = None

    def displace(self, caller: str, error: Exception) -> bool:
        """Makes the youngest of the caller with most give up its waiting, unless this one has as many."""
        most = max(self._queues, key=lambda each: len(self._queues[each]), default=caller)
        if len(self._queues.get(most, ())) <= len(self._queues.get(caller, ())) + 1:
            return False
        waiting, _ = self._queues[most].popitem()
        if not waiting.done():
            waiting.set_exception(error)
        return True

    def release(self) -> None:
        """Gives the slot to the next caller's oldest, or lets it be free."""
        while self._queues:
            caller, queue = next(iter(self._queues.items()))
            self._queues.move_to_end(caller)
            waiting, _ = queue.popitem(last=False)
            if not queue:
                del self._queues[caller]
            if not waiting.done():
                waiting.set_result(None)
                return
        self._free += 1

    def _forget(self, caller: str, waiting: _Waiting) -> None:
        queue = self._queues.get(caller)
        if queue is not None:
            queue.pop(waiting, None)
            if not queue:
                del self._queues[caller]
