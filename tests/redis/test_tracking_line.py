"""A line gives each name once and whole, however the bytes arrive, and says when it is lost."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from entitlements.redis import tracking_line
from entitlements.redis.address import RedisAddress
from entitlements.redis.connection import RedisConnection
from entitlements.redis.tracking_line import Names, TrackingLine
from tests.chaos.proxy import TcpProxy
from tests.redis.parts import ShiftedClock, a_connection, connection_to, stopping
from tests.redis_server import RedisServer, TlsFront

PREFIX = b"production:c_"
MANY = 3_000


@contextmanager
def a_line(
    connection: RedisConnection, *, monotonic: Callable[[], float] = time.monotonic
) -> Iterator[TrackingLine]:
    line = TrackingLine(connection.client, prefixes=(PREFIX,), monotonic=monotonic)
    try:
        yield line
    finally:
        line.close()


async def read(line: TrackingLine, count: int) -> list[Names | None]:
    """What was named, once that is so much."""
    named: list[Names | None] = []
    async with asyncio.timeout(60):
        while len(named) < count:
            named += line.read()
            await asyncio.sleep(0.001)
    return named


def write_many(redis: RedisServer) -> list[Names | None]:
    """Many customers, each in a turn of Redis' loop of its own; what is to be named of them."""
    with closing(Redis(port=redis.port)) as client:
        for number in range(MANY):
            client.set(f"production:c_{number:036}", "{}")
    return [[b"production:c_%036d" % number] for number in range(MANY)]


async def test_each_turn_of_redis_is_named_by_itself(redis: RedisServer, connection: RedisConnection) -> None:
    with a_line(connection) as line:
        nothing = line.read()
        redis.command("MSET", "production:c_b", "{}", "production:c_a#timestamp", "1", "production:c_a", "{}")
        redis.command("SET", "elsewhere:c_a", "{}")
        redis.command("DEL", "production:c_a")
        redis.command("FLUSHALL")

        assert [] == nothing
        turns = [
            [b"production:c_a", b"production:c_a#timestamp", b"production:c_b"],
            [b"production:c_a"],
            None,
        ]
        assert turns == await read(line, 3)


async def test_what_is_written_after_a_flush_in_one_transaction_is_named_after_it(
    redis: RedisServer, connection: RedisConnection
) -> None:
    """Of what was written before it, too: that was one turn of Redis' loop, and a look is none too many."""
    with a_line(connection) as line, closing(Redis(port=redis.port)) as client:
        turn = client.pipeline()
        turn.set("production:c_a", "{}")
        turn.flushall()
        turn.set("production:c_b", "{}")
        turn.execute()

        assert [None, [b"production:c_a", b"production:c_b"]] == await read(line, 2)


async def test_names_between_answers_are_names(redis: RedisServer, connection: RedisConnection) -> None:
    clock = ShiftedClock()
    with a_line(connection, monotonic=clock.monotonic) as line:
        for name in ("production:c_a", "production:c_b"):
            clock.shift_seconds += 1.1
            line.ping()
            redis.command("SET", name, "{}")

        assert [[b"production:c_a"], [b"production:c_b"]] == await read(line, 2)


async def test_names_that_arrive_in_pieces_are_whole(redis: RedisServer) -> None:
    """Nor does it matter how the answer arrives that says that there will be some."""
    async with TcpProxy(redis.port) as proxy:
        proxy.slice(7, 0)
        with stopping(a_connection(f"redis://127.0.0.1:{proxy.port}/0")) as connection:
            line = await asyncio.to_thread(
                lambda: TrackingLine(connection.client, prefixes=(PREFIX,), monotonic=time.monotonic)
            )
            redis.command("MSET", "production:c_a", "{}", "production:c_b:f_m", "{}")

            assert [[b"production:c_a", b"production:c_b:f_m"]] == await read(line, 1)
            line.close()


