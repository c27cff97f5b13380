"""Copies of reads go to another sidecar: what differs is found by field, and callers notice nothing."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from entitlements import metrics
from entitlements.clock import SystemClock
from entitlements.composition import Sidecar
from entitlements.deferred_metrics import settle_all
from entitlements.domain.difference import Constancy
from entitlements.service.shadow_ledger import Finding, ShadowLedger
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import MakeEngine
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.ids import id_key
from grpc_service.methods import Call, Reply, UnaryMethod, answered, on_loop
from grpc_service.reads import path_of
from grpc_service.shadow import MAX_READ_BYTES, MAX_UNDER_WAY, MAX_WAITING, Shadow
from tests.eventually import eventually
from tests.grpc_service.standing import (
    CUSTOMER,
    PLANTED,
    REQUESTS,
    STATE,
    answering,
    ask,
    built,
    standing,
    with_planted,
)
from tests.grpc_service.ways import either
from tests.redis_server import free_port

ENGINES = [AioEngine, CompletionQueueEngine]
WAIT_SECONDS = 20.0


def a_shadow(sidecar: Sidecar, address: str, **settings: Any) -> tuple[Shadow, ShadowLedger]:
    ledger = ShadowLedger(address=address, clock=SystemClock())
    chosen: dict[str, Any] = {"sample": 1.0, "id_key": None, "ask_again_seconds": (0.01, 0.01)} | settings
    shadow = Shadow(ledger=ledger, background=sidecar.background, random=Random(1), **chosen)
    return shadow, ledger


@asynccontextmanager
async def shadowed(
    folder: Path, address: str, *, make_engine: MakeEngine = AioEngine, **settings: Any
) -> AsyncIterator[tuple[str, ShadowLedger]]:
    """A sidecar whose reads are compared with what answers at an address."""
    sidecar = built(folder, {CUSTOMER: STATE})
    shadow, ledger = a_shadow(sidecar, address, **settings)
    async with (
        standing(sidecar, make_engine=make_engine, middlewares=[shadow.middleware]) as (ours, _),
        sidecar.background.kept("shadow", shadow.run),
    ):
        yield ours, ledger


def fields(findings: Sequence[Finding], constancy: Constancy = Constancy.LASTING) -> set[str]:
    differences = findings[0].read.differences
    return {each.field for each, found in differences.items() if found is constancy}


@pytest.mark.parametrize("make_engine", ENGINES)
@pytest.mark.parametrize("method", PLANTED)
async def test_a_planted_difference_of_each_method_is_found_by_its_field(
    tmp_path: Path, method: str, make_engine: MakeEngine
) -> None:
    id_, changed, expected = PLANTED[method]
    other = built(tmp_path / "other", {CUSTOMER: with_planted(id_, **changed)})
    counted = [metrics.SHADOW_DIFFERENCES.labels(method, field) for field in sorted(expected)]
    before = [each._value.get() for each in counted]
    async with (
        standing(other) as (address, _),
        shadowed(tmp_path / "ours", address, make_engine=make_engine) as (ours, ledger),
    ):
        answers = [await ask(ours, method) for _ in range(3)]
        await eventually(lambda: ledger.counts["lasting"])
        after = [each._value.get() for each in counted]

    read = ledger.lasting[0].read
    assert 1 == len(set(answers))
    assert expected == fields(ledger.lasting)
    assert method == read.method
    assert CUSTOMER == read.customer
    assert read.our_knowledge.startswith("memory, fresh, ")
    assert read.their_knowledge.startswith("memory, fresh, ")
    assert [1] * len(before) == [now - then for now, then in zip(after, before, strict=True)]


@pytest.mark.parametrize("make_engine", ENGINES)
async def test_equal_answers_are_counted_and_nothing_is_kept(tmp_path: Path, make_engine: MakeEngine) -> None:
    async with (
        standing(built(tmp_path / "other", {CUSTOMER: STATE})) as (address, _),
        shadowed(tmp_path / "ours", address, make_engine=make_engine) as (ours, ledger),
    ):
        for method in [*REQUESTS, *REQUESTS, *REQUESTS]:
            await ask(ours, method)
        await eventually(lambda: ledger.counts["same"] == 3 * len(REQUESTS))

    assert 3 * len(REQUESTS) == sum(ledger.counts.values())
    assert [] == ledger.lasting + ledger.others


async def test_what_the_other_one_only_sees_later_is_no_difference_that_lasts(tmp_path: Path) -> None:
    """Its next answer agrees: it is counted as transient."""
    sidecar = built(tmp_path / "right", {CUSTOMER: STATE})
    async with standing(sidecar) as (right, _):
        replies = [pb.GetMeteredEntitlementResponse(has_access=False).SerializeToString()]

        async def behind(_path: str, _request: bytes) -> bytes:
            return replies.pop() if replies else await ask(right, "GetMeteredEntitlement")

        async with answering(behind) as address, shadowed(tmp_path / "ours", address) as (ours, ledger):
            await ask(ours, "GetMeteredEntitlement")
            await eventually(lambda: ledger.others)

    assert {"has_access", "entitlement"} == fields(ledger.others, Constancy.TRANSIENT)
    assert [] == ledger.lasting
    assert 1 == ledger.counts["transient"]
    assert 0 == ledger.counts["lasting"]


async def test_what_moves_at_each_asking_stays_undecided(tmp_path: Path) -> None:
    """A meter that events move faster than it can be asked about."""
    numbers = iter(range(100, 200))

    async def moving(_path: str, _request: bytes) -> bytes:
        entitlement = pb.MeteredEntitlement(current_usage=next(numbers))
        return pb.GetMeteredEntitlementResponse(entitlement=entitlement).SerializeToString()

    async with answering(moving) as address, shadowed(tmp_path / "ours", address) as (ours, ledger):
        await ask(ours, "GetMeteredEntitlement")
        await eventually(lambda: ledger.lasting)

    assert {"entitlement.current_usage"} == fields(ledger.lasting, Constancy.UNDECIDED)
    assert "entitlement.current_usage" not in fields(ledger.lasting)


async def test_a_write_never_goes_to_the_other_one(tmp_path: Path) -> None:
    """Nor does ReloadEntitlements, which has the cloud asked."""
    sidecar = built(tmp_path, {CUSTOMER: STATE})
    shadow, _ = a_shadow(sidecar, "nobody:1")
    async with standing(sidecar) as (_, server):
        names = [
            method.path.rpartition("/")[2]
            for method in server.methods
            if shadow.middleware(method) is not method
        ]

    assert set(REQUESTS) == set(names)


async def test_ids_are_hashed_unless_they_are_allowed(tmp_path: Path) -> None:
    other = built(tmp_path / "other", {CUSTOMER: {"entitlementsV2": []}})
    request = pb.GetEntitlementV2Request(customer_id=CUSTOMER, resource_id="", feature_id="meter")
    async with (
        standing(other) as (address, _),
        shadowed(tmp_path / "ours", address, id_key=id_key("secret")) as (ours, ledger),
    ):
        await ask(ours, "GetEntitlementV2", request)
        await eventually(lambda: ledger.lasting)

    read = ledger.lasting[0].read
    assert CUSTOMER not in repr(ledger.lasting)
    assert 16 == len(read.customer)
    assert "" == read.resource
    assert "meter" == read.feature


@asynccontextmanager
async def garbage() -> AsyncIterator[str]:
    """A server that answers whatever comes by nonsense."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xffnonsense\r\n" * 100)
        await asyncio.gather(writer.drain(), return_exceptions=True)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def down() -> AsyncIterator[str]:
    yield f"127.0.0.1:{free_port()}"


@asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("make_engine", ENGINES)
@pytest.mark.parametrize("trouble", [down, garbage])
async def test_one_that_is_out_of_order_is_counted_and_callers_are_answered(
    tmp_path: Path, trouble: Any, make_engine: MakeEngine
) -> None:
    settings: dict[str, Any] = {"make_engine": make_engine, "ask_again_seconds": (60.0,)}
    async with trouble() as address, shadowed(tmp_path, address, **settings) as (ours, ledger):
        for method in REQUESTS:
            assert await ask(ours, method)
        await eventually(lambda: ledger.counts["failed"] == len(REQUESTS))

    assert ledger.last_failure
    assert [] == ledger.lasting + ledger.others


async def test_a_reply_that_is_none_is_a_difference_that_lasts(tmp_path: Path) -> None:
    async def nonsense(_path: str, _request: bytes) -> bytes:
        return b"\xff\xff"

    async with answering(nonsense) as address, shadowed(tmp_path, address) as (ours, ledger):
        await ask(ours, "GetEntitlement")
        await eventually(lambda: ledger.lasting)

    assert {"reply"} == fields(ledger.lasting)


async def test_behind_one_that_never_answers_reads_are_dropped_and_memory_has_a_bound(
    tmp_path: Path,
) -> None:
    """So many wait, so many are under way; the rest is counted, and takes a caller no time."""
    sidecar = built(tmp_path, {CUSTOMER: STATE})
    async with silent() as address:
        shadow, _ = a_shadow(sidecar, address)

        reply = STATE_REPLY, ()
        method = shadow.middleware(UnaryMethod(path=path_of("GetEntitlements"), begin=lambda _: reply))
        settle_all()
        before = metrics.SHADOW_DROPPED.labels("behind")._value.get()
        async with sidecar.background.kept("shadow", shadow.run):
            began = time.perf_counter()
            for _ in range(10_000):
                assert reply is method.begin(b"request")
            took = time.perf_counter() - began
            await eventually(lambda: shadow._under_way == MAX_UNDER_WAY)
            for _ in range(10_000):
                method.begin(b"request")
            waiting = len(shadow._waiting)
        settle_all()
    await sidecar.background.stop()
    await sidecar.http_client.aclose()

    dropped = metrics.SHADOW_DROPPED.labels("behind")._value.get() - before
    assert MAX_WAITING == waiting
    assert 20_000 - MAX_WAITING - MAX_UNDER_WAY == dropped
    assert took < WAIT_SECONDS


