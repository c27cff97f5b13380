"""Requests that only look right: each is answered, by the standard's own form, and never as our defect."""

import json
from typing import Any, cast

import pytest
from hypothesis import given

from entitlements.domain.ports import FallbackRules
from grpc_service.reads import SERVICE
from http_service.messages import Door, Request, Response
from http_service.ofrep import FLAGS, OfrepDoor
from tests.chaos.hostile import spoiled_text, tries
from tests.http_service.test_connect import REPORT as REPORT_PATH
from tests.http_service.test_connect import Scripted, door_of, post, servicer_of
from tests.http_service.test_ofrep import Rules
from tests.wire import test_conformance as wire

CHECK = {
    "customerId": "c",
    "featureId": "f",
    "resourceId": "r",
    "options": {"requestedUsage": 1.5, "fallback": {"hasAccess": True, "usageLimit": 3}},
}
REPORT = {
    "customerId": "c",
    "featureId": "f",
    "value": 1.0,
    "updateBehavior": "USAGE_UPDATE_BEHAVIOR_SET",
    "createdAt": "2026-01-01T00:00:00Z",
    "dimensions": {"a": "b"},
}
EVALUATION = {
    "context": {"targetingKey": "c", "resourceId": "r", "requestedUsage": 2, "requestedValues": ["a"]}
}
ASKED_AT_MOST = 599


async def answered(door: Door, request: Request) -> tuple[int, Any]:
    response: Response = await door.answer(request)
    assert 200 <= response.status < ASKED_AT_MOST
    return response.status, json.loads(response.body)


@tries(150)
@given(body=spoiled_text(CHECK))
async def test_checks_by_connect(body: bytes) -> None:
    status, answer = await answered(door_of(wire.VECTORS[0]), post(body, f"/{SERVICE}/GetMeteredEntitlement"))

    assert 200 == status or (400, "invalid_argument") == (status, answer["code"])


@tries(150)
@given(body=spoiled_text(REPORT))
async def test_reports_by_connect(body: bytes) -> None:
    """What can be read of it goes on; who is reported to decides the rest."""
    scripted = Scripted()
    status, answer = await answered(scripted.door, post(body, REPORT_PATH))

    assert (len(scripted.calls) == 1) is (status == 200)
    assert status == 200 or "invalid_argument" == answer["code"]


@pytest.mark.parametrize("path", [f"{FLAGS}/f", FLAGS])
@tries(150)
@given(body=spoiled_text(EVALUATION))
async def test_evaluations_by_ofrep(path: str, body: bytes) -> None:
    door = OfrepDoor(servicer_of(wire.VECTORS[0]).methods(), rules=cast("FallbackRules", Rules()))
    status, answer = await answered(door, Request("POST", path, b"", {}, body))

    assert status in {200, 400, 404}
    assert ("errorCode" in answer) is (status != 200)
