"""The outbox in a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from entitlements.domain.errors import OutboxUnavailable
from entitlements.domain.outbox import OutboxState, Replayed
from entitlements.outbox import redis_stream
from entitlements.outbox.codec import encode
from entitlements.outbox.redis_stream import RedisStreamOutbox
from entitlements.redis import patience
from entitlements.redis.connection import UNAVAILABLE, RedisConnection
from entitlements.redis.examination import outbox_probes
from tests.fakes import FakeClock
from tests.outbox.outbox_contract import EVENT, LIMITS, OutboxContract, events, keys_of
from tests.redis.parts import CLUSTER_KEYS, KEYS, a_connection, cluster_address, connection_to
from tests.redis_fleet import ClusterFleet
from tests.redis_server import RedisServer


@pytest.fixture(scope="module")
def redis_process() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis(redis_process: RedisServer, unhurried: None) -> RedisServer:
    redis_process.command("FLUSHALL")
    redis_process.command("CONFIG", "SET", "maxmemory", 0)
    redis_process.command("ACL", "SETUSER", "us", "reset", "on", ">pw", "~*", "&*", "+@all")
    return redis_process


@pytest.fixture
async def connection(redis: RedisServer) -> AsyncIterator[RedisConnection]:
    connection = a_connection(redis.url)
    await connect(connection)
    yield connection
    connection.stop()


@pytest.fixture
async def limited(redis: RedisServer) -> AsyncIterator[RedisStreamOutbox]:
    """One whose user `us` has what rights a test leaves it."""
    connection = a_connection(redis.url, username="us", password="pw")
    await connect(connection)
    yield RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())
    connection.stop()


async def connect(connection: RedisConnection) -> None:
    """Beforehand: on a busy machine that may take longer than a call."""
    while await connection.run(lambda client: client.ping()) is UNAVAILABLE:
        pass


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(connection: RedisConnection, clock: FakeClock) -> RedisStreamOutbox:
    return RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=clock)


class TestRedisStreamOutbox(OutboxContract):
    """The contract."""


class TestRedisStreamOutboxInACluster(OutboxContract):
    """The contract, where all of an outbox is on one node."""

    @pytest.fixture
    async def outbox(self, cluster: ClusterFleet, clock: FakeClock) -> AsyncIterator[RedisStreamOutbox]:
        connection = connection_to(cluster_address(cluster))
        while await connection.run(lambda client: client.get("a")) is UNAVAILABLE:
            pass
        yield RedisStreamOutbox(connection, name=CLUSTER_KEYS.outbox, limits=LIMITS, clock=clock)
        connection.stop()


async def test_another_process_takes_over(outbox: RedisStreamOutbox, connection: RedisConnection) -> None:
    """What the first took and left, in the same order."""
    await outbox.accept(events("a", "b"))
    await outbox.oldest(10)

    second = RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())

    assert ["a", "b"] == keys_of(await second.oldest(10))
    await second.stop()


async def test_full_redis_is_reported_and_drains(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """Nothing more is accepted; what is held can be delivered and refused all the same."""
    await outbox.accept(events("a", "b"))
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", 1)

    with pytest.raises(OutboxUnavailable):
        await outbox.accept(events("c"))

    taken = await outbox.oldest(10)
    await outbox.bury(taken[0], reason="no")
    await outbox.settle(taken[1:])
    state = await outbox.state()
    assert 0 == state.waiting
    assert 1 == state.dead


async def test_dead_redis_is_reported(
    outbox: RedisStreamOutbox, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is promised while it does not answer."""
    monkeypatch.setattr(patience, "MOST_SECONDS", 0.1)
    redis.pause()
    try:
        with pytest.raises(OutboxUnavailable):
            await outbox.accept(events("a"))
    finally:
        redis.resume()


