"""The control API under /control/: what other processes use instead of the Python objects.

JSON in, JSON out, no key asked: the emulator listens on the laptop.

| request | what it does |
|---|---|
| GET /control/customers | who is known |
| GET /control/state?customerId=C[&resourceId=R] | the raw state |
| PUT /control/state `{customerId, resourceId?, state, push?, unchecked?}` | replaces it |
| DELETE /control/state `{customerId, resourceId?, push?}` | forgets it |
| POST /control/usage `{customerId, resourceId?, entitlementId, currentUsage, push?}` | sets a usage |
| POST /control/usages `{customerId, resourceId?, entitlementId, values}` | the same, value after value |
| PUT /control/api-keys `{keys}` | the keys that are accepted from now on |
| POST /control/publish `{migrationType?, packageId?}` | publishes a package |
| POST /control/feed `{field, payload}` | pushes any payload |
| POST /control/feed/drop, /control/feed/silence | cuts all sockets; makes them half-open |
| POST /control/feed/close `{code, reason?}` | closes all sockets |
| POST /control/feed/raw `{text}` | sends all sockets a frame, protocol or not |
| PUT, POST /control/faults `{transport, kind, …}` | sets the only fault of a transport; adds one |
| GET, DELETE /control/faults[?transport=T] | lists all; clears those of one transport or of all |
| GET /control/counters, /requests, /reports, /events, /keys, /feed | what was received, who listens |
| POST /control/reset | state, faults, counters and ledger back to the start |
"""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from emulator.cloud import Cloud
from emulator.faults import Transport
from emulator.http_answers import json_response
from emulator.state_check import check_state
from emulator.usage import Json, RefusedError, Scope

PREFIX = "/control/"
_BAD_REQUEST = web.HTTPBadRequest.status_code
_NOT_FOUND = web.HTTPNotFound.status_code

Act = Callable[[Cloud, Json], Any]


async def handle_control(request: web.Request, cloud: Cloud) -> web.Response:
    """Obey one control request; query parameters and the JSON body make one set of arguments."""
    act = ACTS.get((request.method, request.path.removeprefix(PREFIX).rstrip("/")))
    if act is None:
        return json_response({"error": "no such control", "known": _known()}, status=_NOT_FOUND)
    try:
        body = json.loads(await request.read() or b"{}")
        if not isinstance(body, dict):
            return json_response({"error": "the body must be a JSON object"}, status=_BAD_REQUEST)
        result = act(cloud, dict(request.query) | body)
    except RefusedError as exc:
        return json_response({"error": exc.message, "code": exc.code}, status=_BAD_REQUEST)
    except KeyError as exc:
        return json_response({"error": f"{exc.args[0]} is missing"}, status=_BAD_REQUEST)
    except (TypeError, ValueError) as exc:  # UnfitFaultError and unreadable JSON among them
        return json_response({"error": str(exc)}, status=_BAD_REQUEST)
    return json_response({"ok": True} if result is None else result)


def _known() -> list[str]:
    return [f"{method} {PREFIX}{path}" for method, path in ACTS]


def _customers(cloud: Cloud, _asked: Json) -> Any:
    return [{"customerId": customer, "resourceId": resource} for customer, resource in cloud.state.scopes()]


def _get_state(cloud: Cloud, asked: Json) -> Any:
    return cloud.state.get(asked["customerId"], resource_id=asked.get("resourceId"))


def _put_state(cloud: Cloud, asked: Json) -> None:
    state = asked["state"]
    if not asked.get("unchecked", False):
        check_state(state)
    customer_id, resource_id = _scope(asked)
    cloud.state.put(customer_id, state, resource_id=resource_id, push=asked.get("push", True))


def _delete_state(cloud: Cloud, asked: Json) -> None:
    customer_id, resource_id = _scope(asked)
    cloud.state.delete(customer_id, resource_id=resource_id, push=asked.get("push", True))


def _set_usage(cloud: Cloud, asked: Json) -> None:
    current_usage = asked["currentUsage"]
    if isinstance(current_usage, bool) or not isinstance(current_usage, int | float):
        message = "currentUsage must be a number"
        raise RefusedError("BadUserInput", message)
    customer_id, resource_id = _scope(asked)
    entitlement_id, push = _id(asked, "entitlementId"), asked.get("push", True)
    cloud.state.set_usage(customer_id, entitlement_id, current_usage, resource_id=resource_id, push=push)


