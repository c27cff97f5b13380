"""The queries and mutations: GraphQL arguments in, the cloud's answer out."""

import json
from collections.abc import Callable
from typing import Any

from graphql import GraphQLError

from emulator.schema import BAD_INPUT, known_entitlements
from emulator.state import CloudState
from emulator.usage import Json, RefusedError, UsageReport

MAX_BULK_USAGES = 100
MAX_EVENTS = 1_000
MAX_EVENT_BYTES = 1_000_000
SDK_CONFIGURATION = {"isWidgetWatermarkEnabled": False}


class Operations:
    """The queries and mutations, each taking its GraphQL arguments by their own names."""

    def __init__(self, state: CloudState) -> None:
        self._state = state

    def root(self) -> dict[str, Callable[..., Any]]:
        """Make the root value that a document is executed on: each field with its method."""
        return {
            "entitlementsState": self.entitlements_state,
            "sdkConfiguration": self.sdk_configuration,
            "reportUsage": self.report_usage,
            "reportUsageBulk": self.report_usage_bulk,
            "reportEvent": self.report_event,
        }

    def entitlements_state(self, _info: Any, *, query: Json) -> Json:
        """Answer a customer's or resource's state, without what the schema cannot express."""
        found = self._state.get(query["customerId"], resource_id=query.get("resourceId"))
        return found | {"entitlementsV2": known_entitlements(found["entitlementsV2"])}

    def sdk_configuration(self, _info: Any) -> Json:
        """Answer the SDK configuration: whoever gets it has a valid key."""
        return SDK_CONFIGURATION

    def report_usage(self, _info: Any, *, input: Json) -> Json:  # noqa: A002 - the API's own name for it
        """Count one usage report."""
        return self._reported([input])[0]

    def report_usage_bulk(self, _info: Any, *, input: Json) -> list[Json]:  # noqa: A002 - the API's own name
        """Count up to `MAX_BULK_USAGES` usage reports, all or none."""
        if len(input["usages"]) > MAX_BULK_USAGES:
            raise _refused(BAD_INPUT, f"At most {MAX_BULK_USAGES} usages in one report")
        return self._reported(input["usages"])

    def report_event(self, _info: Any, *, events: Json) -> None:
        """Take up to `MAX_EVENTS` events, all or none."""
        if len(events["usageEvents"]) > MAX_EVENTS:
            raise _refused(BAD_INPUT, f"At most {MAX_EVENTS} events in one report")
        if any(len(json.dumps(event).encode()) > MAX_EVENT_BYTES for event in events["usageEvents"]):
            raise _refused(BAD_INPUT, f"An event is larger than {MAX_EVENT_BYTES} bytes")
        self._state.report_events(events["usageEvents"])

    def _reported(self, inputs: list[Json]) -> list[Json]:
        try:
            return self._state.report_usage([_report_of(given) for given in inputs])
        except RefusedError as exc:
            raise _refused(exc.code, exc.message) from exc


def customers_of(variables: Any) -> tuple[str, ...]:
    """Find the customers that an operation's variables are about, wherever they name them."""
    found: dict[str, None] = {}
    pending = [variables]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending += reversed(value)
        elif isinstance(value, dict):
            if isinstance(value.get("customerId"), str):
                found[value["customerId"]] = None
            pending += [inner for name, inner in value.items() if name != "dimensions"]
    return tuple(found)


def _report_of(given: Json) -> UsageReport:
    return UsageReport(
        customer_id=given["customerId"],
        feature_id=given["featureId"],
        value=given["value"],
        resource_id=given.get("resourceId"),
        update_behavior=given.get("updateBehavior") or "DELTA",
        created_at=given.get("createdAt"),
        dimensions=given.get("dimensions"),
        idempotency_key=given.get("idempotencyKey"),
    )


def _refused(code: str, message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})
