"""Writes docs/openapi.json, which describes SIDECAR_HTTP_PORT, from gRPC's messages and the doors' own paths.

Usage: python -m docs.openapi [--check]
"""

import json
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, MethodDescriptor

from docs.generated import write_or_check
from grpc_service.generated import sidecar_pb2 as pb
from http_service.ofrep import FLAGS
from http_service.watch import EVENT_STREAM, PATH

Schema: TypeAlias = dict[str, Any]

PAGE = Path(__file__).with_suffix(".json")
JSON = "application/json"
ERROR = {"type": "object", "required": ["message"], "properties": {"message": {"type": "string"}}}
_CONNECT_CODES = (
    "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
    "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range",
    "unimplemented", "internal", "unavailable", "data_loss", "unauthenticated",
)  # fmt: skip
_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object"},
}
_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_DOUBLE: {
        "oneOf": [
            {"type": "number", "format": "double"},
            {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]},
        ]
    },
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
"""By protobuf's own JSON mapping; types that no message has are not here."""


def document() -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stigg sidecar over HTTP",
            "version": "1",
            "description": "The Connect protocol, OFREP 0.3 and a stream of changes: docs/http.md.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8081", "description": "SIDECAR_HTTP_PORT of the demo"}],
        "security": [{}, {"token": []}],
        "paths": {**_connect_paths(), **_ofrep_paths(), **_watch_paths()},
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "SIDECAR_HTTP_TOKEN_FILE"}
            },
            "schemas": {**_messages(), **_OFREP_SCHEMAS, "connect.Error": _CONNECT_ERROR},
        },
    }


def _connect_paths() -> Schema:
    service = pb.DESCRIPTOR.services_by_name["SidecarService"]
    return {f"/{service.full_name}/{method.name}": _procedure(method) for method in service.methods}


def _procedure(method: MethodDescriptor) -> Schema:
    """POST for all; GET as well for what changes nothing."""
    responses = {
        "200": _answer(
            "The reply; its trailing metadata stands in Trailer-Stigg-…", _reference(method.output_type)
        ),
        "default": _answer("What went wrong", {"$ref": "#/components/schemas/connect.Error"}),
    }
    common: Schema = {"tags": ["Connect"], "responses": responses}
    timeout = _parameter("header", "Connect-Timeout-Ms", {"type": "integer", "minimum": 0})
    post = {
        "operationId": method.name,
        "parameters": [timeout],
        "requestBody": _content(_reference(method.input_type)),
        **common,
    }
    if not method.name.startswith("Get"):
        return {"post": post}
    query = [
        _parameter("query", "encoding", {"type": "string", "enum": ["json", "proto"]}, required=True),
        _parameter("query", "message", {"type": "string"}, required=True),
        _parameter("query", "base64", {"type": "string", "enum": ["1"]}),
        _parameter("query", "connect", {"type": "string", "enum": ["v1"]}),
    ]
    return {"post": post, "get": {"operationId": f"{method.name}ByQuery", "parameters": query, **common}}


def _ofrep_paths() -> Schema:
    failures = {
        "401": _answer("Without the token", _named("ofrep.Failure")),
        "429": _answer("Too many calls at a time; Retry-After", _named("ofrep.Failure")),
        "500": _answer("A failure of the sidecar", _named("ofrep.Failure")),
    }
    bad = _answer("A context that cannot be used", _named("ofrep.Failure"))
    one = {
        "operationId": "evaluateFlag",
        "tags": ["OFREP"],
        "parameters": [_parameter("path", "key", {"type": "string"}, required=True)],
        "requestBody": _content(_named("ofrep.Request")),
        "responses": {
            "200": _answer("The evaluation", _named("ofrep.Flag")),
            "400": bad,
            "404": _answer("No such feature, and no fallback for it", _named("ofrep.Failure")),
            **failures,
        },
    }
    all_of_them = {
        "operationId": "evaluateFlags",
        "tags": ["OFREP"],
        "parameters": [_parameter("header", "If-None-Match", {"type": "string"})],
        "requestBody": _content(_named("ofrep.Request")),
        "responses": {
            "200": _answer("All features of the customer; ETag", _named("ofrep.Flags")),
            "304": {"description": "They are as If-None-Match says"},
            "400": bad,
            **failures,
        },
    }
    return {f"{FLAGS}/{{key}}": {"post": one}, FLAGS: {"post": all_of_them}}


def _watch_paths() -> Schema:
    parameters = [
        _parameter("query", "customer", {"type": "string", "minLength": 1}, required=True),
        _parameter("query", "resource", {"type": "string"}),
        _parameter("header", "Last-Event-ID", {"type": "string"}),
    ]
    stream = {"description": "Server-Sent Events, until one side ends", "content": {EVENT_STREAM: {}}}
    refusals = {
        "400": "Without a customer",
        "401": "Without the token",
        "429": "Too many streams; Retry-After",
    }
    responses = {"200": stream} | {status: _answer(text, ERROR) for status, text in refusals.items()}
    return {
        PATH: {
            "get": {
                "operationId": "watch",
                "tags": ["Changes"],
                "parameters": parameters,
                "responses": responses,
            }
        }
    }


