"""OFREP 0.3 (https://github.com/open-feature/protocol): a flag is a feature, the targeting key its customer.

docs/http.md says how each type maps; what is granted is decided by GetEntitlementV2 and
GetEntitlementsStateV2 alone.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlencode

import grpc
from google.protobuf.message import Message

from entitlements.domain.bounds import INT32_MAX
from entitlements.domain.ports import FallbackRules
from grpc_service.errors import PublicStatus
from grpc_service.generated import sidecar_pb2 as pb
from grpc_service.methods import Call, Refused, UnaryMethod, answered
from grpc_service.reads import SERVICE
from http_service.messages import Request, Response, json_bytes
from http_service.watch import PATH as WATCH_PATH

FLAGS = "/ofrep/v1/evaluate/flags"
UNLIMITED = INT32_MAX
"""The number of what is unlimited: the largest that every client's integer holds."""
RETRY_AFTER_SECONDS = b"1"
_ASPECTS = frozenset({"limit", "usage", "remaining"})
"""What can be asked of a meter instead of the access, after the feature's id and a colon."""
_NOTHING_THERE = frozenset(
    {
        pb.ACCESS_DENIED_REASON_CUSTOMER_NOT_FOUND,
        pb.ACCESS_DENIED_REASON_CUSTOMER_RESOURCE_NOT_FOUND,
        pb.ACCESS_DENIED_REASON_FEATURE_NOT_FOUND,
        pb.ACCESS_DENIED_REASON_NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION,
    }
)
_DENIED = "ACCESS_DENIED_REASON_"
_STALE = "stale"

Value: TypeAlias = bool | int | float | dict[str, list[str]]
Flag: TypeAlias = dict[str, object]


class _Asked(NamedTuple):
    """What the context says."""

    customer_id: str
    resource_id: str | None
    requested_usage: float | None
    requested_values: list[str]


class _Failure(Exception):
    """An evaluation that cannot be made, with the standard's error code."""

    def __init__(self, code: str, details: str, *, status: int = 400) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details
        self.status = status


