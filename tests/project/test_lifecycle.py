"""Stopping and starting under load: a client that follows health and never retries sees no failed call."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from emulator.server import Emulator
from tests.cloud_states import boolean_state
from tests.eventually import MOST_SECONDS
from tests.harness import CALL_SECONDS, Client, SidecarProcess, check, client_of, running_sidecar

CALLS_PER_SECOND = 200
CALLS_AT_A_TIME = 200
"""A machine that is too busy for more gets no more."""

HEARS_LATE_SECONDS = 1.0
"""A balancer goes on sending calls for so long after an instance has said goodbye."""
PAUSE = {"SIDECAR_DRAIN_SECONDS": "3"}
"""A busy machine takes a while to hear of it; it is 1 unless set."""


class Balanced:
    """The instances that say they serve, asked in turn; each call once."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.answered = 0
        self.sent = 0
        self.sent_during_stops: list[int] = []
        self._serving: list[Client] = []
        self._calls: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Condition()

    @asynccontextmanager
    async def instance(self, sidecar: SidecarProcess) -> AsyncIterator[None]:
        """Asks this one too, from when it says it serves until it says it does not."""
        async with grpc.aio.insecure_channel(sidecar.address) as channel:
            client, known = Client(channel), asyncio.Event()
            watching = asyncio.create_task(self._watch(channel, client, known))
            await asyncio.wait_for(known.wait(), CALL_SECONDS)
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.gather(watching, *self._calls, return_exceptions=True)

    async def call_for_ever(self) -> None:
        """So many calls a second by the clock: a call that is slow holds up none of the others."""
        while True:
            if len(self._calls) < CALLS_AT_A_TIME:
                self.sent += 1
                client = self._serving[0]
                self._serving.append(self._serving.pop(0))
                call = asyncio.create_task(self._call(client))
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            await asyncio.sleep(1 / CALLS_PER_SECOND)

    async def more(self, count: int) -> None:
        """Returns after so many more calls have ended."""
        until = self.answered + count
        async with asyncio.timeout(MOST_SECONDS), self._progress:
            await self._progress.wait_for(lambda: self.failed or self.answered >= until)

    async def stopped(self, sidecar: SidecarProcess) -> int:
        """Its exit code; how many calls were sent meanwhile is noted."""
        before = self.sent
        code = await sidecar.stop()
        self.sent_during_stops.append(self.sent - before)
        return code

    async def _call(self, client: Client) -> None:
        try:
            await check(client, "customer-1")
        except grpc.aio.AioRpcError as error:
            self.failed.append(f"{error.code()}: {error.details()}")
        async with self._progress:
            self.answered += 1
            self._progress.notify_all()

    async def _watch(self, channel: grpc.aio.Channel, client: Client, known: asyncio.Event) -> None:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know no Watch
        try:
            with suppress(grpc.aio.AioRpcError):  # the stream ends with the instance
                async for health in stub.Watch(health_pb2.HealthCheckRequest()):
                    if health.status == health_pb2.HealthCheckResponse.SERVING:
                        self._serving.append(client)
                        known.set()
                    else:
                        break
            await asyncio.sleep(HEARS_LATE_SECONDS)
        finally:
            if client in self._serving:
                self._serving.remove(client)


async def test_a_rolling_restart_fails_no_call(emulator: Emulator, tmp_path: Path) -> None:
    """Two instances, one after the other; there is always one that serves."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    balanced = Balanced()
    async with running_sidecar(emulator, tmp_path, **PAUSE) as second, balanced.instance(second):
        async with running_sidecar(emulator, tmp_path, **PAUSE) as first, balanced.instance(first):
            calling = asyncio.create_task(balanced.call_for_ever())
            await balanced.more(100)
            codes = [await balanced.stopped(first)]
        async with running_sidecar(emulator, tmp_path, **PAUSE) as third, balanced.instance(third):
            await balanced.more(100)
            codes.append(await balanced.stopped(second))
            await balanced.more(100)
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)

    assert [] == balanced.failed
    assert [0, 0] == codes
    assert min(balanced.sent_during_stops) > 20


async def test_a_draining_instance_says_so_and_still_answers(emulator: Emulator, tmp_path: Path) -> None:
    """Balancers hear of it later than the signal arrives: a new connection is still served for a while."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    async with running_sidecar(emulator, tmp_path, SIDECAR_DRAIN_SECONDS="60") as sidecar:
        sidecar.process.send_signal(signal.SIGTERM)
        await sidecar.printed("draining")

        ready, live = await sidecar.get("/readyz"), await sidecar.get("/livez")
        async with client_of(sidecar) as client:
            answer = await check(client, "customer-1")

        assert 503 == ready.status_code
        assert {"status": "DOWN"} == ready.json()
        assert 200 == live.status_code
        assert answer.has_access


async def test_the_pause_is_part_of_the_grace_period(emulator: Emulator, tmp_path: Path) -> None:
    """A pause that is too long does not lengthen the stop."""
    variables = {"SIDECAR_DRAIN_SECONDS": "3600", "SIDECAR_SHUTDOWN_GRACE_SECONDS": "0.5"}
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        assert await sidecar.stop() == 0


async def test_a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A pipe takes 64 KiB; whoever reads it may hang, and is no reason to refuse a check."""
    emulator.state.put("customer-1", boolean_state(), push=False)
    variables = {"SIDECAR_DECISION_LOG": "1", "SIDECAR_DECISION_LOG_MAX_PER_SECOND": "100000"}
    async with running_sidecar(emulator, tmp_path, **variables) as sidecar:
        output: Any = sidecar.process.stdout
        output._transport.pause_reading()
        try:
            async with client_of(sidecar) as client:
                answers = [await check(client, f"nobody-{n}") for n in range(600)]

            live = await sidecar.get("/livez")
            sidecar.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(MOST_SECONDS):
                while sidecar.process.returncode is None:  # noqa: ASYNC110 - `wait` waits for the pipe as well
                    await asyncio.sleep(0.05)
        finally:
            output._transport.resume_reading()

    assert 600 == len(answers)
    assert 200 == live.status_code
    assert 0 == sidecar.process.returncode


async def test_tasks_of_the_event_loop_are_counted(sidecar: SidecarProcess) -> None:
    """What a caller keeps open counts, and no longer when the caller has gone."""

    async def counted(is_so: Callable[[float], bool]) -> float:
        async with asyncio.timeout(MOST_SECONDS):
            while not is_so(tasks := await sidecar.metric("sidecar_event_loop_tasks")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return tasks

    before = await counted(lambda tasks: tasks > 0)
    async with grpc.aio.insecure_channel(sidecar.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        streams = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(20)]
        await asyncio.gather(*(stream.read() for stream in streams))
        await counted(lambda tasks: tasks >= before + 20)

    assert await counted(lambda tasks: tasks < before + 10) > 0
