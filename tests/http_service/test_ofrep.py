"""OFREP: every recorded evaluation has the access that gRPC answers, and each rule of the standard once."""

import json
from typing import Any, cast

import grpc
import pytest

from entitlements.domain.ports import FallbackRules
from grpc_service.errors import PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Refused, Reply, UnaryMethod, answered, on_loop
from grpc_service.reads import SERVICE
from http_service.messages import Request, Response
from http_service.ofrep import FLAGS, UNLIMITED, OfrepDoor
from tests.http_service.test_connect import servicer_of
from tests.wire import test_conformance as wire

GENERIC = [vector for vector in wire.VECTORS if vector["request"]["method"] == "GetEntitlement"]


class Rules:
    """Fallbacks of the features named."""

    def __init__(self, *feature_ids: str) -> None:
        self._rules = dict.fromkeys(feature_ids)

    def current(self) -> Any:
        return self._rules


class Scripted:
    """Answers as a test says, and remembers what was asked."""

    def __init__(self) -> None:
        self.reply: Reply = (b"", ())
        self.failure: Exception | None = None
        self.asked: list[bytes] = []

    async def answer(self, request: bytes, _: Call) -> Reply:
        self.asked.append(request)
        if self.failure is not None:
            raise self.failure
        return self.reply

    def door(self, *with_fallback: str) -> OfrepDoor:
        methods = ("GetEntitlementV2", "GetEntitlementsStateV2")
        return OfrepDoor(
            [UnaryMethod(path=f"/{SERVICE}/{name}", begin=on_loop(self.answer)) for name in methods],
            rules=cast("FallbackRules", Rules(*with_fallback)),
        )

    def decided(self, *, state: str = "fresh", **fields: Any) -> None:
        entitlement = pb.EntitlementV2(**fields)
        provenance = (("stigg-source", b"memory"), ("stigg-state", state.encode()), ("stigg-age-ms", b"7"))
        self.reply = (pb.GetEntitlementV2Response(entitlement=entitlement).SerializeToString(), provenance)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def evaluate(key: str = "f", *, headers: dict[str, str] | None = None, **context: Any) -> Request:
    path = f"{FLAGS}/{key}" if key else FLAGS
    body = json.dumps({"context": {"targetingKey": "c", **context}}).encode()
    return Request("POST", path, b"", headers or {}, body)


def said(response: Response) -> tuple[int, Any]:
    return response.status, json.loads(response.body)


@pytest.mark.parametrize("vector", GENERIC, ids=[vector["name"] for vector in GENERIC])
async def test_recorded_evaluation(vector: wire.Vector) -> None:
    """The access and the reason of a denial are those of GetEntitlement; what is left out is not there."""
    expected = cast("dict[str, Any]", vector.get("expected", vector["recorded"]))
    asked = cast("dict[str, Any]", vector["request"])
    options = asked.get("options", {})
    given = {
        "resourceId": asked.get("resource_id"),
        "requestedUsage": options.get("requestedUsage"),
        "requestedValues": options.get("requestedValues", []),
    }
    if "fallback" in options or not asked.get("customer_id") or not asked.get("feature_id"):
        pytest.skip("OFREP has no fallback in a call, and no empty ids")
    door = OfrepDoor(
        servicer_of(vector).methods(), rules=cast("FallbackRules", Rules(*vector.get("fallback", {})))
    )

    status, answer = said(
        await door.answer(evaluate(asked["feature_id"], **(given | {"targetingKey": asked["customer_id"]})))
    )

    if status == 404:
        assert expected.get("isFallback") is True
        assert expected.get("hasAccess", False) is False
        return
    assert 200 == status
    assert expected.get("hasAccess", False) == answer["metadata"]["hasAccess"]
    assert expected.get("isFallback", False) is (answer["reason"] == "DEFAULT")


CHECKED = [
    vector
    for vector in wire.VECTORS
    if all(cast("dict[str, Any]", vector["request"]).get(name) for name in ("customer_id", "feature_id"))
]