class OfrepDoor:
    """A `Door`."""

    name = "ofrep"

    def __init__(self, methods: Iterable[UnaryMethod], *, rules: FallbackRules) -> None:
        """Serves nothing yet.

        Args:
            methods: as gRPC serves them, with all that is done around a call.
            rules: what has no fallback of its own is left to the caller's code default.
        """
        by_path = {method.path: method for method in methods}
        self._single = by_path[f"/{SERVICE}/GetEntitlementV2"]
        self._bulk = by_path[f"/{SERVICE}/GetEntitlementsStateV2"]
        self._rules = rules

    def serves(self, path: str) -> bool:
        """True for what is this door's."""
        return path.startswith("/ofrep/")

    async def answer(self, request: Request) -> Response:
        """Evaluates one flag, or all of a customer."""
        key = request.path.removeprefix(f"{FLAGS}/") if request.path.startswith(f"{FLAGS}/") else ""
        if not key and request.path != FLAGS:
            return Response(
                404, json_bytes({"errorDetails": f"OFREP is served at {FLAGS} and {FLAGS}/{{key}}"})
            )
        if request.verb != "POST":
            details = json_bytes({"errorDetails": "the HTTP method must be POST"})
            return Response(405, details, headers=((b"allow", b"POST"),))
        named = {"key": key} if key else {}
        try:
            asked = _asked(request.body)
            return await (self._one(request, asked, key) if key else self._all(request, asked))
        except _Failure as failure:
            error = {**named, "errorCode": failure.code, "errorDetails": failure.details}
            return Response(failure.status, json_bytes(error))
        except Refused as refused:
            return self.refusal(request, refused.status)

    def refusal(self, _: Request, status: PublicStatus) -> Response:
        """The standard's general error."""
        body = json_bytes({"errorCode": "GENERAL", "errorDetails": status.details})
        if status.code is grpc.StatusCode.UNAUTHENTICATED:
            return Response(401, body)
        if status.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Response(429, body, headers=((b"retry-after", RETRY_AFTER_SECONDS),))
        return Response(500, body)

    async def _one(self, request: Request, asked: _Asked, key: str) -> Response:
        feature_id, aspect = _split(key)
        message = pb.GetEntitlementV2Request(
            customer_id=asked.customer_id,
            resource_id=asked.resource_id,
            feature_id=feature_id,
            options=pb.GetEntitlementOptions(
                requested_usage=asked.requested_usage, requested_values=asked.requested_values
            ),
        )
        reply, provenance = await _called(self._single, message, request)
        entitlement = pb.GetEntitlementV2Response.FromString(reply).entitlement
        if entitlement.is_fallback and feature_id not in self._rules.current():
            if entitlement.access_denied_reason in _NOTHING_THERE:
                reason = pb.AccessDeniedReason.Name(entitlement.access_denied_reason).removeprefix(_DENIED)
                raise _Failure("FLAG_NOT_FOUND", f"the customer has no such feature: {reason}", status=404)
            if not entitlement.HasField("access_denied_reason") or (
                entitlement.access_denied_reason == pb.ACCESS_DENIED_REASON_UNKNOWN
            ):  # nothing is known: the caller's code default it is
                return Response(200, json_bytes(_flag(key, None, entitlement, provenance)))
        value = _value(entitlement, aspect, asks_values=bool(asked.requested_values))
        return Response(200, json_bytes(_flag(key, value, entitlement, provenance)))

    async def _all(self, request: Request, asked: _Asked) -> Response:
        message = pb.GetEntitlementsStateV2Request(
            customer_id=asked.customer_id, resource_id=asked.resource_id
        )
        reply, provenance = await _called(self._bulk, message, request)
        age = provenance.pop("age-ms", None)
        provenance.pop("source", None)  # where it came from changes nothing of what it is
        flags = [
            _flag(_feature_id(each), _value(each, "", asks_values=False), each, provenance)
            for each in pb.GetEntitlementsStateV2Response.FromString(reply).entitlements
            if each.WhichOneof("entitlement") not in {None, "credit"}
        ]
        etag = f'"{hashlib.blake2b(json_bytes(flags), digest_size=16).hexdigest()}"'
        headers = ((b"etag", etag.encode()),)
        if etag in {
            each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")
        }:
            return Response(304, headers=headers)
        metadata = {} if age is None else {"metadata": {"ageMs": int(age)}}
        streams = {"eventStreams": [_event_stream(asked)]}
        return Response(200, json_bytes({"flags": flags, **streams, **metadata}), headers=headers)


async def _called(method: UnaryMethod, message: Message, request: Request) -> tuple[bytes, dict[str, str]]:
    """The reply, and its provenance by the names without their prefix."""
    call = Call(None, request.metadata(), request.peer)
    reply, provenance = await answered(method, message.SerializeToString(), call)
    return reply, {name.removeprefix("stigg-"): value.decode() for name, value in provenance}


def _event_stream(asked: _Asked) -> dict[str, object]:
    """Where a provider learns that it must evaluate anew (OFREP's eventStreams), at this very origin."""
    named = {"customer": asked.customer_id, "resource": asked.resource_id}
    query = urlencode({name: text for name, text in named.items() if text is not None})
    return {"type": "sse", "endpoint": {"requestUri": f"{WATCH_PATH}?{query}"}}


