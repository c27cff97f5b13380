"""A database that stands still holds up neither what other pods announce nor the end."""

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from entitlements import metrics, shared_table
from entitlements.background import Background
from entitlements.fallbacks import StoredRules
from entitlements.overrides.following import StoredOverrides
from entitlements.redis.shared_records import SharedRecords
from entitlements.shared_table import SharedTable, Skip
from tests.eventually import eventually
from tests.fakes import FakeClock
from tests.redis.parts import KEYS, a_connection
from tests.redis_server import RedisServer


class _Words:
    """A table of one column, which stands still when told to."""

    def __init__(self) -> None:
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.stored: dict[str, str] = {}
        self.reads = 0

    def rows(self, skip: Skip) -> dict[str, str]:
        self.reads += 1
        self.goes_on.wait()
        return dict(self.stored)

    def take_over(self, learned: Sequence[str]) -> None:
        self.goes_on.wait()
        self.stored |= {word: word for word in learned}

    def encoded(self, record: str) -> bytes:
        return record.encode()

    def decoded(self, id_: str, received: bytes) -> str:
        return received.decode()

    def merged(self, held: str | None, received: str) -> str:
        return received

    def is_past(self, record: str) -> bool:
        return False


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Words]:
    monkeypatch.setattr(shared_table, "ANSWER_SECONDS", 0.05)
    words = _Words()
    yield words
    words.goes_on.set()


@pytest.mark.parametrize("follower", [StoredOverrides, StoredRules])
def test_what_is_written_is_in_force_within_a_second(follower: type) -> None:
    """With time to spare for the look itself: so the pages and the commands promise it."""
    assert inspect.signature(follower).parameters["poll_seconds"].default <= 0.5


def _table(words: _Words, shared: SharedRecords | None = None) -> SharedTable[str]:
    return SharedTable(words, task="words", clock=FakeClock(), shared=shared, poll_seconds=0.01)


async def test_it_is_reported_and_asked_again_when_it_goes_on(words: _Words) -> None:
    """Meanwhile nothing more waits for it, and what was known holds."""
    words.stored["a"] = "a"
    table, looks, errors = _table(words), [], metrics.DATABASE_ERRORS._value.get()

    async def look() -> None:
        looks.append((table.is_readable, dict(await table.look()), table.is_readable))

    async with table.followed(Background(time.monotonic), look):
        words.goes_on.clear()
        await eventually(lambda: not table.is_readable)
        reads, count = words.reads, len(looks)
        await eventually(lambda: len(looks) > count + 10)
        assert reads == words.reads
        assert {"a": "a"} == looks[-1][1]
        words.stored["b"] = "b"
        words.goes_on.set()
        await eventually(lambda: table.is_readable)
        await eventually(lambda: "b" in looks[-1][1])

    assert metrics.DATABASE_ERRORS._value.get() == errors + 1


async def test_what_others_announce_arrives_all_the_same(words: _Words) -> None:
    """A person overrides at another pod; this one's own database hangs."""
    with RedisServer() as server:
        connection = a_connection(server.url)
        shared = SharedRecords(connection, name=KEYS.overrides, ttl_seconds=60)
        table = _table(words, shared)
        words.goes_on.clear()
        await shared.write({"a": b"a"}, removed=[])

        try:
            learned = await asyncio.wait_for(table.look(), 10)
        finally:
            words.goes_on.set()
            connection.stop()

    assert {"a": "a"} == learned


@pytest.mark.parametrize("work", ["rows", "take_over"])
async def test_the_end_does_not_wait_for_it(words: _Words, work: str) -> None:
    table = _table(words)

    async def nothing() -> None:
        if work == "rows":
            await table.look()
        else:
            await table.write(lambda: words.take_over(["a"]))

    async with asyncio.timeout(10):
        async with table.followed(Background(time.monotonic), nothing):
            words.goes_on.clear()
            await eventually(lambda: table._late is not None)
