"""The form of a snapshot: one line for each entity, after one that says what the file is.

A line holds three JSON documents with tabs between them: whose it is and as of when, the metadata and the map
of entitlements as Redis would hold them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from entitlements.cache.codec import Metadata, decode_entity, decode_metadata, encode_entity, encode_metadata
from entitlements.domain.entity import Entity, EntityKey
from entitlements.json_fields import Malformed

FORMAT = "stigg-sidecar-snapshot"
VERSION = 1
MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line is junk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an entity is in the file."""

    offset: int
    size_bytes: int
    confirmed_ms: int
    """When the cloud last confirmed it, epoch milliseconds."""


def header(*, now_ms: int) -> bytes:
    """The first line."""
    return json.dumps({"format": FORMAT, "version": VERSION, "written_ms": now_ms}).encode() + b"\n"


def line_of(key: EntityKey, entity: Entity, *, confirmed_ms: int) -> bytes:
    """The line of an entity."""
    head = {**key._asdict(), "confirmed_ms": confirmed_ms, "updated_at_ms": entity.updated_at_ms}
    metadata = encode_metadata(Metadata(denied_reason=entity.denied_reason))
    return b"\t".join((json.dumps(head).encode(), metadata, encode_entity(key, entity))) + b"\n"


def entity_of(line: bytes) -> Entity:
    """The entity of a line; raises Junk."""
    parts = line.rstrip(b"\n").split(b"\t")
    try:
        head, metadata, entitlements = parts
        updated_at_ms = int(json.loads(head)["updated_at_ms"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("snapshot", "three documents") from error
    return replace(
        decode_entity(entitlements),
        denied_reason=decode_metadata(metadata).denied_reason,
        updated_at_ms=updated_at_ms,
    )


def is_header(line: bytes) -> bool:
    """True for the first line of a version that is understood."""
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(head, dict) and (head.get("format"), head.get("version")) == (FORMAT, VERSION)


def places_in(file: BinaryIO, *, max_size_bytes: int) -> Iterator[tuple[EntityKey, Place] | None]:
    """Every entity behind the header, None for a line that is none; what lies past the bound is left out."""
    offset = file.tell()
    while offset < max_size_bytes:
        line = file.readline(MAX_LINE_BYTES)
        if not line:
            return
        yield _place(line, offset)
        offset += len(line)


def _place(line: bytes, offset: int) -> tuple[EntityKey, Place] | None:
    try:
        head = json.loads(line.partition(b"\t")[0])
        customer_id, resource_id = head["customer_id"], head["resource_id"]
        place = Place(offset=offset, size_bytes=len(line), confirmed_ms=int(head["confirmed_ms"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # Infinity is JSON for json
        return None
    is_key = isinstance(customer_id, str) and isinstance(resource_id, str | None)
    return (EntityKey(customer_id, resource_id), place) if is_key and line.endswith(b"\n") else None
