"""GraphQL over HTTP: one POST, one operation, held against the schema."""

import json
from typing import Any

from aiohttp import web

from emulator.cloud import MAX_LOGGED_VARIABLES, Cloud
from emulator.counters import ReceivedRequest
from emulator.faults import FaultKind, Transport
from emulator.http_answers import answer, headers_of_interest, json_response
from emulator.operations import Operations, customers_of
from emulator.schema import BAD_INPUT, check_document, error_json, operation_name, run, subscription_field
from emulator.usage import Json

_BAD_REQUEST = web.HTTPBadRequest.status_code


async def handle_graphql(request: web.Request, cloud: Cloud) -> web.StreamResponse:
    """Answer one GraphQL request."""
    body = _body_of(await request.read())
    operation = operation_name(body.get("query"), body.get("operationName"))
    customer_ids = customers_of(body.get("variables"))
    fault = cloud.faults.take(Transport.GRAPHQL, operation=operation, customer_ids=customer_ids)
    received = ReceivedRequest(
        kind=f"graphql:{operation}",
        at_ms=cloud.now_ms(),
        raw_path=request.raw_path,
        headers=headers_of_interest(request),
        customer_ids=customer_ids,
        variables=_small(body.get("variables")),
    )
    cloud.record(received, fault=fault)
    refused = fault is not None and fault.kind is FaultKind.BAD_KEY

    def work() -> web.Response:
        if refused or not cloud.accepts_key(request.headers):
            return json_response({"errors": [error_json("Unauthenticated", "Unauthenticated")], "data": None})
        return _executed(cloud, body)

    return await answer(request, cloud, Transport.GRAPHQL, fault=fault, work=work)


def _executed(cloud: Cloud, body: Json) -> web.Response:
    query, variables, name = body.get("query"), body.get("variables"), body.get("operationName")
    if (
        not isinstance(query, str)
        or not isinstance(variables, dict | None)
        or not isinstance(name, str | None)
    ):
        return _refused("Body must hold a query, and may hold variables and operationName")
    checked = check_document(query)
    if checked.errors:
        return json_response({"errors": list(checked.errors)}, status=_BAD_REQUEST)
    operation = checked.operation(name)
    if operation is None:
        return _refused("Must provide an operation that the document holds")
    if subscription_field(operation) is not None:
        return _refused("Subscriptions are served over WebSocket")
    return json_response(
        run(checked, root=Operations(cloud.state).root(), variables=variables, operation=name)
    )


def _refused(message: str) -> web.Response:
    return json_response({"errors": [error_json(message, BAD_INPUT)]}, status=_BAD_REQUEST)


def _body_of(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _small(variables: Any) -> Json | None:
    if not isinstance(variables, dict):
        return None
    lists = [inner for value in variables.values() if isinstance(value, dict) for inner in value.values()]
    if any(isinstance(inner, list) and len(inner) > MAX_LOGGED_VARIABLES for inner in lists):
        return None
    return variables
