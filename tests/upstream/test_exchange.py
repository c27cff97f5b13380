"""One exchange: bounded in time and size, and its failure is a domain error."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from entitlements import metrics
from entitlements.domain.errors import (
    Busy,
    Garbled,
    KeyRefused,
    Rejected,
    TooLarge,
    Unreachable,
    UpstreamError,
)
from entitlements.upstream import exchange
from entitlements.upstream.exchange import MAX_URL_CHARACTERS, Exchange, retrying
from entitlements.upstream.json_values import JsonObject
from entitlements.upstream.transport import CloudTransport
from tests.fakes import FakeClock
from tests.upstream.parts import a_share, a_transport

TRICKLE = b"1\r\nx\r\n"

Ask = Callable[..., Awaitable[JsonObject]]


@pytest.fixture
async def http() -> AsyncIterator[CloudTransport]:
    async with a_transport() as http:
        yield http


@pytest.fixture
async def ask(http: CloudTransport) -> AsyncIterator[Ask]:
    """Asks a server that sends these bytes and closes."""
    async with AsyncExitStack() as stack:

        async def ask(body: bytes, *, timeout_seconds: float = 2) -> JsonObject:
            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(body)
                await writer.drain()
                if body.endswith(TRICKLE):
                    await reader.read()  # until the client leaves
                writer.close()

            server = await stack.enter_async_context(await asyncio.start_server(answer, "127.0.0.1", 0))
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            asked = Exchange(http, transport="edge", clock=FakeClock(), share=a_share())
            return await asked.data("GET", url, timeout_seconds=timeout_seconds)

        yield ask


def an_answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


async def test_data_is_returned(ask: Ask) -> None:
    found = await ask(an_answer(b'{"data": {"a": 1}}'))

    assert {"a": 1} == found


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        (an_answer(b""), Garbled, "sent an answer that is not JSON"),
        (an_answer(b"\xff\xfe\x00"), Garbled, "sent an answer that is not JSON"),
        (an_answer(b"[" * 100_000), Garbled, "sent an answer that is not JSON"),
        (an_answer(b"[]"), Garbled, "sent an unusable answer"),
        (an_answer(b"{}"), Garbled, "answered with status 200 and no data"),
        (an_answer(b'{"data": []}'), Garbled, "and no data"),
        (an_answer(b"{}", status="404 Not Found"), Rejected, "status 404"),
        (
            an_answer(b"{}", status="302 Found", headers="Location: http://127.0.0.1:1/\r\n"),
            Garbled,
            "answered with status 302",
        ),
        (an_answer(b'{"data": {}}')[:-3], Unreachable, "could not be reached"),
        (b"no http at all\r\n\r\n", Unreachable, "could not be reached"),
        (b"", Unreachable, "could not be reached"),
        (
            an_answer(b"junk", headers="Content-Encoding: gzip\r\n"),
            Garbled,
            "sent an unusable answer",
        ),
    ],
)
async def test_what_is_no_answer_is_an_error(
    ask: Ask, answer: bytes, error: type[UpstreamError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        await ask(answer)


async def test_an_id_that_no_server_takes_is_rejected_without_being_sent(http: CloudTransport) -> None:
    """Five reads with ids of 70 kB opened the Edge's circuit for everybody: they counted as its failures."""
    exchange = Exchange(http, transport="edge", clock=FakeClock(), share=a_share())

    with pytest.raises(Rejected, match="an id is too long to be asked for"):
        await exchange.data("GET", f"http://127.0.0.1:1/{'x' * MAX_URL_CHARACTERS}", timeout_seconds=5)


async def test_an_answer_without_end_is_given_up(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "MAX_BODY_BYTES", 1000)

    with pytest.raises(Garbled, match="more than 1000 bytes"):
        await ask(an_answer(b"x" * 1001))


async def test_who_waits_for_anothers_large_answer_says_nothing_of_the_cloud(
    ask: Ask, http: CloudTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One large answer that never ends fails its own request, and opens no circuit for the others."""
    monkeypatch.setattr(exchange, "LARGE_BODY_BYTES", 1000)
    endless = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + b"x" * 2000 + b"\r\n" + TRICKLE
    )
    whole = an_answer(b'{"data": {"a": "' + b"x" * 2000 + b'"}}')
    first = asyncio.ensure_future(ask(endless, timeout_seconds=3))
    while not http.large.locked():  # noqa: ASYNC110 - a semaphore announces no events
        await asyncio.sleep(0.01)

    others = await asyncio.gather(*(ask(whole, timeout_seconds=1) for _ in range(3)), return_exceptions=True)

    assert [Busy] * 3 == [type(other) for other in others]
    with pytest.raises(Unreachable) as failed:
        await first
    assert not isinstance(failed.value, Busy)
    assert "a" in await ask(whole)


async def test_a_slow_trickle_does_not_outlast_the_time(
    ask: Ask,
) -> None:
    """The time is for all of the answer, not from byte to byte."""
    loop = asyncio.get_running_loop()
    started = loop.time()

    with pytest.raises(UpstreamError):
        await ask(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + TRICKLE, timeout_seconds=0.3)

    assert loop.time() - started < 5  # a busy machine's; without the time it would never end


async def test_each_request_is_counted_with_its_outcome(ask: Ask) -> None:
    def counted(outcome: str) -> float:
        return float(metrics.UPSTREAM_REQUESTS.labels("edge", outcome)._value.get())

    before = counted("ok"), counted("garbled")
    await ask(an_answer(b'{"data": {}}'))
    with pytest.raises(Garbled):
        await ask(an_answer(b"x"))

    assert before[0] + 1 == counted("ok")
    assert before[1] + 1 == counted("garbled")


async def test_attempts_are_bounded_in_number() -> None:
    tries = 0

    async def attempt(_seconds: float) -> None:
        nonlocal tries
        tries += 1
        raise Unreachable("api")

    with pytest.raises(Unreachable):
        await retrying(attempt, transport="api", budget_seconds=5, attempts=3, attempt_timeout_seconds=1)

    assert tries == 3


@pytest.mark.parametrize("error", [Busy("api"), TooLarge("api"), Rejected("api"), KeyRefused("api")])
async def test_what_another_attempt_cannot_fix_is_not_tried_again(error: UpstreamError) -> None:
    """A bound of our own that is full would be filled the longer; what is too large stays so."""
    tries = 0

    async def attempt(_seconds: float) -> None:
        nonlocal tries
        tries += 1
        raise error

    with pytest.raises(type(error)):
        await retrying(attempt, transport="api", budget_seconds=5, attempts=3, attempt_timeout_seconds=1)

    assert tries == 1


async def test_an_attempt_gets_no_more_than_what_is_left() -> None:
    given: list[float] = []

    async def attempt(seconds: float) -> str:
        given.append(seconds)
        return "done"

    assert "done" == await retrying(
        attempt, transport="api", budget_seconds=2, attempts=3, attempt_timeout_seconds=9
    )
    assert given[0] <= 2


async def test_a_caller_that_gives_up_ends_the_attempt() -> None:
    ended = asyncio.Event()

    async def attempt(_seconds: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(
        retrying(attempt, transport="api", budget_seconds=9, attempts=3, attempt_timeout_seconds=9)
    )
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()
