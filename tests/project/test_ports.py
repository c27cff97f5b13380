"""What an address serves: every listener the same, `localhost` and everybody's address both families."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import MakeEngine
from grpc_service.server import GrpcServer, PortUnavailable, ServerLimits
from sidecar_project.ports import listen, port_of, reserve
from tests.harness import ROOT, check, client_at, environment_for, http_client, running_sidecar, spawned
from tests.redis_server import RedisServer

BOTH = ("127.0.0.1", "::1")
HOSTS = [
    ("localhost", list(BOTH)),
    ("::", list(BOTH)),
    ("::1", ["::1"]),
    ("127.0.0.1", ["127.0.0.1"]),
    ("0.0.0.0", list(BOTH)),  # noqa: S104 - what it serves is the question
]
LIMITS = ServerLimits(max_message_bytes=1000, max_concurrent_calls=1)

needs_ipv6 = pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")


def reached(port: int) -> list[str]:
    """By which of a machine's own addresses a port is reached."""
    found = []
    for address in BOTH:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as client:
            if client.connect_ex((address, port)) == 0:
                found.append(address)
    return found


@contextmanager
def closed_afterwards(sockets: Any) -> Iterator[int]:
    try:
        yield port_of(sockets)
    finally:
        for each in sockets:
            each.close()


class NoMethods:
    """A servicer of nothing: what listens is the question."""

    def methods(self) -> list[Any]:
        return []


@needs_ipv6
@pytest.mark.parametrize(("host", "addresses"), HOSTS)
def test_http_serves_the_addresses_of_a_host(host: str, addresses: list[str]) -> None:
    with closed_afterwards(listen(host, 0)) as port:
        assert addresses == reached(port)


@needs_ipv6
@pytest.mark.parametrize("make", [AioEngine, CompletionQueueEngine])
@pytest.mark.parametrize(("host", "addresses"), HOSTS)
async def test_grpc_serves_the_same(host: str, addresses: list[str], make: MakeEngine) -> None:
    server = GrpcServer(cast("Any", NoMethods()), limits=LIMITS, make_engine=make)
    port = server.listen(host, 0)
    await server.start()
    try:
        assert addresses == reached(port)
    finally:
        await server.stop(grace_seconds=0)


@needs_ipv6
@pytest.mark.parametrize("host", ["::", "0.0.0.0", "localhost"])  # noqa: S104 - as above
def test_a_port_that_workers_share_is_kept_for_both_families(host: str) -> None:
    """Else another program could take it for one of them, and half of the callers."""
    with closed_afterwards(reserve(host, 0)) as port:
        for address in BOTH:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family) as other, pytest.raises(OSError, match="in use"):
                other.bind((address, port))


@needs_ipv6
@pytest.mark.parametrize("opens", [listen, reserve])
def test_a_port_taken_for_one_family_is_taken(opens: Any) -> None:
    """And the other is let go of."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        before = _sockets()
        with pytest.raises(PortUnavailable, match=f"cannot listen on localhost port {port}"):
            opens("localhost", port)

        assert before == _sockets()


def _sockets() -> set[str]:
    """All that this process has open; another one may take the same number meanwhile."""
    descriptors = Path("/proc/self/fd")
    names = {os.readlink(each) for each in descriptors.iterdir() if each.is_symlink()}
    return {name for name in names if name.startswith("socket:")}


def test_a_name_that_nobody_knows_is_reported() -> None:
    with pytest.raises(PortUnavailable, match=r"cannot listen on nowhere\.invalid port 0"):
        listen("nowhere.invalid", 0)


@needs_ipv6
@pytest.mark.parametrize("host", ["localhost", "::"])
async def test_a_sidecar_answers_at_every_address(host: str, tmp_path: Path) -> None:
    """Health, HTTP for applications and gRPC."""
    variables = {"OFFLINE": "1", "SIDECAR_HTTP_PORT": "0", "SIDECAR_LISTEN_HOST": host}
    async with running_sidecar(None, tmp_path, **variables) as sidecar:
        for address in ("127.0.0.1", "[::1]"):
            async with http_client() as http:
                live = await http.get(f"http://{address}:{sidecar.http_port}/livez")
                api = await http.get(f"http://{address}:{sidecar.api_port}/nothing")
            async with client_at(f"{address}:{sidecar.grpc_port}") as client:
                answer = await check(client, "customer")

            assert 200 == live.status_code
            assert 404 == api.status_code
            assert answer.is_fallback
        assert 0 == await sidecar.stop(), sidecar.output


@needs_ipv6
async def test_workers_answer_at_every_address(tmp_path: Path) -> None:
    """Each takes the listeners of its parent, and shares the ports of gRPC."""
    with RedisServer() as redis:
        variables = {"REDIS_ENVIRONMENT_PREFIX": "p", "REDIS_PORT": str(redis.port), "OFFLINE": "1"}
        environment = environment_for(None, tmp_path, SIDECAR_LISTEN_HOST="localhost", **variables)
        async with spawned(environment, "--workers=2") as sidecar:
            await sidecar.started()

            assert list(BOTH) == reached(sidecar.http_port)
            assert list(BOTH) == reached(sidecar.grpc_port)


WITHOUT_IPV6 = ("unshare", "-rn", "sh", "-c")
_SWITCH_OFF = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
_LISTENS = """
import sys
from sidecar_project.ports import listen, reserve
print(*(each.getsockname()[0] for each in [*listen(sys.argv[1], 0), *reserve(sys.argv[1], 0)]))
"""


def _without_ipv6(command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs it in a network of its own, which has no IPv6."""
    shell = f'{_SWITCH_OFF} && {command} "$@"'
    return subprocess.run(  # noqa: S603 - the programs above
        [*WITHOUT_IPV6, shell, "sh", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("host", "expected"), [("localhost", "127.0.0.1 127.0.0.1"), ("::", ":: ::")])
def test_a_machine_without_ipv6_serves_what_it_has(host: str, expected: str) -> None:
    """`::` is any address, of IPv4 as well."""
    if _without_ipv6("true").returncode != 0:
        pytest.skip("no network namespace can be made here")

    ended = _without_ipv6(sys.executable, "-c", _LISTENS, host)

    assert expected == ended.stdout.strip(), ended.stderr


def test_a_kernel_without_ipv6_serves_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """`::` could not even be asked for there."""
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)

    with closed_afterwards(listen("::", 0)) as port:
        assert ["127.0.0.1"] == reached(port)


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), pytest.param("::", "::1", marks=needs_ipv6), ("0.0.0.0", "127.0.0.1")],  # noqa: S104
)
async def test_an_answer_waits_for_no_acknowledgement(host: str, address: str) -> None:
    """Its head and its body are two writes: with Nagle's algorithm the second waited 40 ms."""
    listeners = listen(host, 0)
    with closed_afterwards(listeners) as port:
        accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()

        async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer)

        servers = [await asyncio.start_server(served, sock=each) for each in listeners]
        _, client = await asyncio.open_connection(address, port)
        writer = await accepted
        no_delay = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        writer.close()
        for server in servers:
            server.close()

    assert no_delay