async def test_more_than_is_received_at_a_time_is_read_on(
    redis: RedisServer, connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left is known: nothing waits for the next change to be read."""
    monkeypatch.setattr(tracking_line, "RECEIVED_BYTES", 1024)
    with a_line(connection) as line:
        expected = await asyncio.to_thread(write_many, redis)

        named = list(line.read())
        was_behind = line.is_behind
        while line.is_behind:
            named += line.read()

        assert was_behind
        assert expected == named


async def test_tls_hides_nothing_from_who_waits_for_the_socket(redis: RedisServer, tmp_path: Path) -> None:
    """What TLS has taken from the socket already is read, though the socket has no more."""
    with TlsFront(redis.port, tmp_path) as front:
        address = RedisAddress(
            host="127.0.0.1", port=front.port, tls=True, tls_ca_file=str(front.certificate_file)
        )
        with stopping(connection_to(address)) as connection, a_line(connection) as line:
            nothing = line.read()
            expected = await asyncio.to_thread(write_many, redis)

            assert isinstance(line.socket, ssl.SSLSocket)
            assert [] == nothing
            assert expected == await read(line, MANY)


async def test_a_line_that_ends_is_lost(own_redis: RedisServer) -> None:
    with stopping(a_connection(own_redis.url)) as connection, a_line(connection) as line:
        own_redis.stop()

        with pytest.raises((RedisConnectionError, ConnectionError)):
            await read(line, 1)


async def test_who_reads_too_slowly_is_cut_off_and_knows_it(own_redis: RedisServer) -> None:
    """Redis ends a line of which it would have to keep too much, and what it kept is lost."""
    own_redis.command("CONFIG", "SET", "client-output-buffer-limit", "normal 65536 0 0")
    with (
        stopping(a_connection(own_redis.url)) as connection,
        a_line(connection) as line,
        closing(Redis(port=own_redis.port)) as writer,
    ):
        while any("t" in each["flags"] for each in own_redis.command("CLIENT LIST")):  # it tracks
            for number in range(20):  # what it keeps beside the limit, the system's buffers hold
                writer.set(f"production:c_{number}{'x' * 10_000}", "{}")

        with pytest.raises((RedisConnectionError, ConnectionError)):
            await read(line, 1_000_000)


async def test_an_answer_that_something_is_wrong_ends_it(own_redis: RedisServer) -> None:
    clock = ShiftedClock()
    with (
        stopping(a_connection(own_redis.url)) as connection,
        a_line(connection, monotonic=clock.monotonic) as line,
    ):
        own_redis.command("ACL", "SETUSER", "default", "-ping")
        clock.shift_seconds += 2
        line.ping()

        with pytest.raises(NoPermissionError):
            await read(line, 1)


async def test_what_is_no_frame_ends_it(redis: RedisServer, connection: RedisConnection) -> None:
    """Where bytes were lost nobody guesses where the next name begins."""
    with a_line(connection) as line:
        line._reader.feed(b"HTTP/1.1 400 Bad Request")

        with pytest.raises(RedisError):
            line.read()


async def test_a_refusal_is_told_at_once(own_redis: RedisServer) -> None:
    own_redis.command("ACL", "SETUSER", "default", "-client|tracking")

    with (
        stopping(a_connection(own_redis.url)) as connection,
        pytest.raises(ResponseError),
        a_line(connection),
    ):
        pass


async def test_a_line_that_is_silent_is_lost(own_redis: RedisServer) -> None:
    """It was asked for a sign of life, and gave none."""
    clock = ShiftedClock()
    with (
        stopping(a_connection(own_redis.url)) as connection,
        a_line(connection, monotonic=clock.monotonic) as line,
    ):
        own_redis.pause()
        for _ in range(3):
            clock.shift_seconds += 1.1
            line.ping()
        clock.shift_seconds += 1.1

        with pytest.raises(TimeoutError):
            line.ping()
        own_redis.resume()