def _set_usages(cloud: Cloud, asked: Json) -> None:
    for value in asked["values"]:
        _set_usage(cloud, {**asked, "currentUsage": value})


def _set_api_keys(cloud: Cloud, asked: Json) -> None:
    keys = {str(key) for key in asked["keys"]}
    cloud.api_keys.clear()
    cloud.api_keys.update(keys)


def _scope(asked: Json) -> Scope:
    """Whose state is meant."""
    resource_id = None if asked.get("resourceId") is None else _id(asked, "resourceId")
    return _id(asked, "customerId"), resource_id


def _id(asked: Json, name: str) -> str:
    value = asked[name]
    if not isinstance(value, str) or not value:
        message = f"{name} must be a string that is not empty"
        raise RefusedError("BadUserInput", message)
    return value


def _publish(cloud: Cloud, asked: Json) -> None:
    migration_type = asked.get("migrationType", "ALL_CUSTOMERS")
    cloud.state.publish_package(migration_type=migration_type, package_id=asked.get("packageId", "plan-demo"))


def _push_raw(cloud: Cloud, asked: Json) -> None:
    cloud.state.push_raw(asked["field"], asked["payload"])


def _close_feed(cloud: Cloud, asked: Json) -> Any:
    return {"sockets": cloud.feed.close(asked["code"], asked.get("reason", ""))}


def _feed(cloud: Cloud, _asked: Json) -> Any:
    return {"connections": cloud.feed.connections, "subscriptions": cloud.feed.subscriptions()}


def _faults(cloud: Cloud, _asked: Json) -> Any:
    return {way: [asdict(fault) for fault in cloud.faults.active(way)] for way in Transport}


def _set_fault(cloud: Cloud, asked: Json) -> Any:
    return asdict(cloud.faults.set(asked.pop("transport"), asked.pop("kind"), **asked))


def _add_fault(cloud: Cloud, asked: Json) -> Any:
    return asdict(cloud.faults.add(asked.pop("transport"), asked.pop("kind"), **asked))


def _clear_faults(cloud: Cloud, asked: Json) -> None:
    cloud.faults.clear(asked.get("transport"))


def _requests(cloud: Cloud, _asked: Json) -> Any:
    return [asdict(request) for request in cloud.counters.requests]


def _reports(cloud: Cloud, _asked: Json) -> Any:
    return [asdict(report) for report in cloud.state.ledger.reports]


def _events(cloud: Cloud, _asked: Json) -> Any:
    return [asdict(event) for event in cloud.state.ledger.events]


def _reset(cloud: Cloud, _asked: Json) -> None:
    cloud.state.reset()
    cloud.faults.clear()
    cloud.counters.reset()


ACTS: dict[tuple[str, str], Act] = {
    ("GET", "customers"): _customers,
    ("GET", "state"): _get_state,
    ("PUT", "state"): _put_state,
    ("DELETE", "state"): _delete_state,
    ("POST", "usage"): _set_usage,
    ("POST", "usages"): _set_usages,
    ("PUT", "api-keys"): _set_api_keys,
    ("POST", "publish"): _publish,
    ("POST", "feed"): _push_raw,
    ("GET", "feed"): _feed,
    ("POST", "feed/drop"): lambda cloud, _asked: {"sockets": cloud.feed.drop()},
    ("POST", "feed/silence"): lambda cloud, _asked: {"sockets": cloud.feed.silence()},
    ("POST", "feed/close"): _close_feed,
    ("POST", "feed/raw"): lambda cloud, asked: {"sockets": cloud.feed.send_raw(asked["text"])},
    ("GET", "faults"): _faults,
    ("PUT", "faults"): _set_fault,
    ("POST", "faults"): _add_fault,
    ("DELETE", "faults"): _clear_faults,
    ("GET", "counters"): lambda cloud, _asked: cloud.counters.as_json(),
    ("GET", "requests"): _requests,
    ("GET", "reports"): _reports,
    ("GET", "events"): _events,
    ("GET", "keys"): lambda cloud, _asked: cloud.state.ledger.keys(),
    ("POST", "reset"): _reset,
}
