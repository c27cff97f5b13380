"""The file of a recording: JSON lines, the first one says what it is."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from grpc_service.ids import shown_id
from grpc_service.reads import READS

VERSION = 1
HASHED, CLEAR = "hashed", "clear"
_VERSION, _IDS = "stigg_sidecar_recording", "ids"
Json = Mapping[str, Any]


class Recorded(NamedTuple):
    """One read of a recording."""

    at_ms: int
    method: str
    request: bytes
    reply: bytes | None
    """None where ids are hashed: it is about another customer."""
    customer: str
    resource: str


class InvalidRecording(Exception):
    """The file is no recording."""

    def __init__(self, file: Path, line: int, reason: str) -> None:
        super().__init__(file, line, reason)
        self.file, self.line, self.reason = file, line, reason

    def __str__(self) -> str:
        return f"{self.file} line {self.line} {self.reason}"


class Writer:
    """Writes what a sidecar reports of a read."""

    def __init__(self, write: Callable[[str], Any], *, is_clear: bool) -> None:
        self._write = write
        self._key = None if is_clear else hashlib.sha256(secrets.token_bytes()).digest()
        """Made for this recording alone: nobody finds an id by its hash, not even with another recording."""
        write(json.dumps({_VERSION: VERSION, _IDS: CLEAR if is_clear else HASHED}) + "\n")

    def add(self, at_ms: int, method: str, request: bytes, reply: bytes) -> None:
        """One more read."""
        types = READS[method]
        asked = types.request.FromString(request)
        asked.customer_id = shown_id(asked.customer_id, self._key)
        if asked.resource_id:
            asked.resource_id = shown_id(asked.resource_id, self._key)
        line = {"at_ms": at_ms, "method": method, "request": MessageToDict(asked)}
        if self._key is None:
            line["reply"] = MessageToDict(types.response.FromString(reply))
        self._write(json.dumps(line) + "\n")


@contextmanager
def written_privately(file: Path) -> Iterator[Callable[[str], Any]]:
    """Whole or not at all, and its owner's alone.

    Raises:
        OSError: it cannot be written.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.touch(mode=0o600)
    try:
        with new.open("w") as lines:
            yield lines.write
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)


def recorded(file: Path) -> Iterator[Recorded]:
    """The reads of a file, in its order.

    Raises:
        OSError: it cannot be read.
        InvalidRecording: it is none.
    """
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, text in enumerate(lines, 1):
            try:
                line = json.loads(text)
                if number > 1:
                    yield _read(line)
                elif line.get(_VERSION) != VERSION:
                    raise InvalidRecording(file, 1, f"is no recording of version {VERSION}")
            except (ValueError, KeyError, TypeError, AttributeError, ParseError, RecursionError) as error:
                raise InvalidRecording(file, number, "is no read of a recording") from error


def _read(line: Json) -> Recorded:
    types = READS[line["method"]]
    asked: Any = ParseDict(line["request"], types.request())
    reply = line.get("reply")
    return Recorded(
        at_ms=int(line["at_ms"]),
        method=line["method"],
        request=asked.SerializeToString(),
        reply=None if reply is None else ParseDict(reply, types.response()).SerializeToString(),
        customer=asked.customer_id,
        resource=asked.resource_id,
    )
