"""The way to Redis: django-redis' connection pool, used on threads of its own, with a time-out and a breaker.

No call blocks the event loop, takes longer than `MOST_SECONDS`, or raises because Redis is out of order.
"""

import asyncio
import enum
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, cast

from django_redis.cache import RedisCache
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from entitlements import metrics
from entitlements.domain.ports import Clock
from entitlements.json_fields import Malformed
from entitlements.rate_limited_log import RateLimitedLog
from entitlements.redis.causes import TIMED_OUT, Cause, cause_of, refusal_of
from entitlements.redis.keys import raw
from entitlements.redis.node_circuits import NodeCircuit, NodeCircuits
from entitlements.redis.nodes import WHOLE, close, give_up_idle, node_name, node_names, seed_again
from entitlements.redis.patience import Patience

logger = logging.getLogger(__name__)

PUNCTUAL_SHARE = 0.9
"""A call that began to ask with less than this part of its time was kept waiting by us, and not by Redis."""
THREADS = 8
"""How many calls at a time; each waits for the network and not for the processor."""
MAX_WAITING = 512
"""How many calls may wait for a thread; past it a call is not made, so that a flood cannot pile up here."""

RESET_SECONDS = 1.0
"""The connections are given up no more often than this, whatever a Redis answers that stays as it is."""

_WRONG_NODE = frozenset({"READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS"})
"""Whoever answers so is not, or no longer, who takes writes: another may be, under the same name."""

_Answer = TypeVar("_Answer")
Client: TypeAlias = Redis


class Unavailable(enum.Enum):
    """There is no answer from Redis."""

    UNAVAILABLE = "unavailable"


UNAVAILABLE = Unavailable.UNAVAILABLE


@dataclass(slots=True)
class _Turn:
    """One call's time."""

    deadline: float
    seconds: float
    began_at: float | None = None
    """When a thread began to ask; None: it waits for one."""

    @property
    def was_late(self) -> bool:
        """True where most of its time had not been Redis' to answer in."""
        return self.began_at is None or self.deadline - self.began_at < self.seconds * PUNCTUAL_SHARE


