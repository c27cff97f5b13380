"""The recorded evaluations, run in process: cloud's JSON → domain → decision → message.

Only the network is left out: a state is parsed, merged, decided and translated by the code that serves.
What each key of a vector means stands in conformance/README.md.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from entitlements.config.fallback_rules import parse_fallback_rules
from entitlements.domain.cached_entity import CachedEntity, merge_cached
from entitlements.domain.decision import Decision, Query, invalid_field
from entitlements.domain.entity import Entity
from entitlements.domain.evaluation import (
    decide_by_fallback,
    evaluate,
    evaluate_list,
    list_by_fallback,
    needs_recalculation,
)
from entitlements.domain.fallback import FallbackValue
from entitlements.upstream.json_values import JsonObject
from entitlements.upstream.payloads import entity_from_state
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.translation import requests, responses

VECTORS_FILE = Path(__file__).parent / "conformance/evaluation.json"
ANY_TIME = "2026-06-15T12:00:00.000Z"
"""The clock of a vector to which the time does not matter."""


class Vector(TypedDict):
    """One recorded evaluation."""

    name: str
    upstream: str
    request: dict[str, object]
    recorded: JsonObject
    expected: NotRequired[JsonObject]
    state: NotRequired[JsonObject]
    prior_state: NotRequired[JsonObject]
    now: NotRequired[str]
    prior_now: NotRequired[str]
    fallback: NotRequired[JsonObject]


VECTORS: list[Vector] = json.loads(VECTORS_FILE.read_text())


def _boolean(request: dict[str, object], decide: Callable[[Query], Decision]) -> Message:
    query = requests.boolean_query(ParseDict(request, pb.GetBooleanEntitlementRequest()))
    return responses.boolean_response(decide(query))


def _numeric(request: dict[str, object], decide: Callable[[Query], Decision]) -> Message:
    query = requests.numeric_query(ParseDict(request, pb.GetNumericEntitlementRequest()))
    return responses.numeric_response(decide(query))


def _metered(request: dict[str, object], decide: Callable[[Query], Decision]) -> Message:
    query = requests.metered_query(ParseDict(request, pb.GetMeteredEntitlementRequest()))
    return responses.metered_response(decide(query), query)


def _enum(request: dict[str, object], decide: Callable[[Query], Decision]) -> Message:
    query = requests.enum_query(ParseDict(request, pb.GetEnumEntitlementRequest()))
    return responses.enum_response(decide(query), query)


def _generic(request: dict[str, object], decide: Callable[[Query], Decision]) -> Message:
    query = requests.generic_query(ParseDict(request, pb.GetEntitlementRequest()))
    return responses.generic_response(decide(query))


CHECKS = {
    "GetBooleanEntitlement": _boolean,
    "GetNumericEntitlement": _numeric,
    "GetMeteredEntitlement": _metered,
    "GetEnumEntitlement": _enum,
    "GetEntitlement": _generic,
}


def _answer(vector: Vector) -> Message:
    """What this service answers to a vector's request."""
    rules = parse_fallback_rules(json.dumps(vector.get("fallback", {})))
    request = {name: value for name, value in vector["request"].items() if name != "method"}
    method = vector["request"]["method"]
    if method == "GetEntitlements":
        return _list(request, vector, rules=rules)
    return CHECKS[str(method)](request, lambda query: _decide(query, vector, rules=rules))


def _decide(query: Query, vector: Vector, *, rules: Mapping[str, FallbackValue]) -> Decision:
    now_ms = _now_ms(vector)
    entity = _known(vector, lambda held: needs_recalculation(held, query, now_ms=now_ms))
    if entity is None or invalid_field(query) is not None:
        return decide_by_fallback(query, rules=rules)
    return evaluate(entity, query, rules=rules, now_ms=now_ms)


def _list(request: dict[str, object], vector: Vector, *, rules: Mapping[str, FallbackValue]) -> Message:
    now_ms = _now_ms(vector)
    key = requests.entity_key(ParseDict(request, pb.GetEntitlementsRequest()))
    entity = _known(vector, lambda held: needs_recalculation(held, None, now_ms=now_ms))
    if entity is None or not key.customer_id:
        return responses.list_response(list_by_fallback(rules=rules))
    return responses.list_response(evaluate_list(entity, now_ms=now_ms))


def _known(vector: Vector, is_expired: Callable[[Entity], bool]) -> Entity | None:
    """What is cached, unless it must be recalculated and the cloud answers; None when nothing is known."""
    held = None
    if "prior_state" in vector:
        prior = entity_from_state(vector["prior_state"], now_ms=_ms(vector["prior_now"]))
        held = CachedEntity(entity=prior, confirmed_at=0.0)
    if held is not None and not is_expired(held.entity):
        return held.entity
    if vector["upstream"] != "ok":
        return None if held is None else held.entity
    fetched = entity_from_state(vector["state"], now_ms=_now_ms(vector))
    return merge_cached(held, CachedEntity(entity=fetched, confirmed_at=1.0)).entity


def _now_ms(vector: Vector) -> int:
    return _ms(vector.get("now", ANY_TIME))


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _without_defaults(value: object) -> object:
    """Proto JSON with unset and default fields left out; an entry of a list stays, also an empty one."""
    if isinstance(value, list):
        return [_without_defaults(each) for each in value]
    if not isinstance(value, dict):
        return value
    fields = {name: _without_defaults(each) for name, each in value.items()}
    return {name: each for name, each in fields.items() if not _is_default(each)}


def _is_default(value: object) -> bool:
    return value in (False, 0, "", [], {}) or (isinstance(value, str) and value.endswith("_UNSPECIFIED"))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_recorded_evaluation(vector: Vector) -> None:
    """The answer is the recorded one, or the one that the rules give instead."""
    expected = vector.get("expected", vector["recorded"])

    answer = MessageToDict(_answer(vector))

    assert _without_defaults(expected) == _without_defaults(answer)


def test_every_vector_has_a_name_of_its_own() -> None:
    """A name says which of the 282 failed."""
    assert 282 == len(VECTORS)
    assert 282 == len({vector["name"] for vector in VECTORS})
