"""`--workers N` on real processes: the same ports, one count of everything, and whoever dies comes back."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from emulator.server import Emulator
from grpc_service.server import PortUnavailable
from sidecar_project.ports import listen, reserve
from sidecar_project.worker_metrics import KINDS
from sidecar_project.workers import METRICS_FOLDER_NAME, kill_when_silent
from tests.cloud_states import boolean_state
from tests.eventually import eventually
from tests.harness import SidecarProcess, check, client_of, environment_for, is_granted, spawned
from tests.redis_server import RedisServer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@asynccontextmanager
async def workers(
    count: int, emulator: Emulator, redis: RedisServer, folder: Path
) -> AsyncIterator[SidecarProcess]:
    """How many workers, all of which listen."""
    environment = environment_for(
        emulator, folder, REDIS_ENVIRONMENT_PREFIX="production", REDIS_PORT=str(redis.port)
    )
    async with spawned(environment, f"--workers={count}") as sidecar:
        await sidecar.started()
        await eventually(lambda: _listening(sidecar, count))
        yield sidecar


async def _listening(sidecar: SidecarProcess, count: int) -> bool:
    return sidecar.output.count("listening: ") >= count


async def _is_led(sidecar: SidecarProcess) -> bool:
    return await sidecar.metric("sidecar_feed_lease_held") == 1


def _children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def _metric_files(data_dir: Path) -> set[str]:
    return {file.name for file in (data_dir / METRICS_FOLDER_NAME).iterdir()}


async def test_workers_share_the_ports_and_the_counts(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """Connections are spread over the workers; whichever is scraped reports the sum."""
    emulator.state.put("customer-1", boolean_state(), push=False)

    async with workers(2, emulator, redis, tmp_path) as sidecar:
        for _ in range(40):
            async with client_of(sidecar) as client:
                assert await is_granted(client, "customer-1")
        name = 'sidecar_grpc_requests_total{code="OK",method="GetBooleanEntitlement"}'

        async def all_is_settled() -> bool:
            return await sidecar.metric(name) == 40

        await eventually(all_is_settled)
        scraped = {await sidecar.metric(name) for _ in range(8)}
        assert scraped == {40}
        await eventually(partial(_is_led, sidecar))
        assert emulator.counters.fetches() == 1
        assert emulator.feed.connections == 1

        assert await sidecar.stop() == 0


async def test_a_dead_worker_is_started_again(emulator: Emulator, redis: RedisServer, tmp_path: Path) -> None:
    """The other one answers meanwhile, and what was counted stays counted.

    What was noted less than SETTLE_SECONDS before a kill -9 is not counted yet.
    """
    emulator.state.put("customer-1", boolean_state(), push=False)
    calls = 'sidecar_grpc_requests_total{code="OK",method="GetBooleanEntitlement"}'

    async with workers(2, emulator, redis, tmp_path) as sidecar:
        before = _children(sidecar.process.pid)

        async def all_is_settled() -> bool:
            return await sidecar.metric(calls) == 20

        for _ in range(20):
            async with client_of(sidecar) as client:
                assert await is_granted(client, "customer-1")
        await eventually(all_is_settled)
        files = _metric_files(tmp_path)
        os.kill(before[0], signal.SIGKILL)
        await sidecar.printed("a worker ended and is started again")
        await eventually(lambda: _listening(sidecar, 3))
        after = _children(sidecar.process.pid)

        assert len(set(after) - set(before)) == 1
        assert files == _metric_files(tmp_path)
        assert await sidecar.metric(calls) == 20
        assert await sidecar.metric("sidecar_worker_restarts_total") == 1
        for _ in range(10):
            async with client_of(sidecar) as client:
                assert (await check(client, "customer-1")).has_access


async def test_workers_do_not_outlive_their_parent(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """A parent that is killed leaves nobody behind who would keep the port."""
    async with workers(2, emulator, redis, tmp_path) as sidecar:
        children = _children(sidecar.process.pid)
        sidecar.process.kill()

        async def all_gone() -> bool:
            return not any(os.path.exists(f"/proc/{child}") for child in children)  # noqa: ASYNC240

        await eventually(all_gone)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_all_workers(
    emulator: Emulator, redis: RedisServer, tmp_path: Path, number: signal.Signals
) -> None:
    """A call under way ends well, and the exit code is 0."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    emulator.faults.set("edge", "slow", delay_ms=800)

    async with workers(2, emulator, redis, tmp_path) as sidecar, client_of(sidecar) as client:
        reached = emulator.counters.fetches()
        call = asyncio.create_task(is_granted(client, "customer-1"))

        async def is_under_way() -> bool:
            return emulator.counters.fetches() > reached

        await eventually(is_under_way)
        code = await sidecar.stop(number)

        assert await call
        assert code == 0, sidecar.output


