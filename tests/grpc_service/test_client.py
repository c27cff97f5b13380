"""Another sidecar is asked bytes for bytes; who does not answer is an outcome, not an error."""

import asyncio
from pathlib import Path

from grpc_service.client import MAX_REPLY_BYTES, SidecarClient, knew
from tests.grpc_service.standing import CUSTOMER, REQUESTS, STATE, answering, ask, built, standing
from tests.redis_server import free_port

METHOD = "GetMeteredEntitlement"
REQUEST = REQUESTS[METHOD].SerializeToString()


async def test_the_bytes_of_a_reply_with_what_it_knew_and_how_long_it_took(tmp_path: Path) -> None:
    async with (
        standing(built(tmp_path, {CUSTOMER: STATE})) as (address, _),
        SidecarClient(address) as client,
    ):
        outcome = await client.ask(METHOD, REQUEST, seconds=5)
        expected = await ask(address, METHOD)

    assert expected == outcome.message
    assert outcome.is_answered
    assert outcome.knew.startswith("offline")
    assert 0 < outcome.seconds < 5


async def test_who_is_away_late_or_endless_did_not_answer() -> None:
    never = asyncio.Event()

    async def late(_path: str, _request: bytes) -> bytes:
        await never.wait()
        return b""

    async def endless(_path: str, _request: bytes) -> bytes:
        return bytes(MAX_REPLY_BYTES + 1)

    reported = []
    async with answering(late) as slow, answering(endless) as large:
        for address in (f"127.0.0.1:{free_port()}", slow, large):
            async with SidecarClient(address) as client:
                outcome = await client.ask(METHOD, REQUEST, seconds=0.3)
                reported.append((outcome.status, outcome.is_answered))

    assert [("UNAVAILABLE", False), ("DEADLINE_EXCEEDED", False), ("RESOURCE_EXHAUSTED", False)] == reported


def test_what_it_knew_is_said_in_words() -> None:
    """The vendor's reports nothing."""
    assert "memory, fresh, 12 ms old" == knew(
        {"stigg-age-ms": "12", "stigg-source": "memory", "stigg-state": b"fresh"}
    )
    assert "" == knew({})