@pytest.mark.parametrize("vector", CHECKED, ids=[vector["name"] for vector in CHECKED])
async def test_every_recorded_check_is_evaluated_as_v2_answers_it(vector: wire.Vector) -> None:
    """Whatever method it was recorded of: one question, asked by gRPC's GetEntitlementV2 and by OFREP."""
    asked = cast("dict[str, Any]", vector["request"])
    options = asked.get("options", {})
    methods = {each.path: each for each in servicer_of(vector).methods()}
    message = pb.GetEntitlementV2Request(
        customer_id=asked["customer_id"],
        resource_id=asked.get("resource_id"),
        feature_id=asked["feature_id"],
        options=pb.GetEntitlementOptions(
            requested_usage=options.get("requestedUsage"),
            requested_values=options.get("requestedValues", []),
        ),
    )
    method = methods[f"/{SERVICE}/GetEntitlementV2"]
    reply, _ = await answered(method, message.SerializeToString(), Call(None, (), "peer"))
    v2 = pb.GetEntitlementV2Response.FromString(reply).entitlement
    rules = cast("FallbackRules", Rules(*vector.get("fallback", {})))
    given = {
        "targetingKey": asked["customer_id"],
        "resourceId": asked.get("resource_id"),
        "requestedUsage": options.get("requestedUsage"),
        "requestedValues": options.get("requestedValues", []),
    }

    status, answer = said(
        await OfrepDoor(methods.values(), rules=rules).answer(evaluate(asked["feature_id"], **given))
    )

    shown = {
        "has_access": answer.get("metadata", {}).get("hasAccess", False),
        "is_fallback": status == 404 or answer["reason"] == "DEFAULT",
        "reason": answer.get("metadata", {}).get("accessDeniedReason"),
    }
    reason = pb.AccessDeniedReason.Name(v2.access_denied_reason).removeprefix("ACCESS_DENIED_REASON_")
    expected = {
        "has_access": v2.has_access,
        "is_fallback": v2.is_fallback,
        "reason": reason if status == 200 and v2.HasField("access_denied_reason") else None,
    }
    assert expected == shown


LISTED = [vector for vector in wire.VECTORS if vector["request"]["method"] == "GetEntitlements"]


@pytest.mark.parametrize("vector", LISTED, ids=[vector["name"] for vector in LISTED])
async def test_every_recorded_list_is_evaluated_as_v2_lists_it(vector: wire.Vector) -> None:
    asked = cast("dict[str, Any]", vector["request"])
    if not asked.get("customer_id"):
        pytest.skip("OFREP has no empty ids")
    methods = {each.path: each for each in servicer_of(vector).methods()}
    message = pb.GetEntitlementsStateV2Request(
        customer_id=asked["customer_id"], resource_id=asked.get("resource_id")
    )
    method = methods[f"/{SERVICE}/GetEntitlementsStateV2"]
    reply, _ = await answered(method, message.SerializeToString(), Call(None, (), "peer"))
    listed = pb.GetEntitlementsStateV2Response.FromString(reply).entitlements
    door = OfrepDoor(methods.values(), rules=cast("FallbackRules", Rules()))

    request = evaluate("", targetingKey=asked["customer_id"], resourceId=asked.get("resource_id"))
    _, answer = said(await door.answer(request))

    assert [
        (getattr(each, each.WhichOneof("entitlement") or "").feature.id, each.has_access)
        for each in listed
        if each.WhichOneof("entitlement") not in {None, "credit"}
    ] == [(flag["key"], flag["metadata"]["hasAccess"]) for flag in answer["flags"]]


FEATURE = pb.EntitlementFeature(id="f")
METERED = pb.MeteredEntitlement(feature=FEATURE, usage_limit=10, current_usage=2.5)


