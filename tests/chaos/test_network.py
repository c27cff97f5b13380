"""Packets that are dropped between two networks."""

import asyncio
import os
import sys

import pytest

from tests.chaos.network import a_namespace
from tests.chaos.records import now

SEND = """
import socket, sys
line = socket.create_connection(sys.argv[1:3])
for _ in range(10):
    line.sendall(b"x")
    line.recv(1)
"""


@pytest.mark.timeout(120)
async def test_dropped_packets_are_sent_again() -> None:
    """A talk over a line that loses packets arrives whole, and takes longer."""
    with a_namespace() as space:
        if isinstance(space, str):
            pytest.skip(space)
        ended = asyncio.Queue[None]()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while chunk := await reader.read(100):
                writer.write(chunk)
            writer.close()
            await writer.wait_closed()
            ended.put_nowait(None)

        server = await asyncio.start_server(echo, space.host_address, 0)
        port = server.sockets[0].getsockname()[1]

        async def talk() -> float:
            began = now()
            command = (*space.prefix, sys.executable, "-c", SEND, space.host_address, str(port))
            process = await asyncio.create_subprocess_exec(*command)
            assert await asyncio.wait_for(process.wait(), 100) == 0
            took = now() - began
            await ended.get()
            return took

        well = await talk()
        with space.dropping([port]):
            badly = await talk()
        server.close()

    assert badly > well + 0.15
    assert space.name not in os.listdir("/run/netns")