async def test_foreign_entry_becomes_a_dead_letter(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """Anybody can write to Redis; it does not stop the others, and is not shown as what it is not."""
    redis.command("XADD", KEYS.outbox, "*", "what", "junk")
    await outbox.accept([EVENT])

    assert [] == keys_of(await outbox.waiting(1))
    assert ["k"] == keys_of(await outbox.oldest(10))
    assert 1 == (await outbox.state()).dead
    assert [] == list(await outbox.dead_letters(10))


WAITING, DEAD, BYTES, COUNT = (KEYS.outbox, *(f"{KEYS.outbox}:{each}" for each in ("dead", "bytes", "count")))


def evict(redis: RedisServer) -> None:
    """As a Redis does that serves as a cache and is full."""
    redis.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    redis.command("CONFIG", "SET", "maxmemory", 1)
    while redis.command("DBSIZE"):
        redis.command("SET", "filler", "x")
    redis.command("CONFIG", "SET", "maxmemory", 0)


def restore(redis: RedisServer) -> None:
    """An older copy of itself comes back, in which only the first write was there."""
    copies = {name: redis.command("GET", f"copy of {name}") for name in (WAITING, BYTES, COUNT)}
    redis.command("DEL", DEAD)
    for name, copy in copies.items():
        redis.command("RESTORE", name, 0, copy, "REPLACE")


@pytest.mark.parametrize(
    ("lose", "lost", "left"),
    [
        (evict, 4, 0),
        (lambda redis: redis.command("FLUSHALL"), 4, 0),
        (lambda redis: redis.command("DEL", WAITING), 3, 1),
        (lambda redis: redis.command("DEL", DEAD), 1, 3),
        (lambda redis: redis.command("DEL", WAITING, COUNT), 3, 1),
        (lambda redis: redis.command("XTRIM", WAITING, "MAXLEN", 1), 2, 2),
        (lambda redis: redis.command("DEL", COUNT), 0, 4),
        (lambda redis: redis.command("DEL", BYTES, COUNT), 0, 4),
        (restore, 3, 1),
    ],
    ids=[
        "evicted",
        "flushed",
        "stream",
        "dead",
        "stream and count",
        "trimmed",
        "count",
        "sums",
        "older copy",
    ],
)
async def test_what_vanished_is_reported_once(
    outbox: RedisStreamOutbox,
    connection: RedisConnection,
    redis: RedisServer,
    lose: Callable[[RedisServer], None],
    lost: int,
    left: int,
) -> None:
    """By one of all processes; what is left counts as before, and there is room again."""
    await outbox.accept(events("a"))
    for name in (WAITING, BYTES, COUNT):
        redis.command("SET", f"copy of {name}", redis.command("DUMP", name))
    await outbox.accept(events("b", "c", "d"))
    await outbox.bury((await outbox.oldest(1))[0], reason="no")
    second = RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())
    for each in (outbox, second):
        await each.state()
        assert 0 == each.taken_losses()

    lose(redis)

    states = [await each.state() for each in (second, outbox, second)]
    assert lost == second.taken_losses()
    assert 0 == outbox.taken_losses()
    assert {left} == {state.waiting + state.dead for state in states}
    assert {left * len(encode(EVENT))} == {state.size_bytes for state in states}
    await outbox.accept(events(*"abcdefghij"[left:]))
    assert 10 - states[0].dead == len(await outbox.oldest(10))
    await outbox.state()
    assert 0 == outbox.taken_losses()


async def test_a_loss_is_reported_also_where_others_wrote_since(
    outbox: RedisStreamOutbox, connection: RedisConnection, redis: RedisServer
) -> None:
    """A Redis that was started anew, and was written to before we looked."""
    await outbox.accept(events("a", "b"))
    await outbox.state()
    redis.command("FLUSHALL")
    second = RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())
    await second.accept(events("c", "d", "e"))

    state = await outbox.state()

    assert 3 == state.waiting
    assert 2 == outbox.taken_losses()