class RedisConnection:
    """Runs calls to one Redis. Its methods belong to one event loop; `stop` ends its threads.

    Each node of a Cluster has a breaker: one that is gone costs nothing to those who ask the others.
    """

    def __init__(self, cache: RedisCache, *, clock: Clock) -> None:
        self._cache = cache
        self._client: Client | None = None
        self._dialling = threading.Lock()
        self._clock = clock
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="redis")
        self.patience = Patience()
        """How long calls are waited for."""
        self._circuits = NodeCircuits(clock)
        self._waiting = 0
        self._is_stopped = False
        self.last_refusal: str | None = None
        """Why Redis refused a command last, such as READONLY."""
        self.cause: Cause | None = None
        """Why the last call got no answer; None after one that did."""
        self.resets = 0
        """So often all connections were given up because another Redis may stand behind the name now."""
        self._reset_at = float("-inf")
        self._occasional = RateLimitedLog(logger, clock.monotonic)

    @property
    def client(self) -> Client:
        """For threads other than the event loop's: a Cluster has to name its nodes first.

        Raises:
            RedisError: it does not.
        """
        with self._dialling:
            if self._client is None:
                self._client = _dialled(self._cache)
            return self._client

    @property
    def is_answering(self) -> bool:
        """False while no node of Redis is asked, because none answered."""
        return not node_names(self._client) <= self._circuits.silent

    @property
    def silent_nodes(self) -> list[str]:
        """The nodes of a Cluster that are not asked because they did not answer."""
        return sorted(self._circuits.silent & node_names(self._client) - {WHOLE})

    async def run(
        self, work: Callable[[Client], _Answer], *, key: str | None = None
    ) -> _Answer | Unavailable:
        """What `work` makes of the client, on another thread; UNAVAILABLE when Redis fails it.

        Args:
            work: made of the client.
            key: what it is about, so that it is known whom of a Cluster it asks.

        Raises:
            Malformed: `work` did.
        """
        if self._is_stopped:
            return UNAVAILABLE
        if self._waiting >= MAX_WAITING:
            self._refused("too many calls wait")
            return UNAVAILABLE
        node = self._circuits.of(WHOLE if key is None else node_name(self._client, raw(key)))
        if not node.breaker.try_acquire(self._clock.monotonic()):
            metrics.REDIS_CLIENT_ERRORS.inc()
            return UNAVAILABLE
        self._waiting += 1
        try:
            return await self._run(work, node)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Ends the threads and closes the connections; can be called twice."""
        self._is_stopped = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._client is not None:
            close(self._client)

    async def _run(self, work: Callable[[Client], _Answer], node: NodeCircuit) -> _Answer | Unavailable:
        resets = self.resets
        turn = _Turn(deadline=self._clock.monotonic() + self.patience.seconds, seconds=self.patience.seconds)
        try:
            async with asyncio.timeout(turn.seconds):
                call = asyncio.get_running_loop().run_in_executor(self._threads, self._on_thread, work, turn)
                answer = await call
        except (
            ResponseError
        ) as error:  # it answers, if only with a refusal: read-only, out of memory, no right
            self._answered(node)
            self._refused(refusal_of(error))
            return UNAVAILABLE
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            if isinstance(error, TimeoutError) and turn.was_late:
                node.breaker.abandoned(self._clock.monotonic())
                self._refused("calls wait too long for a thread")
            else:
                self._failed(error, node)
            return UNAVAILABLE
        except Malformed:
            self._answered(node)
            raise
        except BaseException:  # given up by the caller, or a fault of ours: it says nothing about Redis
            node.breaker.abandoned(self._clock.monotonic())
            raise
        finally:
            if resets != self.resets:  # the connection of this call was in use when the others were closed
                give_up_idle(self._client)
        self._answered(node)
        return answer

    def _on_thread(self, work: Callable[[Client], _Answer], turn: "_Turn") -> _Answer:
        """Notes why a call fails also where nobody waits for it any more: that it took long is no cause."""
        turn.began_at = self._clock.monotonic()
        try:
            answer = work(self.client)
        except ResponseError:
            raise
        except RedisClusterException as error:  # no RedisError, whatever its name says
            self.cause = cause_of(error)
            if self._client is not None:
                seed_again(self._client)
            raise RedisConnectionError from error
        except (RedisError, OSError) as error:
            self.cause = cause_of(error)
            raise
        self.patience.note(self._clock.monotonic() - turn.began_at)
        return answer

    def _answered(self, node: NodeCircuit) -> None:
        self.cause = None
        node.breaker.succeeded()
        node.outage.succeeded()
        if self._circuits.silent:
            self._circuits.forget_replaced(node_names(self._client))

    def _failed(self, error: Exception, node: NodeCircuit) -> None:
        metrics.REDIS_CLIENT_ERRORS.inc()
        node.breaker.failed(self._clock.monotonic())
        self.cause = self.cause or TIMED_OUT
        node.outage.failed(type(error).__name__, error=self.cause.text, is_down=node.is_silent)

    def _refused(self, cause: str) -> None:
        metrics.REDIS_CLIENT_ERRORS.inc()
        self.last_refusal = cause
        self._occasional.warning("refused", "redis refuses commands cause=%s", cause, cause=cause)
        if cause in _WRONG_NODE:
            self._reset()

    def _reset(self) -> None:
        """Gives all connections up: a fail-over leaves them at the old primary, which lives on as a replica.

        Connections that threads use just now are closed by their calls as they return (`_run`): closed under
        a read they would fail in ways of their own. New ones are dialled by name, and reach the new primary.
        """
        now = self._clock.monotonic()
        if now - self._reset_at < RESET_SECONDS:
            return
        self._reset_at = now
        self.resets += 1
        give_up_idle(self._client)


def _dialled(cache: RedisCache) -> Client:
    """A client; without its nodes, and the right to ask for them, there is none of a Cluster."""
    try:
        client: Client = cache.client.get_client(write=True)
    except (RedisClusterException, ResponseError) as error:
        raise RedisConnectionError from error
    return client


def values_of(client: Client, names: Iterable[str]) -> list[bytes | None]:
    """What stands under each of these keys; None also for what is no string."""
    return cast("list[bytes | None]", client.mget([raw(name) for name in names]))
