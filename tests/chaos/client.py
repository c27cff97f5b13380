"""The client: it follows health, asks the other instance where one does not answer, and notes everything.

A read fails when it is answered by nobody: not by the instance whose turn it is, nor by another one.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpc_service.generated import sidecar_pb2 as pb
from tests.chaos.instance import Instance
from tests.chaos.records import Answer, FailedRead, FailedTry, Run, Write, now
from tests.harness import Client

LINES_EACH = 3
"""Connections to each instance, so that each worker is likely to have one."""
TRY_SECONDS = 2.5
"""After so long without an answer the other instance is asked."""
WRITE_SECONDS = 8.0
TRIES = 2
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # else all channels of one address share one connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 500),
)
METHODS = ("numeric", "boolean", "enum", "v2", "list")


class Line:
    """One connection to one instance."""

    def __init__(self, instance: Instance, number: int) -> None:
        self.instance = instance.name
        self.name = f"{instance.name}/{number}"
        self.epoch = 0
        self.is_serving = False
        self._channel = grpc.aio.insecure_channel(instance.address, options=_OPTIONS)
        self.stub: Client = Client(self._channel)
        self._feed_applier: asyncio.Task[None] | None = None
        self._serving = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._feed_applier = asyncio.create_task(self._follow())
        async with asyncio.timeout(30):
            await self._serving.wait()
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._feed_applier is not None:
            self._feed_applier.cancel()
            await asyncio.gather(self._feed_applier, return_exceptions=True)
        await self._channel.close()

    async def _follow(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._channel)  # its stubs know no Watch
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for health in stub.Watch(health_pb2.HealthCheckRequest()):
                    self.is_serving = health.status == health_pb2.HealthCheckResponse.SERVING
                    if self.is_serving:
                        self._serving.set()
            self.is_serving = False
            self.epoch += 1
            await asyncio.sleep(0.1)


class WeatherClient:
    """Reads and writes by the lines that serve, in turn."""

    def __init__(self, run: Run, lines: Sequence[Line]) -> None:
        self._run = run
        self.lines = lines
        self._turn = 0

    async def read(self, customer_id: str, method: str) -> Answer | None:
        """One read, noted; None when nobody answered."""
        started, tried, failed = now(), list[Line](), list[FailedTry]()
        while len(tried) < TRIES and (line := self._next(tried)) is not None:
            tried.append(line)
            answer = await self._try(line, customer_id, method, tries=len(tried))
            if isinstance(answer, Answer):
                self._run.failed_tries += failed
                self._run.answers.append(answer)
                return answer
            failed.append(answer)
        self._run.failed_tries += failed
        self._run.failed_reads.append(
            FailedRead(customer_id=customer_id, method=method, started=started, ended=now(), tries=failed)
        )
        return None

    async def ask(self, line: Line, customer_id: str, method: str) -> Answer:
        """One call by that line; raises what gRPC raises."""
        started, epoch = now(), line.epoch
        make, decode = _CALLS[method]
        call = make(line.stub, customer_id)
        reply = await call
        trailing = {str(key): str(value) for key, value in await call.trailing_metadata() or ()}
        source = trailing.get("stigg-source", "")
        values = decode(reply)
        values["is_fallback"] = values.get("is_fallback", False) or source in {"fallback", "offline"}
        return Answer(
            customer_id=customer_id,
            method=method,
            line=line.name,
            epoch=epoch if line.epoch == epoch else -1,
            started=started,
            ended=now(),
            source=source,
            state=trailing.get("stigg-state", ""),
            **values,
        )

    async def report_event(self, customer_id: str, key: str) -> None:
        """One event, sent once."""
        event = pb.Event(event_name="e", customer_id=customer_id, idempotency_key=key)
        request = pb.ReportEventsRequest(events=[event])
        await self._write(f"e:{key}", lambda stub: stub.ReportEvents(request, timeout=WRITE_SECONDS))

    async def report_usage(self, customer_id: str, value: float) -> None:
        """One usage report, sent once; its value is unlike all others."""
        request = pb.ReportUsageRequest(customer_id=customer_id, feature_id="m", value=value)
        await self._write(f"u:{value!r}", lambda stub: stub.ReportUsage(request, timeout=WRITE_SECONDS))

    async def usage_of(self, line: Line, customer_id: str) -> float:
        """What the line's worker says the meter stands at."""
        request = pb.GetMeteredEntitlementRequest(customer_id=customer_id, feature_id="m")
        answer = await line.stub.GetMeteredEntitlement(request, timeout=TRY_SECONDS)
        return float(answer.entitlement.current_usage)

    def _next(self, tried: Sequence[Line]) -> Line | None:
        """The next line that serves: of an instance that was not asked yet, if there is one."""
        asked = {line.instance for line in tried}
        serving = [line for line in self.lines if line.is_serving and line not in tried]
        choice = [line for line in serving if line.instance not in asked] or serving
        self._turn += 1
        return choice[self._turn % len(choice)] if choice else None

    async def _try(self, line: Line, customer_id: str, method: str, *, tries: int) -> Answer | FailedTry:
        started = now()
        try:
            answer = await self.ask(line, customer_id, method)
        except grpc.aio.AioRpcError as error:
            status = f"{error.code().name}: {error.details()}"
            return FailedTry(line=line.name, method=method, started=started, ended=now(), status=status)
        return answer if tries == 1 else dataclasses.replace(answer, tries=tries)

    async def _write(self, identity: str, call: Callable[[Client], Any]) -> None:
        line = self._next([])
        write = self._run.writes[identity] = Write(identity=identity, started=now())
        if line is None:
            write.status = "not sent"
            return
        try:
            await call(line.stub)
            write.status = "OK"
        except grpc.aio.AioRpcError as error:
            write.status = error.code().name
        write.ended = now()