@pytest.mark.parametrize(
    ("key", "context", "fields", "value"),
    [
        ("f", {}, {"has_access": True, "boolean": pb.BooleanEntitlement(feature=FEATURE)}, True),
        ("f", {}, {"has_access": True, "numeric": pb.NumericEntitlement(feature=FEATURE, value=25)}, 25),
        ("f", {}, {"has_access": False, "numeric": pb.NumericEntitlement(feature=FEATURE, value=25)}, 0),
        ("f", {}, {"has_access": True, "numeric": pb.NumericEntitlement(is_unlimited=True)}, UNLIMITED),
        ("f", {}, {"has_access": True, "enum": pb.EnumEntitlement(enum_values=["a"])}, {"values": ["a"]}),
        ("f", {}, {"has_access": False, "enum": pb.EnumEntitlement(enum_values=["a"])}, {"values": []}),
        ("f", {"requestedValues": ["b"]}, {"enum": pb.EnumEntitlement(enum_values=["a"])}, False),
        ("f", {}, {"has_access": True, "metered": METERED}, True),
        ("f:limit", {}, {"has_access": True, "metered": METERED}, 10),
        ("f:usage", {}, {"has_access": True, "metered": METERED}, 2.5),
        ("f:remaining", {}, {"has_access": True, "metered": METERED}, 7.5),
    ],
)
async def test_a_type_has_its_value(
    scripted: Scripted, key: str, context: dict[str, Any], fields: dict[str, Any], value: object
) -> None:
    scripted.decided(**fields)

    status, answer = said(await scripted.door().answer(evaluate(key, **context)))

    assert 200 == status
    assert key == answer["key"]
    assert value == answer["value"]
    assert "TARGETING_MATCH" == answer["reason"]
    assert type(value) is type(answer["value"])  # True is no 1, and 10 no 10.0
    assert "f" == pb.GetEntitlementV2Request.FromString(scripted.asked[0]).feature_id


async def test_metadata_holds_the_meter_the_denial_and_where_it_came_from(scripted: Scripted) -> None:
    reason = pb.ACCESS_DENIED_REASON_REQUESTED_USAGE_EXCEEDING_LIMIT
    scripted.decided(state="stale", access_denied_reason=reason, metered=METERED)

    _, answer = said(await scripted.door().answer(evaluate(requestedUsage=9, resourceId="r")))

    assert {
        "key": "f",
        "value": False,
        "variant": "denied",
        "reason": "STALE",
        "metadata": {
            "hasAccess": False,
            "accessDeniedReason": "REQUESTED_USAGE_EXCEEDING_LIMIT",
            "limit": 10,
            "usage": 2.5,
            "remaining": 7.5,
            "isUnlimited": False,
            "hasSoftLimit": False,
            "source": "memory",
            "state": "stale",
            "ageMs": 7,
        },
    } == answer
    asked = pb.GetEntitlementV2Request.FromString(scripted.asked[0])
    assert "c" == asked.customer_id
    assert "r" == asked.resource_id
    assert 9 == asked.options.requested_usage


async def test_a_feature_that_the_customer_has_not_is_not_found(scripted: Scripted) -> None:
    reason = pb.ACCESS_DENIED_REASON_NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION
    scripted.decided(is_fallback=True, access_denied_reason=reason)

    status, answer = said(await scripted.door().answer(evaluate()))

    assert 404 == status
    assert "f" == answer["key"]
    assert "FLAG_NOT_FOUND" == answer["errorCode"]


@pytest.mark.parametrize(("with_fallback", "has_value"), [((), False), (("f",), True)])
async def test_nothing_known_is_left_to_the_code_default_unless_a_fallback_is_configured(
    scripted: Scripted, with_fallback: tuple[str, ...], *, has_value: bool
) -> None:
    scripted.decided(is_fallback=True, access_denied_reason=pb.ACCESS_DENIED_REASON_UNKNOWN)

    status, answer = said(await scripted.door(*with_fallback).answer(evaluate()))

    assert 200 == status
    assert "DEFAULT" == answer["reason"]
    assert has_value == ("value" in answer)


