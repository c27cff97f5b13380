"""Both HTTP ports and the commands' socket under fire, while another client's calls go on."""

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from emulator.server import Emulator
from entitlements.control_socket import SOCKET_NAME
from tests.chaos.bystander import watched
from tests.chaos.hostile import SCALE, SEED, mutated
from tests.cloud_states import boolean_state
from tests.harness import running_sidecar

pytestmark = pytest.mark.timeout(120 + 60 * SCALE)
PATHS = (
    *("/%00", "/%ff%fe", "/..%2f..%2fetc/passwd", "//evil.example/", "/livez/../admin/", "/\x7f", "/%", "*"),
    *(
        "/readyz?verbose=" + "x" * 5000,
        "/" + "a/" * 3000,
        "/?" + "a=b&" * 5000,
        "http://[::1/",
        "/admin/%0d%0aX: y",
    ),
)
REQUESTS = (
    *(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1") for path in PATHS),
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nx",
    b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\nx",
    b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nZZ\r\nx",
    b"GET /livez HTTP/1.1\r\nHost: " + b"x" * 100_000 + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(5000)) + b"\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nCookie: " + b"a=b; " * 10_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01" + b"x" * 500,
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ",
)
CHECK = b"POST /stigg.sidecar.v1.SidecarService/GetBooleanEntitlement HTTP/1.1\r\nHost: x\r\n"
API_REQUESTS = (
    CHECK + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    CHECK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    CHECK + b"Content-Type: application/proto\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff",
    CHECK + b"Content-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    CHECK
    + b"Content-Type: application/json\r\nConnect-Timeout-Ms: 99999999999999\r\nContent-Length: 2\r\n\r\n{}",
    CHECK + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /ofrep/v1/evaluate/flags/f HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n"
    + b"[" * 100_000,
    b"POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nHost: x\r\nContent-Length: 35\r\n\r\n"
    b'{"context": {"targetingKey": "c\xff"}}',
    b"GET /v1/watch?customer=%ff%00 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: \xff\r\n\r\n",
    b"GET /v1/watch?" + b"customer=c&" * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
)
LINES = (
    b"[" * 100_000 + b"\n",
    b'{"act":"get","customer_id":5}\n',
    b'{"act":"get","customer_id":"a","resource_id":[]}\n',
    b'{"act":["get"]}\n',
    b'{"act":"evict","customer_id":"\\ud800"}\n',
    b'{"act":"import"}\n{"customer_id":"a","state":[]}\n',
    b'{"act":"import"}\n{"customer_id":5,"state":{}}\n',
    b'{"act":"import"}\n{"customer_id":"a","state":' + b'{"a":' * 100_000 + b"\n",
    b'{"act":"stats"' + b" " * 1_000_000,
    b'{"act":"export"}\n',
)


async def _sent(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], data: bytes) -> bytes:
    reader, writer = connection
    answer = b""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(0.5):
            writer.write(data)
            await writer.drain()
            answer = await reader.read(100_000)
    writer.transport.abort()
    return answer


async def test_hostile_http_and_commands_harm_nobody_else(emulator: Emulator, tmp_path: Path) -> None:
    """Bad paths, huge headers, lengths that lie, slow ones; and questions that are none."""
    emulator.state.put("bystander", boolean_state())
    random = Random(SEED)
    requests = [*REQUESTS, *(mutated(random, random.choice(REQUESTS)[:3000]) for _ in range(30 * SCALE))]
    api_requests = [
        *(REQUESTS + API_REQUESTS),
        *(mutated(random, random.choice(API_REQUESTS)[:3000]) for _ in range(30 * SCALE)),
    ]
    lines = [*LINES, *(mutated(random, random.choice(LINES)[:3000]) + b"\n" for _ in range(20 * SCALE))]
    async with running_sidecar(
        emulator, tmp_path, LOG_LEVEL="warn", SIDECAR_OUTBOX="off", SIDECAR_HTTP_PORT="0"
    ) as sidecar:
        slow = [await asyncio.open_connection("127.0.0.1", sidecar.http_port) for _ in range(50)]
        async with watched(sidecar):
            for request in requests:
                answer = await _sent(await asyncio.open_connection("127.0.0.1", sidecar.http_port), request)
                assert b"Traceback" not in answer
                assert not answer.startswith(b"HTTP/1.1 500"), request[:300]
            for line in lines:
                await _sent(await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME)), line)
            for request in api_requests:
                answer = await _sent(await asyncio.open_connection("127.0.0.1", sidecar.api_port), request)
                assert not answer.startswith(b"HTTP/1.1 500"), request[:300]
        for _, writer in slow:
            writer.transport.abort()
        assert (await sidecar.get("/readyz")).is_success
        assert "Unhandled exception" not in sidecar.output
