"""Which request and which trace a log line belongs to, as the caller named them (contract/operations.md).

A call's metadata is only remembered; it is read where a line is written.
"""

import re
from collections.abc import Sequence
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

CALL_METADATA: ContextVar[Metadata] = ContextVar("call_metadata", default=())
"""Of the call that is answered in this context; tasks that it starts inherit it."""

CALL_PEER: ContextVar[str] = ContextVar("call_peer", default="")
"""The connection that it came by; empty: nobody called."""

REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
MAX_REQUEST_ID_LENGTH = 128
"""The rest of a longer id is cut off."""
_UNPRINTABLE = re.compile(r"[^!-~]")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)
"""https://www.w3.org/TR/trace-context/, traceparent Header: zeros are no id, version ff is none."""


class Correlation(NamedTuple):
    """What callers call a request; None where they did not say, or not in a usable form."""

    request_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


def correlation_of(metadata: Metadata) -> Correlation:
    """The ids that a call's metadata carries, bounded in length and printable."""
    request_id = _text(metadata, REQUEST_ID)[:MAX_REQUEST_ID_LENGTH]
    trace = _TRACEPARENT.fullmatch(_text(metadata, TRACEPARENT))
    return Correlation(
        request_id=_UNPRINTABLE.sub("?", request_id) or None,
        trace_id=trace and trace[1],
        span_id=trace and trace[2],
    )


def _text(metadata: Metadata, name: str) -> str:
    """The first value of that name; a call may carry several, or bytes."""
    for key, value in metadata:
        if key == name:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""