def _of_boolean(reply: pb.GetBooleanEntitlementResponse) -> dict[str, Any]:
    return {"is_fallback": reply.is_fallback, "is_granted": reply.has_access}


def _of_numeric(reply: pb.GetNumericEntitlementResponse) -> dict[str, Any]:
    return {"is_fallback": reply.is_fallback, "number": reply.entitlement.value}


def _of_enum(reply: pb.GetEnumEntitlementResponse) -> dict[str, Any]:
    words = list(reply.entitlement.enum_values)
    return {"is_fallback": reply.is_fallback, "number": int(words[0]) if len(words) == 1 else -1}


def _of_v2(reply: pb.GetEntitlementV2Response) -> dict[str, Any]:
    return {"is_fallback": reply.entitlement.is_fallback, "number": reply.entitlement.numeric.value}


def _of_list(reply: pb.GetEntitlementsStateV2Response) -> dict[str, Any]:
    arms = {each.WhichOneof("entitlement"): each for each in reply.entitlements}
    if set(arms) != {"boolean", "numeric", "enum"}:
        return {"number": -1}
    number = arms["numeric"].numeric.value
    is_whole = list(arms["enum"].enum.enum_values) == [str(number)] and arms["boolean"].has_access == (
        number % 2 == 0
    )
    return {"number": number, "is_mixed": not is_whole}


_CALLS: dict[str, tuple[Callable[[Client, str], Any], Callable[[Any], dict[str, Any]]]] = {
    "boolean": (
        lambda stub, who: stub.GetBooleanEntitlement(
            pb.GetBooleanEntitlementRequest(customer_id=who, feature_id="flag"), timeout=TRY_SECONDS
        ),
        _of_boolean,
    ),
    "numeric": (
        lambda stub, who: stub.GetNumericEntitlement(
            pb.GetNumericEntitlementRequest(customer_id=who, feature_id="number"), timeout=TRY_SECONDS
        ),
        _of_numeric,
    ),
    "enum": (
        lambda stub, who: stub.GetEnumEntitlement(
            pb.GetEnumEntitlementRequest(customer_id=who, feature_id="word"), timeout=TRY_SECONDS
        ),
        _of_enum,
    ),
    "v2": (
        lambda stub, who: stub.GetEntitlementV2(
            pb.GetEntitlementV2Request(customer_id=who, feature_id="number"), timeout=TRY_SECONDS
        ),
        _of_v2,
    ),
    "list": (
        lambda stub, who: stub.GetEntitlementsStateV2(
            pb.GetEntitlementsStateV2Request(customer_id=who), timeout=TRY_SECONDS
        ),
        _of_list,
    ),
}