def _context(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _Failure("PARSE_ERROR", "the body must be JSON") from None
    context = document.get("context") if isinstance(document, dict) else None
    if not isinstance(context, dict):
        raise _Failure("INVALID_CONTEXT", "context must be an object")
    return context


def _asked(body: bytes) -> _Asked:
    context = _context(body)
    customer_id = context.get("targetingKey")
    if customer_id is None or customer_id == "":
        raise _Failure("TARGETING_KEY_MISSING", "context.targetingKey must be the customer's id")
    usage, values = context.get("requestedUsage"), context.get("requestedValues", [])
    if isinstance(usage, bool) or not isinstance(usage, int | float | None):
        raise _Failure("INVALID_CONTEXT", "context.requestedUsage must be a number")
    if not isinstance(values, list) or not all(_is_text(each) for each in values):
        raise _Failure("INVALID_CONTEXT", "context.requestedValues must be a list of text")
    resource_id = context.get("resourceId")
    for name, text in {"targetingKey": customer_id, "resourceId": resource_id}.items():
        if text is not None and not _is_text(text):
            details = f"context.{name} must be text"
            raise _Failure("INVALID_CONTEXT", details)
    try:
        return _Asked(customer_id, resource_id, None if usage is None else float(usage), values)
    except OverflowError:
        raise _Failure("INVALID_CONTEXT", "context.requestedUsage must be a number of a usual size") from None


def _is_text(value: object) -> bool:
    """True for what protobuf can carry: no half of a surrogate pair."""
    return isinstance(value, str) and not any("\ud800" <= each <= "\udfff" for each in value)


def _split(key: str) -> tuple[str, str]:
    """The feature's id, and what of its meter is asked for."""
    feature_id, _, aspect = key.rpartition(":")
    return (feature_id, aspect) if feature_id and aspect in _ASPECTS else (key, "")


def _feature_id(entitlement: pb.EntitlementV2) -> str:
    arm = getattr(entitlement, entitlement.WhichOneof("entitlement") or "")
    return str(arm.feature.id)


def _value(entitlement: pb.EntitlementV2, aspect: str, *, asks_values: bool) -> Value:
    """What a flag is: access, a number, or values."""
    arm = entitlement.WhichOneof("entitlement")
    if arm == "metered" and aspect:
        return _meter(entitlement.metered)[aspect]
    if arm == "numeric":
        if not entitlement.has_access:
            return 0
        return UNLIMITED if entitlement.numeric.is_unlimited else entitlement.numeric.value
    if arm == "enum" and not asks_values:
        return {"values": list(entitlement.enum.enum_values) if entitlement.has_access else []}
    return entitlement.has_access


def _meter(metered: pb.MeteredEntitlement) -> dict[str, int | float]:
    limit = UNLIMITED if metered.is_unlimited else metered.usage_limit
    remaining = UNLIMITED if metered.is_unlimited else max(metered.usage_limit - metered.current_usage, 0.0)
    numbers = {"limit": limit, "usage": metered.current_usage, "remaining": remaining}
    return {name: int(number) if float(number).is_integer() else number for name, number in numbers.items()}


def _flag(
    key: str, value: Value | None, entitlement: pb.EntitlementV2, provenance: Mapping[str, str]
) -> Flag:
    """One evaluation; without a value it is left to the caller's code default."""
    metadata: dict[str, bool | str | int | float] = {"hasAccess": entitlement.has_access}
    if entitlement.HasField("access_denied_reason"):
        metadata["accessDeniedReason"] = pb.AccessDeniedReason.Name(
            entitlement.access_denied_reason
        ).removeprefix(_DENIED)
    if entitlement.WhichOneof("entitlement") == "metered":
        metadata |= _meter(entitlement.metered)
        metadata |= {
            "isUnlimited": entitlement.metered.is_unlimited,
            "hasSoftLimit": entitlement.metered.has_soft_limit,
        }
    if entitlement.WhichOneof("entitlement") == "numeric":
        metadata["isUnlimited"] = entitlement.numeric.is_unlimited
    metadata |= _provenance(provenance)
    if entitlement.is_fallback:
        reason = "DEFAULT"
    else:
        reason = "STALE" if provenance.get("state") == _STALE else "TARGETING_MATCH"
    flag: Flag = {"key": key, "reason": reason, "variant": "granted" if entitlement.has_access else "denied"}
    return (flag if value is None else {**flag, "value": value}) | {"metadata": metadata}


def _provenance(provenance: Mapping[str, str]) -> dict[str, str | int]:
    names = {name: value for name, value in provenance.items() if name in {"source", "state"}}
    return {**names, "ageMs": int(provenance["age-ms"])} if "age-ms" in provenance else dict(names)
