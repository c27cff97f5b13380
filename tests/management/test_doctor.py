"""`doctor` names the fault of each broken set-up, and finds none in a good one."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from emulator.server import Emulator
from entitlements.config import load
from entitlements.management.diagnosis.machine import examine_files
from tests.fakes import FakeClock
from tests.harness import environment_for, running_sidecar
from tests.management.command_runs import run
from tests.redis_server import RedisServer, TlsFront, free_port
from tests.upstream.clouds import a_proxy

_Faults = set[tuple[str, str]]


async def _faults(environment: dict[str, str]) -> _Faults:
    """Part and fix of each fault; the exit code says whether there are any."""
    ended = await run(environment, "doctor", "--json")
    assert "Traceback" not in ended.output
    found = {(each["part"], each["mend"]) for each in ended.as_json if each["verdict"] == "fault"}
    assert ended.code == (1 if found else 0), ended.output
    assert all(fix for _, fix in found)
    return found


async def _warned(environment: dict[str, str]) -> set[str]:
    ended = await run(environment, "doctor", "--json")
    return {each["part"] for each in ended.as_json if each["verdict"] == "warning"}


def _parts(faults: _Faults) -> set[str]:
    return {part for part, _ in faults}


async def test_a_good_setup_has_no_fault(emulator: Emulator, tmp_path: Path) -> None:
    """Every part is examined and well, Redis included."""
    with RedisServer() as redis:
        environment = environment_for(
            emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="production", REDIS_PORT=str(redis.port)
        )
        ended = await run(environment, "doctor", "--json")

    assert ended.code == 0, ended.output
    well = {each["part"] for each in ended.as_json if each["verdict"] == "ok"}
    assert well >= {
        "settings", "data folder", "file permissions", "DNS", "connection", "clock", "API", "Edge", "feed",
        "Redis", "Redis writes", "Redis prefix",
    }  # fmt: skip


async def test_settings(emulator: Emulator, tmp_path: Path) -> None:
    """1: variables that cannot be used, each reported."""
    environment = environment_for(emulator, tmp_path, GRPC_PORT="many", LOG_LEVEL="loud")
    ended = await run(environment, "doctor", "--json")

    assert ended.code == 1
    assert ["GRPC_PORT", "LOG_LEVEL"] == sorted(
        each["told"].split(" ")[0] for each in ended.as_json if each["verdict"] == "fault"
    )


async def test_key(emulator: Emulator, tmp_path: Path) -> None:
    """2: a key that the cloud refuses; it is not shown."""
    environment = environment_for(emulator, tmp_path, SERVER_API_KEY="wrong-key")

    ended = await run(environment, "doctor")

    assert ended.code == 1
    assert "the API refuses SERVER_API_KEY" in ended.output
    assert "the Edge refuses SERVER_API_KEY" in ended.output
    assert "wrong-key" not in ended.output


async def test_api(emulator: Emulator, tmp_path: Path) -> None:
    """3: an API that answers nonsense."""
    emulator.faults.set("graphql", "garbage")

    assert _parts(await _faults(environment_for(emulator, tmp_path))) == {"API"}


async def test_edge(emulator: Emulator, tmp_path: Path) -> None:
    """4: an Edge that is out of order."""
    emulator.faults.set("edge", "status", status=500)

    assert _parts(await _faults(environment_for(emulator, tmp_path))) == {"Edge"}


async def test_feed(emulator: Emulator, tmp_path: Path) -> None:
    """5: upgrades that are refused."""
    emulator.faults.set("ws", "status", status=403)

    assert _parts(await _faults(environment_for(emulator, tmp_path))) <= {"feed", "key"}
    emulator.faults.set("ws", "status", status=502)
    assert _parts(await _faults(environment_for(emulator, tmp_path))) == {"feed"}


async def test_connection(emulator: Emulator, tmp_path: Path) -> None:
    """6: a port where nobody listens."""
    environment = environment_for(emulator, tmp_path, EDGE_API_URL=f"http://127.0.0.1:{free_port()}")

    ((part, fix),) = await _faults(environment)

    assert part == "connection"
    assert "EDGE_API_URL" in fix


async def test_dns(emulator: Emulator, tmp_path: Path) -> None:
    """7: a name that does not exist."""
    environment = environment_for(emulator, tmp_path, EDGE_API_URL="http://edge.invalid")

    assert _parts(await _faults(environment)) == {"DNS"}


async def test_tls(emulator: Emulator, tmp_path: Path) -> None:
    """8: a certificate that nobody trusts, and a server that speaks no TLS."""
    with TlsFront(free_port(), tmp_path) as front:
        environment = environment_for(emulator, tmp_path, EDGE_API_URL=f"https://127.0.0.1:{front.port}")
        assert _parts(await _faults(environment)) == {"TLS"}

    environment = environment_for(emulator, tmp_path, EDGE_API_URL=emulator.edge_url.replace("http", "https"))
    assert _parts(await _faults(environment)) == {"TLS"}


async def test_behind_a_proxy(emulator: Emulator, tmp_path: Path) -> None:
    """Names that the proxy alone knows are no fault; a proxy that is away is one, and not the cloud's."""
    known = emulator.url.removeprefix("http://")
    names = {
        "API_URL": emulator.url.replace(known, "cloud.test"),
        "EDGE_API_URL": emulator.edge_url.replace(known, "cloud.test"),
        "WS_URL": emulator.ws_url.replace(known, "cloud.test"),
    }
    async with a_proxy(int(known.rpartition(":")[2])) as (port, heads):
        proxy = {"HTTP_PROXY": f"http://127.0.0.1:{port}"}
        assert await _faults(environment_for(emulator, tmp_path, **names, **proxy)) == set()
    assert {b"GET http", b"POST htt", b"CONNECT "} == {head[:8] for head in heads}

    away = {"ALL_PROXY": f"http://127.0.0.1:{free_port()}"}
    faults = await _faults(environment_for(emulator, tmp_path, **names, **away))
    assert _parts(faults) == {"connection"}
    assert all("the proxy for" in fix for _, fix in faults)