async def test_ordinary_work_of_several_is_no_loss(
    outbox: RedisStreamOutbox, connection: RedisConnection
) -> None:
    """Whoever accepts, delivers, sets aside and discards, at a time."""
    second = RedisStreamOutbox(connection, name=KEYS.outbox, limits=LIMITS, clock=FakeClock())
    for number in range(20):
        await asyncio.gather(outbox.accept(events(f"{number}")), second.accept(events(f"{number}+")))
        taken = await outbox.oldest(10)
        await asyncio.gather(second.state(), outbox.state())
        await outbox.bury(taken[0], reason="no")
        await asyncio.gather(second.discard(), outbox.settle(taken[1:]), second.state())
        await asyncio.gather(second.state(), outbox.state())
    await outbox.discard()

    assert OutboxState() == await second.state()
    assert 0 == outbox.taken_losses()
    assert 0 == second.taken_losses()


@dataclass
class LateAnswers:
    """A connection whose answers come to us later than others', while told to."""

    connection: RedisConnection
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    may_arrive: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, work: Callable[[Any], Any], *, key: str) -> Any:
        answer = await self.connection.run(work, key=key)
        if not self.may_arrive.is_set() and not self.answered.is_set():
            self.answered.set()
            await self.may_arrive.wait()
        return answer


async def test_what_is_counted_while_it_is_accepted_is_no_loss(
    outbox: RedisStreamOutbox, connection: RedisConnection
) -> None:
    """The numbers may hold already what we learn of only afterwards."""
    await outbox.state()
    late = LateAnswers(connection)
    outbox._redis = cast("RedisConnection", late)
    accepting = asyncio.create_task(outbox.accept(events("a")))
    await late.answered.wait()
    await outbox.state()
    late.may_arrive.set()
    await accepting
    await outbox.state()

    assert 0 == outbox.taken_losses()


async def test_an_evicted_outbox_is_not_full(outbox: RedisStreamOutbox, redis: RedisServer) -> None:
    """The sum of its bytes stayed, so that an empty outbox was full."""
    large = [replace(EVENT, dimensions={"text": "x" * 1500})]
    await outbox.accept(large)
    redis.command("DEL", WAITING)

    await outbox.accept(large)

    assert 1 == (await outbox.state()).waiting


async def test_a_loss_that_cannot_be_written_down_yet_is_reported_later(
    outbox: RedisStreamOutbox, redis: RedisServer
) -> None:
    """A full Redis takes no new hash; meanwhile what is there leaves."""
    await outbox.accept(events("a", "b"))
    await outbox.state()
    redis.command("DEL", WAITING, COUNT)
    redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    redis.command("CONFIG", "SET", "maxmemory", 1)

    assert OutboxState() == await outbox.state()
    redis.command("CONFIG", "SET", "maxmemory", 0)
    await outbox.state()
    assert 2 == outbox.taken_losses()


@pytest.mark.parametrize("command", outbox_probes("o"))
async def test_nothing_is_promised_that_could_not_be_delivered(
    limited: RedisStreamOutbox, redis: RedisServer, command: str
) -> None:
    """Each command that is needed later is tried first; the right is given while it runs."""
    redis.command("ACL", "SETUSER", "us", f"-{command.lower()}")
    with pytest.raises(OutboxUnavailable):
        await limited.accept(events("a"))
    with pytest.raises(OutboxUnavailable):
        await limited.state()

    redis.command("ACL", "SETUSER", "us", f"+{command.lower()}")
    await limited.accept(events("b"))
    assert ["b"] == keys_of(await limited.oldest(10))


async def test_a_right_that_is_taken_away_later_is_noticed(
    limited: RedisStreamOutbox, redis: RedisServer
) -> None:
    """At the first that fails."""
    await limited.accept(events("a"))
    redis.command("ACL", "SETUSER", "us", "-xreadgroup")
    with pytest.raises(OutboxUnavailable):
        await limited.oldest(10)

    with pytest.raises(OutboxUnavailable):
        await limited.accept(events("b"))


