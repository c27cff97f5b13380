"""The way to Redis: django-redis' connection pool, used on threads of its own, with a time-out and a breaker.

No call blocks the event loop, takes longer than `CALL_SECONDS`, or raises because Redis is out of order.
"""

import asyncio
import enum
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias, TypeVar, cast

from django_redis.cache import RedisCache
from redis import Redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from entitlements import metrics
from entitlements.domain.breaker import Breaker, BreakerState
from entitlements.domain.ports import Clock
from entitlements.json_fields import Junk
from entitlements.occasional_log import OccasionalLog
from entitlements.redis.keys import raw
from entitlements.redis.outage_log import OutageLog

logger = logging.getLogger(__name__)

CALL_SECONDS = 0.3
"""What a request may lose to one call, reconnecting and waiting for a thread included."""
THREADS = 8
"""So many calls at a time; each waits for the network and not for the processor."""
MAX_WAITING = 512
"""So many calls may wait for a thread; past it a call is not made, so that a flood cannot pile up here."""

_REFUSALS = (
    "READONLY",
    "OOM",
    "NOPERM",
    "MISCONF",
    "WRONGTYPE",
    "MASTERDOWN",
    "MOVED",
    "CROSSSLOT",
    "DENIED",
)

_REFUSAL_CLASSES = {OutOfMemoryError: "OOM", ReadOnlyError: "READONLY", NoPermissionError: "NOPERM"}
"""redis-py cuts the code off the texts of these."""

_Answer = TypeVar("_Answer")
Client: TypeAlias = Redis


class Unavailable(enum.Enum):
    """There is no answer from Redis."""

    UNAVAILABLE = "unavailable"


UNAVAILABLE = Unavailable.UNAVAILABLE


class RedisConnection:
    """Runs calls to one Redis. Its methods belong to one event loop; `stop` ends its threads."""

    def __init__(self, cache: RedisCache, *, clock: Clock) -> None:
        self.client: Client = cache.client.get_client(write=True)
        """For threads other than the event loop's."""
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="redis")
        self._breaker = Breaker()
        self._waiting = 0
        self._is_stopped = False
        self.last_refusal: str | None = None
        """Why Redis refused a command last, such as READONLY."""
        self._outage = OutageLog(
            logger,
            down="redis does not answer; memory and the cloud do",
            up="redis answers again",
            monotonic=clock.monotonic,
        )
        self._occasional = OccasionalLog(logger, clock.monotonic)

    @property
    def is_answering(self) -> bool:
        """False while Redis is not asked because it did not answer."""
        return self._breaker.state is BreakerState.CLOSED

    async def run(self, work: Callable[[Client], _Answer]) -> _Answer | Unavailable:
        """What `work` makes of the client, on another thread; UNAVAILABLE when Redis fails it.

        Raises:
            Junk: `work` did.
        """
        if self._is_stopped:
            return UNAVAILABLE
        if self._waiting >= MAX_WAITING:
            self._refused("too many calls wait")
            return UNAVAILABLE
        if not self._breaker.allows(self._clock.monotonic()):
            metrics.REDIS_CLIENT_ERRORS.inc()
            return UNAVAILABLE
        self._waiting += 1
        try:
            return await self._run(work)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Ends the threads and closes the connections; can be called twice."""
        self._is_stopped = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.client.connection_pool.disconnect()

    async def _run(self, work: Callable[[Client], _Answer]) -> _Answer | Unavailable:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                answer = await asyncio.get_running_loop().run_in_executor(self._threads, work, self.client)
        except (
            ResponseError
        ) as error:  # it answers, if only with a refusal: read-only, out of memory, no right
            self._answered()
            self._refused(_refusal(error))
            return UNAVAILABLE
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            self._failed(error)
            return UNAVAILABLE
        except Junk:
            self._answered()
            raise
        except BaseException:  # given up by the caller, or a fault of ours: it says nothing about Redis
            self._breaker.abandoned(self._clock.monotonic())
            raise
        self._answered()
        return answer

    def _answered(self) -> None:
        self._breaker.succeeded()
        self._outage.succeeded()

    def _failed(self, error: Exception) -> None:
        metrics.REDIS_CLIENT_ERRORS.inc()
        self._breaker.failed(self._clock.monotonic())
        self._outage.failed(type(error).__name__, is_down=not self.is_answering)

    def _refused(self, cause: str) -> None:
        metrics.REDIS_CLIENT_ERRORS.inc()
        self.last_refusal = cause
        self._occasional.warning("refused", "redis refuses commands cause=%s", cause)


def _refusal(error: ResponseError) -> str:
    """The code in the error; its text may name keys, which are ids of customers."""
    for class_, code in _REFUSAL_CLASSES.items():
        if isinstance(error, class_):
            return code
    return next((code for code in _REFUSALS if code in f"{type(error).__name__} {error}"), "other")


def values_of(client: Client, names: Iterable[str]) -> list[bytes | None]:
    """What stands under each of these keys; None also for what is no string."""
    return cast("list[bytes | None]", client.mget([raw(name) for name in names]))
