"""docs/openapi.json is a valid description, and what is answered is as it says."""

import json
from functools import cache
from typing import Any, cast

import grpc
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from docs.openapi import PAGE, document, page
from entitlements.domain.ports import FallbackRules
from entitlements.service.change_notifier import ChangeNotifier
from grpc_service.errors import PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.reads import SERVICE
from http_service.connect import ConnectDoor
from http_service.messages import Door, Request
from http_service.ofrep import FLAGS, OfrepDoor
from http_service.watch import WatchDoor
from tests.http_service.test_connect import door_of, post, servicer_of
from tests.http_service.test_ofrep import GENERIC, METERED, Rules, Scripted, evaluate
from tests.wire import test_conformance as wire

OK = 200


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@cache
def validator(name: str) -> Draft202012Validator:
    """What holds a value against a schema of the description."""
    registry: Registry[Any] = Registry().with_resource(
        "urn:it", Resource.from_contents(document(), default_specification=DRAFT202012)
    )
    return Draft202012Validator({"$ref": f"urn:it#/components/schemas/{name}"}, registry=registry)


def problems(name: str, value: object) -> list[str]:
    return [error.message for error in validator(name).iter_errors(value)]


def test_the_description_is_valid_openapi() -> None:
    validate(cast("Any", document()))


def test_the_file_is_up_to_date() -> None:
    assert page() == PAGE.read_text()


async def test_every_recorded_answer_of_connect_is_as_described() -> None:
    for vector in wire.VECTORS:
        method = vector["request"]["method"]
        asked = {name: value for name, value in vector["request"].items() if name != "method"}
        response = await door_of(vector).answer(post(json.dumps(asked).encode(), f"/{SERVICE}/{method}"))

        wrong = problems(f"stigg.sidecar.v1.{method}Response", json.loads(response.body))
        assert [] == wrong, vector["name"]


async def test_every_recorded_evaluation_of_ofrep_is_as_described() -> None:
    for vector in GENERIC:
        asked = cast("dict[str, Any]", vector["request"])
        door = OfrepDoor(servicer_of(vector).methods(), rules=cast("FallbackRules", Rules()))
        response = await door.answer(
            evaluate(asked.get("feature_id") or "f", targetingKey=asked.get("customer_id") or "c")
        )

        name = "ofrep.Flag" if response.status == OK else "ofrep.Failure"
        assert [] == problems(name, json.loads(response.body)), vector["name"]


async def test_all_flags_of_a_customer_are_as_described(scripted: Scripted) -> None:
    listed = pb.GetEntitlementsStateV2Response(
        entitlements=[pb.EntitlementV2(has_access=True, metered=METERED)]
    )
    scripted.reply = (listed.SerializeToString(), (("stigg-age-ms", b"1"),))
    response = await scripted.door().answer(evaluate("", resourceId="r"))

    assert [] == problems("ofrep.Flags", json.loads(response.body))


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"context": {}}', b'{"context": {"targetingKey": 1}}'])
async def test_what_ofrep_refuses_is_as_described(scripted: Scripted, body: bytes) -> None:
    response = await scripted.door().answer(Request("POST", f"{FLAGS}/f", b"", {}, body))

    assert [] == problems("ofrep.Failure", json.loads(response.body))


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:])
async def test_what_connect_refuses_is_as_described(code: grpc.StatusCode) -> None:
    door = ConnectDoor([])
    response = door.refusal(post(b"{}"), PublicStatus(code, "no"))

    assert [] == problems("connect.Error", json.loads(response.body))


def test_a_schema_refuses_what_is_not_described() -> None:
    """Otherwise the tests above would show nothing."""
    name = "stigg.sidecar.v1.GetBooleanEntitlementResponse"

    assert problems(name, {"hasAccess": "yes"})
    assert problems(name, {"has_access": True})
    assert problems("ofrep.Flag", {"key": "f"})
    assert problems("connect.Error", {"code": "cancelled"})


def test_every_path_is_served() -> None:
    methods = servicer_of(wire.VECTORS[0]).methods()
    doors: list[Door] = [
        ConnectDoor(methods),
        OfrepDoor(methods, rules=cast("FallbackRules", Rules())),
        WatchDoor(ChangeNotifier()),
    ]
    served = {path: [door.name for door in doors if door.serves(path)] for path in document()["paths"]}

    assert [] == [path for path, names in served.items() if len(names) != 1]
    assert len(methods) == len([path for path, names in served.items() if names == ["connect"]])
