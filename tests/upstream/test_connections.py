"""Connections that are kept, and that the cloud closes."""

import asyncio
import ssl

import httpx
import pytest
import trustme

from entitlements.upstream.connections import quicken

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Cloud:
    """Answers every request, and can close what is idle."""

    def __init__(self) -> None:
        self.connections: list[Connection] = []

    def connection(self) -> "Connection":
        """A new one."""
        self.connections.append(Connection())
        return self.connections[-1]

    def close_idle(self) -> None:
        """Closes every connection at once; over TLS too, without a word."""
        for each in self.connections:
            each.transport.abort()


class Connection(asyncio.Protocol):
    """Answers each request, which comes whole."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert data.endswith(b"\r\n\r\n")
        self.transport.write(ANSWER)


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
async def test_an_idle_connection_serves_again_until_the_cloud_closes_it(*, is_tls: bool) -> None:
    """No request is lost on a connection that was closed meanwhile."""
    authority = trustme.CA()
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)
    cloud = Cloud()
    server = await asyncio.get_running_loop().create_server(
        cloud.connection, "localhost", ssl=serving if is_tls else None
    )
    port = server.sockets[0].getsockname()[1]
    url = f"{'https' if is_tls else 'http'}://localhost:{port}/"

    async with server, quicken(httpx.AsyncClient(verify=trusting, trust_env=False)) as client:
        answers = [(await client.get(url)).content for _ in range(3)]
        opened_before = len(cloud.connections)
        cloud.close_idle()
        await asyncio.sleep(0)  # the transports close in the loop's next turn
        answers.append((await client.get(url)).content)

    assert ([b"ok"] * 4, 1, 2) == (answers, opened_before, len(cloud.connections))


async def test_a_client_of_ours_asks_its_sockets_itself() -> None:
    """What is rested on, httpx' private names, is there."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async with server, quicken(httpx.AsyncClient(trust_env=False)) as client:
        response = await client.get(url)

    assert quicken.__module__ == type(response.extensions["network_stream"]).__module__
