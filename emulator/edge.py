"""Edge REST: entitlement states and the SDK configuration, by address."""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

from aiohttp import web

from emulator.cloud import Cloud
from emulator.counters import ReceivedRequest
from emulator.faults import FaultKind, Transport
from emulator.http_answers import answer, headers_of_interest, json_response
from emulator.operations import SDK_CONFIGURATION
from emulator.usage import Json

STATE_OPERATION = "entitlements-state"
CONFIGURATION_OPERATION = "sdk-configuration"
HEALTH_OPERATION = "health"
_HEALTH_PATH = "/health"
_CONFIGURATION_PATH = "/v1/config/server-sdk-configuration.json"
_UNKNOWN_ADDRESS = {"statusCode": 404, "message": "Not Found"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeQuery:
    """What an Edge address asks for."""

    operation: str
    """`entitlements-state`, `sdk-configuration` or `health`."""
    customer_id: str | None = None
    """The customer, decoded exactly once."""
    resource_id: str | None = None
    """The resource, where one is named."""


def parse_address(raw_path: str) -> EdgeQuery | None:
    """Read an address as it came over the wire; None when the Edge does not have it.

    Splitting comes before decoding: `a%2Fb` is the customer `a/b`, and `a/b` is no address at all.
    """
    path, _, query = raw_path.partition("?")
    if path == _CONFIGURATION_PATH:
        return EdgeQuery(operation=CONFIGURATION_OPERATION)
    if path == _HEALTH_PATH:
        return EdgeQuery(operation=HEALTH_OPERATION)
    match path.split("/"):
        case ["", "v1", "c", customer, "entitlements-state.json"] if customer:
            return _state_query(customer, query)
    return None


def _state_query(customer: str, query: str) -> EdgeQuery | None:
    try:
        customer_id = unquote(customer, errors="strict")
        resource_ids = parse_qs(query, errors="strict").get("resourceId", [])
    except UnicodeDecodeError:
        return None
    resource_id = resource_ids[0] if resource_ids else None
    return EdgeQuery(operation=STATE_OPERATION, customer_id=customer_id, resource_id=resource_id)


async def handle_edge(request: web.Request, cloud: Cloud) -> web.StreamResponse:
    """Answer a request to the Edge."""
    asked = parse_address(request.raw_path)
    if asked is None:
        return json_response(_UNKNOWN_ADDRESS, status=web.HTTPNotFound.status_code)
    customer_ids = () if asked.customer_id is None else (asked.customer_id,)
    fault = cloud.faults.take(Transport.EDGE, operation=asked.operation, customer_ids=customer_ids)
    received = ReceivedRequest(
        kind="edge" if asked.operation == STATE_OPERATION else f"edge:{asked.operation}",
        at_ms=cloud.now_ms(),
        raw_path=request.raw_path,
        headers=headers_of_interest(request),
        customer_ids=customer_ids,
    )
    cloud.record(received, fault=fault)
    refused = fault is not None and fault.kind is FaultKind.BAD_KEY

    def work() -> web.Response:
        if asked.operation == HEALTH_OPERATION and not refused:
            return json_response({"status": "ok"})
        if refused or not cloud.accepts_key(request.headers):
            body = {"statusCode": 401, "message": "Unauthorized"}
            return json_response(body, status=web.HTTPUnauthorized.status_code)
        return json_response({"data": _data(cloud, asked)})

    return await answer(request, cloud, Transport.EDGE, fault=fault, work=work)


def _data(cloud: Cloud, asked: EdgeQuery) -> Json:
    if asked.customer_id is None:
        return {"sdkConfiguration": SDK_CONFIGURATION}
    state = cloud.state.get(asked.customer_id, resource_id=asked.resource_id)
    return {"entitlementsState": {"entitlements": _first_version(state)} | state}


def _first_version(state: Json) -> list[Json]:
    """List the features in the form before `entitlementsV2`, which knew one kind of entitlement only."""
    return [
        entitlement | {"__typename": "Entitlement"}
        for entitlement in state["entitlementsV2"] or []
        if isinstance(entitlement, dict) and entitlement.get("__typename") == "FeatureEntitlement"
    ]
