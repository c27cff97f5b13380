"""What keeps our own loop from reading is no slowness of who answered."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from entitlements.upstream.deadline import within


def keep_the_loop_busy(seconds: float) -> None:
    time.sleep(seconds)


@pytest.fixture
async def line() -> AsyncIterator[tuple[socket.socket, asyncio.StreamReader]]:
    """The cloud's end of a connection, and ours."""
    theirs, ours = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)
    yield theirs, reader
    writer.close()
    theirs.close()


async def test_an_answer_that_came_while_the_loop_was_busy_is_read(
    line: tuple[socket.socket, asyncio.StreamReader],
) -> None:
    theirs, reader = line

    async with within(0.05):
        reading = asyncio.ensure_future(reader.readexactly(6))
        await asyncio.sleep(0)
        theirs.send(b"answer")
        keep_the_loop_busy(0.3)
        answer = await reading

    assert b"answer" == answer


async def test_an_answer_in_two_steps_while_the_loop_is_busy_all_the_while(
    line: tuple[socket.socket, asyncio.StreamReader],
) -> None:
    """As a connection is opened first: each step costs a turn."""
    theirs, reader = line
    loop = asyncio.get_running_loop()
    busy = True

    def keep_busy() -> None:
        time.sleep(0.04)
        if busy:
            loop.call_soon(keep_busy)

    loop.call_soon(keep_busy)
    async with within(0.1):
        for _ in range(3):
            theirs.send(b"step")
            await reader.readexactly(4)
    busy = False


async def test_what_does_not_come_is_not_waited_for(
    line: tuple[socket.socket, asyncio.StreamReader],
) -> None:
    """Also beside a loop that is always late: it ends after twice the time."""
    _, reader = line
    loop = asyncio.get_running_loop()
    busy = True

    def keep_busy() -> None:
        time.sleep(0.03)
        if busy:
            loop.call_soon(keep_busy)

    loop.call_soon(keep_busy)
    with pytest.raises(TimeoutError):
        async with within(0.1):
            await reader.readexactly(4)
    busy = False

    with pytest.raises(TimeoutError):
        async with within(0.01):
            await reader.readexactly(4)


async def test_who_is_cancelled_is_cancelled() -> None:
    async def wait() -> None:
        async with within(60):
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