@asynccontextmanager
async def _api_of_yesteryear() -> AsyncIterator[str]:
    """An API whose clock, seen from here, is far behind."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        body = b'{"data": {"sdkConfiguration": {"isWidgetWatermarkEnabled": true}}}'
        head = "HTTP/1.1 200 OK\r\nDate: Tue, 01 Jan 2019 00:00:00 GMT\r\nContent-Type: application/json\r\n"
        writer.write(head.encode() + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_clock(emulator: Emulator, tmp_path: Path) -> None:
    """9: a clock that is years ahead of the cloud's."""
    async with _api_of_yesteryear() as url:
        environment = environment_for(emulator, tmp_path, API_URL=url)

        assert _parts(await _faults(environment)) == {"clock"}


async def test_ports(emulator: Emulator, tmp_path: Path) -> None:
    """10: a port that another program has taken; one that a sidecar has is well."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = environment_for(emulator, tmp_path, GRPC_PORT=str(taken.getsockname()[1]))
        assert _parts(await _faults(environment)) == {"port GRPC_PORT"}

    async with running_sidecar(emulator, tmp_path) as sidecar:
        ports = {"GRPC_PORT": str(sidecar.grpc_port), "METRICS_PORT": str(sidecar.http_port)}
        assert await _faults(environment_for(emulator, tmp_path, **ports)) == set()


async def test_equal_ports(emulator: Emulator, tmp_path: Path) -> None:
    """One port cannot be two listeners."""
    port = str(free_port())
    environment = environment_for(emulator, tmp_path, GRPC_PORT=port, METRICS_PORT=port)

    assert _parts(await _faults(environment)) == {"ports"}


async def test_file_permissions(emulator: Emulator, tmp_path: Path) -> None:
    """11: a secret that others can read, and a folder that everybody can write to."""
    secret = tmp_path / "secret-key"
    secret.write_text("made-up")
    secret.chmod(0o644)
    assert _parts(await _faults(environment_for(emulator, tmp_path))) == {"file permissions"}

    secret.chmod(0o600)
    os.chmod(tmp_path, 0o777)  # noqa: S103 - what is to be found
    assert _parts(await _faults(environment_for(emulator, tmp_path))) == {"data folder"}


async def test_outbox_file(tmp_path: Path) -> None:
    """A damaged file that was set aside, and one that cannot be opened."""
    config = load({"SERVER_API_KEY": "made-up"}).config

    def reported() -> list[tuple[str, str]]:
        findings = examine_files(config, tmp_path, clock=FakeClock())
        return [(each.part, each.verdict.value) for each in findings if each.part == "outbox"]

    assert [] == reported()
    file = tmp_path / "outbox.sqlite3"
    file.touch()
    (tmp_path / "outbox.sqlite3.damaged-1").touch()
    (tmp_path / "outbox.sqlite3.damaged-1-wal").touch()
    assert [("outbox", "warning"), ("outbox", "ok")] == reported()
    file.unlink()
    file.mkdir()
    assert [("outbox", "warning"), ("outbox", "fault")] == reported()


async def test_data_folder(emulator: Emulator, tmp_path: Path) -> None:
    """12: a folder that cannot be made."""
    (tmp_path / "file").write_text("")

    assert _parts(await _faults(environment_for(emulator, tmp_path / "file" / "data"))) == {"data folder"}


async def test_redis_away(emulator: Emulator, tmp_path: Path) -> None:
    """13: nobody listens where Redis should."""
    environment = environment_for(
        emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="p", REDIS_PORT=str(free_port()), REDIS_HOST="127.0.0.1"
    )

    assert _parts(await _faults(environment)) == {"Redis"}


async def test_redis_password(emulator: Emulator, tmp_path: Path) -> None:
    """14: a password that Redis does not take."""
    with RedisServer(password="right") as redis:
        environment = environment_for(
            emulator,
            tmp_path,
            REDIS_ENVIRONMENT_PREFIX="p",
            REDIS_PORT=str(redis.port),
            REDIS_PASSWORD="wrong",
        )
        ((part, fix),) = await _faults(environment)

    assert part == "Redis"
    assert "REDIS_PASSWORD" in fix


@pytest.mark.parametrize(
    "words",
    [
        ("SET", "p:sessions", "1"),
        ("SET", "p:c_customer-1", "[]"),
        ("LPUSH", "p:c_customer-1", "1"),
        ("SET", "p:c_customer-1", b"\x80\x04\x95"),
    ],
)
async def test_redis_foreign_data(emulator: Emulator, tmp_path: Path, words: tuple[str | bytes, ...]) -> None:
    """15: keys or values of another program under our prefix."""
    with RedisServer() as redis:
        redis.command(*words)
        redis.command("SET", "other:sessions", "1")
        environment = environment_for(
            emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="p", REDIS_PORT=str(redis.port)
        )

        assert _parts(await _faults(environment)) == {"Redis prefix"}


@pytest.mark.parametrize(
    ("entitlement", "parts"),
    [
        ('{"feature": {"id": "f"}, "featureUsage": {"currentUsage": 1}}', {"Redis form"}),
        ('{"featureUsage": null}', {"Redis form"}),
        ('{"calculatedEntitlement": {"type": "FEATURE"}, "usageData": {"currentUsage": 1}}', set()),
    ],
)
async def test_redis_in_the_older_form(
    emulator: Emulator, tmp_path: Path, entitlement: str, parts: set[str]
) -> None:
    """Its writers misread what we write (contract/redis.md, Official services in the same Redis)."""
    with RedisServer() as redis:
        redis.command("SET", "p:c_customer-1", f'{{"f": {entitlement}}}')
        environment = environment_for(
            emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="p", REDIS_PORT=str(redis.port)
        )

        assert parts == await _warned(environment) & {"Redis form"}


async def test_redis_without_writes(emulator: Emulator, tmp_path: Path) -> None:
    """16: a Redis that has no memory left."""
    with RedisServer("--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as redis:
        redis.command("CONFIG", "SET", "maxmemory", "1")
        environment = environment_for(
            emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="p", REDIS_PORT=str(redis.port)
        )

        assert _parts(await _faults(environment)) == {"Redis writes"}


async def test_offline_file(tmp_path: Path) -> None:
    """17: an offline file with faults, each reported; the cloud is not asked."""
    path = tmp_path / "offline.json"
    path.write_text(json.dumps({"customers": {"a": {}, "b": {}}}))
    environment = environment_for(None, tmp_path, OFFLINE="1", SIDECAR_OFFLINE_FILE=str(path))

    ended = await run(environment, "doctor", "--json")

    faults = [each["told"] for each in ended.as_json if each["verdict"] == "fault"]
    assert ended.code == 1
    assert len(faults) == 2
    assert all("entitlementsV2" in reported for reported in faults)