@pytest.mark.parametrize(
    "refused", ["xautoclaim", "xclaim", "evalsha", "script", "xinfo", "xpending", "config", "info"]
)
async def test_what_an_old_or_closed_redis_refuses_is_not_needed(
    limited: RedisStreamOutbox, redis: RedisServer, refused: str
) -> None:
    """What was taken and left comes again all the same: 200 of 200 were answered OK and never delivered."""
    redis.command("ACL", "SETUSER", "us", f"-{refused}")
    await limited.accept(events("a", "b"))
    await limited.oldest(10)

    again = await limited.oldest(10)

    assert ["a", "b"] == keys_of(again)
    await limited.bury(again[0], reason="no")
    await limited.settle(again[1:])
    assert Replayed(count=1) == await limited.replay()
    assert ["a"] == keys_of(await limited.oldest(10))


async def test_what_somebody_removed_under_way_stops_nothing(
    outbox: RedisStreamOutbox, redis: RedisServer
) -> None:
    """A person's XDEL leaves its id with the group."""
    await outbox.accept(events("a", "b"))
    taken = await outbox.oldest(10)
    redis.command("XDEL", WAITING, taken[0].id)

    assert [["b"], ["b"]] == [keys_of(await outbox.oldest(10)) for _ in range(2)]
    assert 1 == redis.command("XPENDING", WAITING, "delivery")["pending"]


async def test_all_are_acted_on_in_pages(outbox: RedisStreamOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call takes long, however many there are: with 50,000 dead letters both failed for good."""
    monkeypatch.setattr(redis_stream, "PAGE", 3)
    await outbox.accept(events(*"abcdefghij"))
    for entry in await outbox.oldest(7):
        await outbox.bury(entry, reason="no")
    move, remove, pages = outbox._move, outbox._remove, []

    async def moved(source: str, target: str, how: Any, ids: Sequence[str]) -> Replayed:
        pages.append(len(ids))
        return await move(source, target, how, ids)

    async def removed(stream: str, group: str, ids: Sequence[str]) -> int:
        pages.append(len(ids))
        return await remove(stream, group, ids)

    monkeypatch.setattr(outbox, "_move", moved)
    monkeypatch.setattr(outbox, "_remove", removed)

    assert Replayed(count=7) == await outbox.replay()
    assert 10 == await outbox.discard(waiting=True)
    assert [3, 3, 1, 3, 3, 3, 1] == pages


async def test_what_is_replayed_and_refused_again_does_not_come_round_for_ever(
    outbox: RedisStreamOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands behind the others then; each is replayed once."""
    monkeypatch.setattr(redis_stream, "PAGE", 1)
    await outbox.accept(events("a", "b"))
    for entry in await outbox.oldest(10):
        await outbox.bury(entry, reason="no")
    move = outbox._move

    async def moved(source: str, target: str, how: Any, ids: Sequence[str]) -> Replayed:
        replayed = await move(source, target, how, ids)
        for entry in await outbox.oldest(10):
            await move(target, source, ("delivery", "no", "", 0, 0), [entry.id])
        return replayed

    monkeypatch.setattr(outbox, "_move", moved)

    assert Replayed(count=2) == await outbox.replay()


async def test_an_entry_and_a_dead_letter_are_distinguished(
    outbox: RedisStreamOutbox, redis: RedisServer
) -> None:
    """Each stream gives its own ids, so that both may have the same one."""
    redis.command("XADD", WAITING, "5-1", "write", encode(events("a")[0]), "at", 1)
    redis.command("XADD", DEAD, "5-1", "write", encode(events("b")[0]), "at", 1, "reason", "no")
    (waiting,), (dead,) = await outbox.waiting(10), await outbox.dead_letters(10)

    assert await outbox.discard([dead.entry.id]) == 1
    assert ["a"] == keys_of(await outbox.waiting(10))
    assert await outbox.discard([waiting.id]) == 1
