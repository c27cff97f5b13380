"""What a running sidecar is asked is written down, and asked again of any other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from entitlements import control
from entitlements.composition import Sidecar
from entitlements.service import recorder as recording
from entitlements.service.recorder import MAX_READ_BYTES, Busy, RecordedRead
from grpc_service.engines.aio import AioEngine
from grpc_service.engines.completion_queue import CompletionQueueEngine
from grpc_service.engines.interface import MakeEngine
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.management import comparing
from grpc_service.management.recording import Writer, recorded, written_privately
from grpc_service.tap import tapped
from tests.grpc_service.standing import (
    CUSTOMER,
    REQUESTS,
    STATE,
    answering,
    ask,
    built,
    standing,
    with_planted,
)
from tests.grpc_service.test_compare import command
from tests.redis_server import free_port

ENGINES = [AioEngine, CompletionQueueEngine]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs is asked again at once, and what is answered is looked at at once."""
    monkeypatch.setattr(comparing, "ASK_AGAIN_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(recording, "TAKE_SECONDS", 0.01)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[Sidecar, str]]:
    """A sidecar, and its address."""
    sidecar = built(folder, {CUSTOMER: STATE})
    async with standing(sidecar) as (address, server):
        sidecar.recorder.attach(partial(tapped, server.methods))
        yield sidecar, address


async def reads_of(sidecar: Sidecar, address: str, *, times: int = 1) -> list[RecordedRead]:
    """Each method asked so often while recorded."""
    found: list[RecordedRead] = []
    async with asyncio.timeout(20), aclosing(sidecar.recorder.record(seconds=60)) as looks:
        found += await anext(looks)
        for _ in range(times):
            for method in REQUESTS:
                await ask(address, method)
        async for each in looks:
            found += each
            if len(found) >= times * len(REQUESTS):
                break
    return found


def file_of(folder: Path, reads: list[RecordedRead], *, is_clear: bool = True) -> Path:
    """The file of a recording."""
    file = folder / "recording"
    with written_privately(file) as write:
        writer = Writer(write, is_clear=is_clear)
        for each in reads:
            writer.add(*each)
    return file


@pytest.mark.parametrize("make_engine", ENGINES)
async def test_hits_and_misses_are_published_while_somebody_listens_and_then_no_more(
    tmp_path: Path, make_engine: MakeEngine
) -> None:
    """The methods that are served are as before: nothing is left on their way."""
    sidecar = built(tmp_path, {CUSTOMER: STATE})
    async with standing(sidecar, make_engine=make_engine) as (address, server):
        sidecar.recorder.attach(partial(tapped, server.methods))
        ways = [each.begin for each in server.methods]
        before = await ask(address, "GetMeteredEntitlement")
        reads = await reads_of(sidecar, address, times=2)
        after = await ask(address, "GetMeteredEntitlement")
        assert ways == [each.begin for each in server.methods]

    assert set(REQUESTS) == {each.method for each in reads}
    assert 2 * len(REQUESTS) == len(reads)
    assert before == after
    (one, other) = [each for each in reads if each.method == "GetMeteredEntitlement"]
    assert one.request == REQUESTS["GetMeteredEntitlement"].SerializeToString()
    assert one.reply == before
    assert 0 <= one.at_ms <= other.at_ms


async def test_one_recording_at_a_time_and_each_ends_by_itself(tmp_path: Path) -> None:
    async with served(tmp_path) as (sidecar, _):
        async with aclosing(sidecar.recorder.record(seconds=60)) as looks:
            await anext(looks)
            with pytest.raises(Busy):
                await anext(sidecar.recorder.record(seconds=60))
        ended = [each async for each in sidecar.recorder.record(seconds=0.05)]

    assert 1 <= len(ended) <= 6


async def test_what_is_too_much_or_too_large_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_WAITING", 3)
    sidecar = built(tmp_path, {})
    offers: list[recording.Offer] = []

    class Tap:
        def __init__(self, offer: recording.Offer) -> None:
            offers.append(offer)

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    sidecar.recorder.attach(Tap)
    async with aclosing(sidecar.recorder.record(seconds=60)) as looks:
        await anext(looks)
        for _ in range(5):
            offers[0]("GetEntitlement", b"request", b"reply")
        offers[0]("GetEntitlement", b"request", bytes(MAX_READ_BYTES))
        taken = await anext(looks)
    await sidecar.http_client.aclose()

    assert 3 == len(taken)
    assert 3 == sidecar.recorder.dropped


async def test_the_socket_sends_reads_and_says_who_else_records(tmp_path: Path) -> None:
    """A caller who leaves ends the recording."""
    async with served(tmp_path) as (sidecar, address), asyncio.timeout(20):
        lines = control._lines(sidecar, {"act": "record", "seconds": 60}, asyncio.StreamReader())
        async with aclosing(lines):
            assert {"dropped": 0} == await anext(lines)
            busy = control._lines(sidecar, {"act": "record", "seconds": 60}, asyncio.StreamReader())
            on_stderr = [each async for each in busy]
            await ask(address, "GetEntitlement")
            read = next(each for each in [await anext(lines) for _ in range(50)] if "method" in each)
        assert not sidecar.recorder._is_recording

    assert [{"problem": "somebody records already; one recording at a time"}] == on_stderr
    assert "GetEntitlement" == read["method"]


async def test_a_replay_finds_what_another_answers_otherwise(tmp_path: Path) -> None:
    """By field, beside latency and fallbacks."""
    async with served(tmp_path / "ours") as (sidecar, address):
        reads = await reads_of(sidecar, address)
    other = built(tmp_path / "other", {CUSTOMER: with_planted("meter", usageLimit=11)})
    file = file_of(tmp_path, reads)
    async with standing(other) as (theirs, _):
        ended = await command("replay", str(file), "--with", theirs, "--rate", "200", "--json")

    found = ended.as_json
    fields = {(each["method"], each["field"]) for each in found["differences"]}
    assert 1 == ended.code
    assert {
        ("GetMeteredEntitlement", "entitlement.usage_limit"),
        ("GetEntitlement", "metered.usage_limit"),
        ("GetEntitlements", "entitlements.metered.usage_limit"),
        ("GetEntitlementsStateV2", "entitlements.metered.usage_limit"),
    } == fields
    assert (8, 4, 4, 0, 0) == tuple(
        found[each] for each in ("asked", "same", "lasting", "unanswered", "fallbacks")
    )
    assert 0 < found["p50_ms"] <= found["p90_ms"] <= found["p99.9_ms"] <= found["max_ms"]
    assert "the recording" == found["compared_with"]


async def test_a_replay_beside_a_live_one_compares_with_that(tmp_path: Path) -> None:
    """What was answered when it was recorded plays no part."""
    reads = [RecordedRead(0, name, request.SerializeToString(), b"") for name, request in REQUESTS.items()]
    async with (
        served(tmp_path / "ours") as (_, ours),
        standing(built(tmp_path / "other", {CUSTOMER: STATE})) as (theirs, _),
    ):
        file = file_of(tmp_path, reads)
        ended = await command("replay", str(file), "--with", theirs, "--address", ours)

    assert 0 == ended.code
    assert "same: 8\n" in ended.output
    assert f"compared_with: {ours}\n" in ended.output


async def test_a_hashed_recording_names_nobody_and_is_a_load_about_strangers(tmp_path: Path) -> None:
    """The same customer has one hash within it, and another one in the next."""
    reads = [
        RecordedRead(each, "GetEntitlementV2", request.SerializeToString(), b"\x0a\x00")
        for each, request in enumerate(
            pb.GetEntitlementV2Request(customer_id=CUSTOMER, resource_id="secret-r", feature_id="meter")
            for _ in range(3)
        )
    ]
    first = file_of(tmp_path, reads, is_clear=False).read_text()
    file = file_of(tmp_path, reads, is_clear=False)
    texts = [first, file.read_text()]
    asked = {each.customer for each in recorded(file)}
    async with standing(built(tmp_path / "other", {CUSTOMER: STATE})) as (theirs, _):
        ended = await command("replay", str(file), "--with", theirs, "--json")

    assert not [text for text in texts if CUSTOMER in text or "secret-r" in text or "reply" in text]
    assert texts[0] != texts[1]
    assert 1 == len(asked)
    assert 0 == ended.code
    assert 3 == ended.as_json["asked"]
    assert 3 == ended.as_json["fallbacks"]
    assert ended.as_json["compared_with"].startswith("nothing: ")


async def test_a_replay_of_one_that_stops_answering_says_so(tmp_path: Path) -> None:
    request = REQUESTS["GetEntitlement"].SerializeToString()
    asked: list[bytes] = []

    async def once(_path: str, request: bytes) -> bytes:
        asked.append(request)
        if len(asked) > 1:
            raise RuntimeError
        return b""

    reads = [RecordedRead(0, "GetEntitlement", request, b"")]
    away = f"127.0.0.1:{free_port()}"
    file = str(file_of(tmp_path, reads, is_clear=False))
    async with answering(once) as theirs:
        gone = await command("replay", file, "--with", away)
        failing = await command("replay", file, "--with", theirs, "--json")

    assert 2 == gone.code
    assert f"no sidecar answers at {away} (UNAVAILABLE)" == gone.on_stderr
    assert 2 == failing.code
    assert 1 == failing.as_json["unanswered"]


@pytest.mark.parametrize(
    ("text", "on_stderr"),
    [
        ("", "holds no read"),
        ("{}\n", "line 1 is no recording of version 1"),
        ('{"stigg_sidecar_recording": 1, "ids": "clear"}\n', "holds no read"),
        ('{"stigg_sidecar_recording": 1, "ids": "clear"}\n{"method": "ReportUsage"}\n', "line 2 is no read"),
        ('{"stigg_sidecar_recording": 1, "ids": "clear"}\n[]\n', "line 2 is no read of a recording"),
        ("\xff\n", "line 1 is no read of a recording"),
    ],
)
async def test_what_is_no_recording_is_reported_by_its_line(
    tmp_path: Path, text: str, on_stderr: str
) -> None:
    file = tmp_path / "recording"
    file.write_text(text, encoding="latin-1")

    ended = await command("replay", str(file), "--with", "nobody:1")

    assert 2 == ended.code
    assert on_stderr in ended.on_stderr


async def test_a_missing_file_and_a_wrong_rate_are_reported(tmp_path: Path) -> None:
    missing = await command("replay", str(tmp_path / "missing"), "--with", "nobody:1")
    slow = await command("replay", str(tmp_path / "missing"), "--with", "nobody:1", "--rate", "0")

    assert 2 == missing.code
    assert 2 == slow.code
    assert "cannot be read (No such file or directory)" in missing.on_stderr
    assert "--rate must be a number above 0" == slow.on_stderr


def test_a_recording_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """And is its owner's alone."""
    file = tmp_path / "recording"
    with suppress(KeyboardInterrupt), written_privately(file) as write:
        write("half")
        raise KeyboardInterrupt
    assert [] == list(tmp_path.iterdir())

    with written_privately(file) as write:
        Writer(write, is_clear=True)

    assert 0o600 == file.stat().st_mode & 0o777
    header: Any = json.loads(file.read_text())
    assert {"stigg_sidecar_recording": 1, "ids": "clear"} == header