async def test_several_workers_need_redis(emulator: Emulator, tmp_path: Path) -> None:
    """One sentence says why."""
    async with spawned(environment_for(emulator, tmp_path), "--workers=2") as sidecar:
        code = await sidecar.process.wait()
        await sidecar.printed("--workers 2 needs Redis (REDIS_ENVIRONMENT_PREFIX)")

    assert code == 1
    assert sidecar.output.count("\n") == 1


async def test_too_many_workers(emulator: Emulator, redis: RedisServer, tmp_path: Path) -> None:
    environment = environment_for(
        emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="production", REDIS_PORT=str(redis.port)
    )
    async with spawned(environment, "--workers=65") as sidecar:
        await sidecar.printed("--workers 65 is too many: 64 at most")
        assert await sidecar.process.wait() == 1


async def test_a_taken_port_is_reported_by_the_parent(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """Also when whoever has it would share it."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        environment = environment_for(
            emulator,
            tmp_path,
            REDIS_ENVIRONMENT_PREFIX="production",
            REDIS_PORT=str(redis.port),
            GRPC_PORT=str(port),
        )
        async with spawned(environment, "--workers=2") as sidecar:
            await sidecar.printed(f"cannot listen on 127.0.0.1 port {port}: Address already in use")
            assert await sidecar.process.wait() == 1


def test_a_reserved_port_is_kept_from_others_and_shared_with_ours() -> None:
    with reserve("127.0.0.1", 0)[0] as reserved, socket.socket() as ours, socket.socket() as other:
        address = reserved.getsockname()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ours.bind(address)

        with pytest.raises(OSError, match="already in use"):
            other.bind(address)


async def test_one_http_port_answers_also_while_a_worker_is_down(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """The workers accept from one queue, so that no request waits for a dead one."""
    async with workers(2, emulator, redis, tmp_path) as sidecar:
        os.kill(_children(sidecar.process.pid)[0], signal.SIGKILL)

        answers = [await sidecar.get("/readyz") for _ in range(20)]

    assert {httpx.codes.OK} == {answer.status_code for answer in answers}


def test_listening_on_a_taken_port_is_reported() -> None:
    with listen("127.0.0.1", 0)[0] as taken, pytest.raises(PortUnavailable, match="cannot listen on 127"):
        listen("127.0.0.1", taken.getsockname()[1])


async def test_unusable_tls_files_are_reported_once_by_the_parent(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """Else every worker would end with it, and be started again and again."""
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate")
    environment = environment_for(
        emulator,
        tmp_path,
        REDIS_ENVIRONMENT_PREFIX="production",
        REDIS_PORT=str(redis.port),
        PORT="0",
        TLS_CERT_FILE=str(junk),
        TLS_KEY_FILE=str(junk),
    )
    async with spawned(environment, "--workers=2") as sidecar:
        code = await sidecar.process.wait()
        await sidecar.stop()

    assert code == 1
    assert "junk.pem" in sidecar.output
    assert "a worker ended" not in sidecar.output


async def test_what_workers_count_has_its_room_on_the_disk(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """Found by the weather machine, seed 101: with a full disk workers died of SIGBUS in the middle of calls.

    The files of metrics were sparse, and the kernel had no page for the next one. Now no byte of them is.
    """
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with workers(2, emulator, redis, tmp_path) as sidecar:
        async with client_of(sidecar) as client:
            assert await is_granted(client, "customer-1")
        folder = tmp_path / METRICS_FOLDER_NAME
        files = {file.name: file.stat() for file in folder.iterdir()}

    assert {f"{kind}_{place}.db" for kind in KINDS for place in range(2)} == files.keys()
    assert [] == [name for name, stat in files.items() if stat.st_blocks * 512 < stat.st_size]


async def test_a_stop_while_the_workers_start_is_a_clean_one(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """A rollout that is taken back at once: workers that only import have nothing to drain."""
    environment = environment_for(
        emulator, tmp_path, REDIS_ENVIRONMENT_PREFIX="production", REDIS_PORT=str(redis.port)
    )
    async with spawned(environment, "--workers=2") as sidecar:

        async def all_are_spawned() -> bool:
            return len(_children(sidecar.process.pid)) == 2

        await eventually(all_are_spawned)
        code = await sidecar.stop()

    assert 0 == code  # on a busy machine they may listen by then
    assert "Traceback" not in sidecar.output


async def test_workers_serve_also_where_nothing_can_be_written(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """One worker did, and several ended in a trace back; what they count is added up elsewhere."""
    file = tmp_path / "file"
    file.touch()
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with workers(2, emulator, redis, file) as sidecar, client_of(sidecar) as client:
        assert await is_granted(client, "customer-1")
        calls = 'sidecar_grpc_requests_total{code="OK",method="GetBooleanEntitlement"}'

        async def is_counted() -> bool:
            return await sidecar.metric(calls) == 1

        await eventually(is_counted)
        assert await sidecar.stop() == 0
    assert "SIDECAR_DATA_DIR cannot be written to reason=Not a directory" in sidecar.output
    assert "Traceback" not in sidecar.output


async def test_a_worker_that_hangs_is_replaced(
    emulator: Emulator, redis: RedisServer, tmp_path: Path
) -> None:
    """A stopped one held its part of the connections for good; the other goes on."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with workers(2, emulator, redis, tmp_path) as sidecar:
        before = _children(sidecar.process.pid)
        os.kill(before[0], signal.SIGSTOP)
        try:
            await sidecar.printed("a worker hangs and is killed")
        finally:
            with suppress(ProcessLookupError):  # else it would outlive a failure, and keep the output open
                os.kill(before[0], signal.SIGCONT)
        await eventually(lambda: _listening(sidecar, 3))
        after = _children(sidecar.process.pid)

        assert 2 == len(after)
        assert [before[1]] == [pid for pid in after if pid in before]
        for _ in range(10):
            async with client_of(sidecar) as client:
                assert await is_granted(client, "customer-1")
        assert await sidecar.stop() == 0


class _Process:
    """A process that may be killed."""

    pid = 1
    kills = 0

    def kill(self) -> None:
        self.kills += 1


@pytest.mark.parametrize(("beats", "silent_windows", "kills"), [(1, 1, 0), (1, 2, 1), (0, 1, 0), (0, 2, 1)])
async def test_one_silence_proves_nothing(
    monkeypatch: pytest.MonkeyPatch, beats: int, silent_windows: int, kills: int
) -> None:
    """After its own stop the parent's time-out is over before it has read what arrived meanwhile."""
    windows: list[float] = []
    process, reader = _Process(), asyncio.StreamReader()
    reader.feed_data(b"." * beats)

    @asynccontextmanager
    async def over_at_once(seconds: float) -> AsyncIterator[None]:
        yield
        windows.append(seconds)

    async def read(_size: int) -> bytes:
        if len(windows) < beats:
            return b"."
        if len(windows) < beats + silent_windows:
            windows.append(0)
            raise TimeoutError
        return b""  # it ended by itself

    monkeypatch.setattr(asyncio, "timeout", over_at_once)
    monkeypatch.setattr(reader, "read", read)
    await kill_when_silent(process, reader)  # type: ignore[arg-type]

    assert kills == process.kills
