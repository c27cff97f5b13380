"""The messages of graphql-transport-ws: read as JSON, and the fields that a subscription selected."""

import json
from dataclasses import dataclass

from emulator.schema import (
    CheckedDocument,
    known_entitlements,
    run,
)
from emulator.state import FeedEvent
from emulator.usage import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    field: str
    document: CheckedDocument
    operation: str | None
    variables: Json | None


def selected(subscription: Subscription, event: FeedEvent) -> Json:
    if event.verbatim:
        return {"data": {event.field: event.payload}}
    payload = event.payload
    if "entitlements" in payload:
        payload = payload | {"entitlements": known_entitlements(payload["entitlements"])}
    return run(
        subscription.document,
        root={event.field: payload},
        variables=subscription.variables,
        operation=subscription.operation,
    )


def parsed(text: str) -> Json:
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def payload_of(message: Json) -> Json:
    return {"payload": message["payload"]} if "payload" in message else {}