async def test_a_denied_customer_is_denied_and_not_left_to_the_code_default(scripted: Scripted) -> None:
    reason = pb.ACCESS_DENIED_REASON_CUSTOMER_IS_ARCHIVED
    scripted.decided(is_fallback=True, access_denied_reason=reason, boolean=pb.BooleanEntitlement())

    status, answer = said(await scripted.door().answer(evaluate()))

    assert 200 == status
    assert answer["value"] is False
    assert "CUSTOMER_IS_ARCHIVED" == answer["metadata"]["accessDeniedReason"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[" * 100_000, "PARSE_ERROR"),
        (b"[]", "INVALID_CONTEXT"),
        (b'{"context": 3}', "INVALID_CONTEXT"),
        (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": 3}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "\\ud800"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "c", "requestedUsage": "5"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "c", "requestedUsage": true}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "c", "requestedUsage": 1' + b"0" * 400 + b"}}", "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "c", "requestedValues": "a"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "c", "resourceId": []}}', "INVALID_CONTEXT"),
    ],
)
@pytest.mark.parametrize("path", [FLAGS, f"{FLAGS}/f"])
async def test_bad_input_is_one_error(scripted: Scripted, path: str, body: bytes, code: str) -> None:
    status, answer = said(await scripted.door().answer(Request("POST", path, b"", {}, body)))

    assert 400 == status
    assert code == answer["errorCode"]
    assert answer["errorDetails"]
    assert (path == FLAGS) is ("key" not in answer)
    assert [] == scripted.asked


@pytest.mark.parametrize(
    ("code", "status"),
    [(grpc.StatusCode.RESOURCE_EXHAUSTED, 429), (grpc.StatusCode.INTERNAL, 500)],
)
async def test_a_refused_call_has_the_standards_status(
    scripted: Scripted, code: grpc.StatusCode, status: int
) -> None:
    scripted.failure = Refused(PublicStatus(code, "why"))

    answer = await scripted.door().answer(evaluate())

    assert status == answer.status
    assert "why" == json.loads(answer.body)["errorDetails"]
    assert (status == 429) is (b"retry-after" in dict(answer.headers))


async def test_all_flags_have_an_etag_that_age_does_not_change(scripted: Scripted) -> None:
    listed = pb.GetEntitlementsStateV2Response(
        entitlements=[
            pb.EntitlementV2(has_access=True, boolean=pb.BooleanEntitlement(feature=FEATURE)),
            pb.EntitlementV2(has_access=True, credit=pb.CreditEntitlement()),
        ]
    )
    scripted.reply = (listed.SerializeToString(), (("stigg-state", b"fresh"), ("stigg-age-ms", b"1")))
    first = await scripted.door().answer(evaluate(""))
    scripted.reply = (listed.SerializeToString(), (("stigg-state", b"fresh"), ("stigg-age-ms", b"2")))
    etag = dict(first.headers)[b"etag"].decode()

    again = await scripted.door().answer(evaluate("", headers={"if-none-match": f'"x", W/{etag}'}))
    listed.entitlements[0].has_access = False
    scripted.reply = (listed.SerializeToString(), ())
    changed = await scripted.door().answer(evaluate("", headers={"if-none-match": etag}))

    assert 200 == first.status
    assert [("f", True)] == [(flag["key"], flag["value"]) for flag in json.loads(first.body)["flags"]]
    assert {"ageMs": 1} == json.loads(first.body)["metadata"]
    assert [{"type": "sse", "endpoint": {"requestUri": "/v1/watch?customer=c"}}] == json.loads(first.body)[
        "eventStreams"
    ]
    assert 304 == again.status
    assert b"" == again.body
    assert 200 == changed.status


@pytest.mark.parametrize(("verb", "path", "status"), [("GET", FLAGS, 405), ("POST", "/ofrep/v1/x", 404)])
async def test_what_is_not_served(scripted: Scripted, verb: str, path: str, status: int) -> None:
    assert status == (await scripted.door().answer(Request(verb, path, b"", {}))).status
