"""The load of our own speaks to a real gRPC server, and does not take a refusal for a reply."""

from collections import Counter
from itertools import islice

import pytest

from bench.load import framed
from bench.servers import BARE, bare
from bench.varied import bodies, boolean_body, drive, load_of, zipf_order
from grpc_service.generated import sidecar_pb2 as pb
from tests.harness import SidecarProcess

REPLY = b"a reply"


@pytest.mark.parametrize("name", BARE)
async def test_every_request_is_answered_once(name: str) -> None:
    requests = iter([boolean_body(f"c-{number}") for number in range(500)])

    async with bare(name, REPLY) as server:
        connections, took = await drive(server.port, requests, connections=2, in_flight=5, seconds=10)
    load = load_of(connections, took, new_customers=0)

    assert [None, None] == [connection.problem for connection in connections]
    assert 500 == load.requests
    assert 500 * len(framed(REPLY)) == load.reply_bytes
    assert 0 < load.p50_us <= load.p99_us


async def test_it_stops_by_itself() -> None:
    async with bare("bare aio", REPLY) as server:
        connections, _ = await drive(
            server.port, bodies(one_miss_in=None, first_new=0), connections=1, in_flight=1, seconds=0.2
        )

    assert [None] == [connection.problem for connection in connections]


async def test_a_refusal_is_reported(sidecar: SidecarProcess) -> None:
    """The sidecar refuses what is no message: it ends the call without a reply."""
    connections, _ = await drive(
        sidecar.grpc_port, iter([framed(b"\xff\xff")]), connections=1, in_flight=1, seconds=5
    )

    assert ["a call ended without a reply"] == [connection.problem for connection in connections]


async def test_a_server_that_goes_away_is_reported() -> None:
    """HTTP/2 that is none: the header block is cut off."""
    async with bare("bare aio", REPLY) as server:
        connections, _ = await drive(
            server.port, iter([b"x" * 70_000]), connections=1, in_flight=1, seconds=5
        )

    assert connections[0].problem in {"a stream was reset", "the server went away", "the connection was cut"}


def test_one_in_a_given_number_is_new() -> None:
    asked = [
        pb.GetBooleanEntitlementRequest.FromString(body[5:]).customer_id
        for body in islice(bodies(one_miss_in=100, first_new=7), 1000)
    ]

    assert [f"new-{number}" for number in range(7, 17)] == [name for name in asked if name.startswith("new-")]


def test_zipf() -> None:
    counted = Counter(zipf_order(1000, 100_000))

    assert counted[0] == pytest.approx(2 * counted[1], rel=0.1)
    assert counted[0] == pytest.approx(10 * counted[9], rel=0.2)