STATE_REPLY = pb.GetEntitlementsResponse().SerializeToString()


async def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    sidecar = built(tmp_path, {})
    shadow, _ = a_shadow(sidecar, "nobody:1")
    reply = bytes(MAX_READ_BYTES), ()
    before = metrics.SHADOW_DROPPED.labels("too_large")._value.get()

    async def later(_request: bytes, _call: Call) -> Reply:
        return reply

    method = shadow.middleware(UnaryMethod(path=path_of("GetEntitlements"), begin=on_loop(later)))
    assert reply == await answered(method, b"r", Call())
    await sidecar.http_client.aclose()

    assert 1 == metrics.SHADOW_DROPPED.labels("too_large")._value.get() - before
    assert not shadow._waiting


async def test_a_sample_is_taken(tmp_path: Path) -> None:
    """By chance, of what is answered at once and of what is waited for."""
    sidecar = built(tmp_path, {})
    shadow, _ = a_shadow(sidecar, "nobody:1", sample=0.1)
    taken: list[object] = []
    shadow._offer = lambda *read: taken.append(read)  # type: ignore[method-assign]

    async def later(_request: bytes, _call: Call) -> Reply:
        return b"later", ()

    answers: list[Callable[[bytes], Reply | None]] = [lambda _: (b"now", ()), lambda _: None]
    for answer_now in answers:
        taken.clear()
        method = shadow.middleware(
            UnaryMethod(path=path_of("GetEntitlements"), begin=either(answer_now, later))
        )
        for _ in range(2000):
            await answered(method, b"r", Call())
        assert 130 < len(taken) < 270
    await sidecar.http_client.aclose()
