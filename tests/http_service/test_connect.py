"""The Connect protocol: every recorded evaluation as gRPC answers it, and each rule of the protocol once."""

import asyncio
import base64
import json
from typing import cast
from urllib.parse import urlencode

import grpc
import pytest
from google.protobuf.json_format import ParseDict

from entitlements.config.fallback_rules import parse_fallback_rules
from entitlements.domain.decision import Query
from entitlements.domain.entity import EntityKey
from entitlements.domain.evaluation import evaluate_list, list_by_fallback, needs_recalculation
from entitlements.domain.freshness import EntityState
from entitlements.domain.ports import Source
from entitlements.service.answers import Answer, ListAnswer, Provenance
from entitlements.service.cache_maintenance import CacheMaintenance
from entitlements.service.reader import EntitlementReader
from entitlements.service.response_cache import ResponseCache
from entitlements.service.usage_reporter import UsageReporter
from grpc_service.errors import PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Refused, Reply, UnaryMethod, on_loop
from grpc_service.reads import SERVICE
from grpc_service.servicer import SidecarServicer
from http_service.connect import ConnectDoor
from http_service.messages import Request, Response
from tests.grpc_service.test_server import EmptyResponseCache, ScriptedReporter
from tests.wire import test_conformance as wire

PROVENANCE = Provenance(source=Source.MEMORY, state=EntityState.FRESH, age_ms=7)
CHECK = f"/{SERVICE}/GetBooleanEntitlement"
REPORT = f"/{SERVICE}/ReportUsage"
ASKED = {"customerId": "c", "featureId": "f"}
IN_BASE64 = base64.urlsafe_b64encode(json.dumps(ASKED).encode()).decode()
GRANTED = pb.GetBooleanEntitlementResponse(has_access=True)


class ReaderOfAVector:
    """Decides what is asked from what a vector holds, as tests/wire/test_conformance.py does."""

    def __init__(self, vector: wire.Vector) -> None:
        self._vector = vector
        self._rules = parse_fallback_rules(json.dumps(vector.get("fallback", {})))

    def check_held(self, query: Query) -> Answer:
        decision = wire._decide(query, self._vector, rules=self._rules)
        return Answer(decision=decision, provenance=PROVENANCE)

    def list_held(self, key: EntityKey) -> ListAnswer:
        now_ms = wire._now_ms(self._vector)
        entity = wire._known(self._vector, lambda held: needs_recalculation(held, None, now_ms=now_ms))
        if entity is None or not key.customer_id:
            listed = list_by_fallback(rules=self._rules)
        else:
            listed = evaluate_list(entity, now_ms=now_ms)
        return ListAnswer(entitlements=listed, provenance=PROVENANCE)

    async def check(self, query: Query) -> Answer:
        raise AssertionError(query)

    check_later = list_later = check_unasked = list_unasked = check


def servicer_of(vector: wire.Vector) -> SidecarServicer:
    """The methods in front of a vector."""
    return SidecarServicer(
        reader=cast("EntitlementReader", ReaderOfAVector(vector)),
        response_cache=cast("ResponseCache", EmptyResponseCache()),
        usage_reporter=cast("UsageReporter", ScriptedReporter()),
        maintenance=cast("CacheMaintenance", object()),
        new_idempotency_key=lambda: "key",
        sends_provenance=True,
    )


def door_of(vector: wire.Vector) -> ConnectDoor:
    return ConnectDoor(servicer_of(vector).methods())