def _messages() -> Schema:
    """A schema for each message and enum that a method's messages lead to."""
    found: Schema = {}

    def add(message: Descriptor) -> None:
        if message.full_name in {*found, *_WELL_KNOWN}:
            return
        found[message.full_name] = {}  # a message that leads to itself
        found[message.full_name] = _message(message)
        for field in message.fields:
            if field.message_type is not None:
                add(field.message_type)
            elif field.enum_type is not None:
                found[field.enum_type.full_name] = _enum(field.enum_type)

    for method in pb.DESCRIPTOR.services_by_name["SidecarService"].methods:
        add(method.input_type)
        add(method.output_type)
    return dict(sorted(found.items()))


def _message(message: Descriptor) -> Schema:
    properties = {field.json_name: _field(field) for field in message.fields}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _field(field: FieldDescriptor) -> Schema:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _one(field.message_type.fields_by_name["value"])}
    return {"type": "array", "items": _one(field)} if field.is_repeated else _one(field)


def _one(field: FieldDescriptor) -> Schema:
    if field.message_type is not None:
        return _reference(field.message_type)
    if field.enum_type is not None:
        return _named(field.enum_type.full_name)
    return _SCALARS[field.cpp_type]


def _enum(enum: EnumDescriptor) -> Schema:
    return {"type": "string", "enum": [value.name for value in enum.values]}


def _reference(message: Descriptor) -> Schema:
    return _WELL_KNOWN.get(message.full_name) or _named(message.full_name)


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: Schema) -> Schema:
    return {"required": True, "content": {JSON: {"schema": schema}}}


def _answer(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _parameter(place: str, name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"in": place, "name": name, "required": required, "schema": schema}


_CONNECT_ERROR: Schema = {
    "type": "object",
    "required": ["code"],
    "properties": {"code": {"type": "string", "enum": list(_CONNECT_CODES)}, "message": {"type": "string"}},
}
_METADATA: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["boolean", "string", "number"]},
}
_OFREP_SCHEMAS: Schema = {
    "ofrep.Request": {
        "type": "object",
        "required": ["context"],
        "properties": {
            "context": {
                "type": "object",
                "required": ["targetingKey"],
                "properties": {
                    "targetingKey": {"type": "string", "minLength": 1, "description": "the customer"},
                    "resourceId": {"type": ["string", "null"]},
                    "requestedUsage": {"type": ["number", "null"]},
                    "requestedValues": {"type": "array", "items": {"type": "string"}},
                },
            }
        },
    },
    "ofrep.Flag": {
        "type": "object",
        "required": ["key", "reason", "variant", "metadata"],
        "properties": {
            "key": {"type": "string"},
            "value": {
                "type": ["boolean", "number", "object"],
                "description": "left out where the caller's code default is to answer",
            },
            "reason": {"type": "string", "enum": ["TARGETING_MATCH", "STALE", "DEFAULT"]},
            "variant": {"type": "string", "enum": ["granted", "denied"]},
            "metadata": _METADATA,
        },
        "additionalProperties": False,
    },
    "ofrep.Flags": {
        "type": "object",
        "required": ["flags", "eventStreams"],
        "properties": {
            "flags": {"type": "array", "items": _named("ofrep.Flag")},
            "eventStreams": {"type": "array", "items": _named("ofrep.EventStream")},
            "metadata": _METADATA,
        },
        "additionalProperties": False,
    },
    "ofrep.EventStream": {
        "type": "object",
        "required": ["type", "endpoint"],
        "properties": {
            "type": {"const": "sse"},
            "endpoint": {
                "type": "object",
                "required": ["requestUri"],
                "properties": {"requestUri": {"type": "string", "pattern": "^/"}},
            },
        },
        "additionalProperties": False,
    },
    "ofrep.Failure": {
        "type": "object",
        "required": ["errorCode", "errorDetails"],
        "properties": {
            "key": {"type": "string"},
            "errorCode": {
                "type": "string",
                "enum": [
                    "PARSE_ERROR",
                    "TARGETING_KEY_MISSING",
                    "INVALID_CONTEXT",
                    "FLAG_NOT_FOUND",
                    "GENERAL",
                ],
            },
            "errorDetails": {"type": "string"},
        },
        "additionalProperties": False,
    },
}


def page() -> str:
    """The file's text."""
    return json.dumps(document(), indent=2) + "\n"


def main() -> None:
    """Writes the file, or exits with 1 and a sentence when it is out of date."""
    write_or_check(PAGE, page(), description=__doc__)


if __name__ == "__main__":
    main()