class Scripted:
    """Two methods that answer as a test says, and remember what they were asked."""

    def __init__(self) -> None:
        self.reply: Reply = (GRANTED.SerializeToString(), (("stigg-source", b"memory"),))
        self.failure: Exception | None = None
        self.calls: list[tuple[bytes, Call]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.door = ConnectDoor(
            [UnaryMethod(path=path, begin=on_loop(self.answer)) for path in (CHECK, REPORT)]
        )

    async def answer(self, request: bytes, call: Call) -> Reply:
        self.calls.append((request, call))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.reply


@pytest.fixture
async def scripted() -> Scripted:
    return Scripted()


def post(body: bytes, path: str = CHECK, content_type: str = "application/json", **headers: str) -> Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", path, b"", {"content-type": content_type, **named}, body)


def get(**parameters: str) -> Request:
    return Request("GET", CHECK, urlencode(parameters).encode(), {})


def error_of(response: Response) -> tuple[int, str]:
    assert "application/json" == response.content_type
    return response.status, json.loads(response.body)["code"]


@pytest.mark.parametrize("vector", wire.VECTORS, ids=[vector["name"] for vector in wire.VECTORS])
async def test_recorded_evaluation(vector: wire.Vector) -> None:
    """JSON in, JSON out: the recorded answer, or the one that the rules give instead."""
    asked = {name: value for name, value in vector["request"].items() if name != "method"}
    path = f"/{SERVICE}/{vector['request']['method']}"

    response = await door_of(vector).answer(post(json.dumps(asked).encode(), path))

    expected = wire._without_defaults(vector.get("expected", vector["recorded"]))
    assert 200 == response.status
    assert expected == wire._without_defaults(json.loads(response.body))


async def test_proto_goes_through_as_it_is(scripted: Scripted) -> None:
    request = ParseDict(ASKED, pb.GetBooleanEntitlementRequest()).SerializeToString()

    response = await scripted.door.answer(post(request, content_type="application/proto"))

    assert Response(200, scripted.reply[0], "application/proto", PROVENANCE_HEADER) == response
    assert request == scripted.calls[0][0]


PROVENANCE_HEADER = ((b"trailer-stigg-source", b"memory"),)


@pytest.mark.parametrize(
    "parameters",
    [
        {"encoding": "json", "message": json.dumps(ASKED)},
        {"encoding": "json", "message": json.dumps(ASKED), "connect": "v1", "unknown": "x"},
        {"encoding": "json", "base64": "1", "message": IN_BASE64},
        {"encoding": "json", "base64": "1", "message": IN_BASE64.rstrip("=")},
    ],
    ids=["text", "version", "padded", "unpadded"],
)
async def test_a_read_may_be_a_get(scripted: Scripted, parameters: dict[str, str]) -> None:
    response = await scripted.door.answer(get(**parameters))

    assert 200 == response.status
    assert {"hasAccess": True} == json.loads(response.body)
    assert pb.GetBooleanEntitlementRequest(customer_id="c", feature_id="f") == (
        pb.GetBooleanEntitlementRequest.FromString(scripted.calls[0][0])
    )


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (post(b"{"), (400, "invalid_argument")),
        (post(b""), (400, "invalid_argument")),
        (post(b'{"customerId": 3}'), (400, "invalid_argument")),
        (post(b'{"customer": "c"}'), (400, "invalid_argument")),
        (post(b'{"customerId": "\\ud800"}'), (400, "invalid_argument")),
        (post(b"[" * 100_000), (400, "invalid_argument")),
        (post(b"\xff"), (400, "invalid_argument")),
        (post(b"{}", connect_protocol_version="2"), (400, "invalid_argument")),
        (post(b"{}", connect_timeout_ms="-1"), (400, "invalid_argument")),
        (post(b"{}", connect_timeout_ms="12345678901"), (400, "invalid_argument")),
        (post(b"{}", content_encoding="gzip"), (501, "unimplemented")),
        (post(b"{}", f"/{SERVICE}/GetNothing"), (501, "unimplemented")),
        (get(encoding="json"), (400, "invalid_argument")),
        (get(encoding="json", message="!", base64="1"), (400, "invalid_argument")),
        (get(encoding="json", message="{}", connect="v2"), (400, "invalid_argument")),
        (Request("GET", REPORT, b"encoding=json&message={}", {}), (405, "unimplemented")),
        (Request("PUT", CHECK, b"", {}), (405, "unimplemented")),
    ],
)
async def test_bad_input_is_one_error(
    scripted: Scripted, request_: Request, expected: tuple[int, str]
) -> None:
    response = await scripted.door.answer(request_)

    assert expected == error_of(response)
    assert [] == scripted.calls


@pytest.mark.parametrize("request_", [post(b"{}", content_type="text/xml"), get(encoding="xml", message="")])
async def test_another_codec_is_415(scripted: Scripted, request_: Request) -> None:
    assert 415 == (await scripted.door.answer(request_)).status


async def test_an_unreadable_proto_is_the_callers_mistake() -> None:
    door = door_of(wire.VECTORS[0])

    with pytest.raises(Exception, match="parsing"):  # outside the interceptors, the error itself
        await door.answer(post(b"\xff", content_type="application/proto"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, (404, "not_found")),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, (429, "resource_exhausted")),
        (grpc.StatusCode.CANCELLED, (499, "canceled")),
        (grpc.StatusCode.UNAVAILABLE, (503, "unavailable")),
    ],
)
async def test_a_status_has_its_http_status(
    scripted: Scripted, code: grpc.StatusCode, expected: tuple[int, str]
) -> None:
    scripted.failure = Refused(PublicStatus(code, "why"))

    response = await scripted.door.answer(post(b"{}"))

    assert expected == error_of(response)
    assert "why" == json.loads(response.body)["message"]


async def test_a_read_ends_with_its_deadline(scripted: Scripted) -> None:
    scripted.gate.clear()

    response = await scripted.door.answer(post(b"{}", connect_timeout_ms="1"))

    assert (504, "deadline_exceeded") == error_of(response)


async def test_a_write_is_given_its_deadline_and_the_callers_ids(scripted: Scripted) -> None:
    scripted.reply = (b"", ())

    await scripted.door.answer(post(b"{}", REPORT, connect_timeout_ms="1500", x_request_id="r-1"))

    call = scripted.calls[0][1]
    assert 1.5 == call.remaining_seconds
    assert ("x-request-id", "r-1") in call.metadata
