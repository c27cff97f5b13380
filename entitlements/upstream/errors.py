"""Status, body and exception → domain error; no foreign text but the API's own message enters."""

import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import aiohttp

from entitlements.domain.errors import (
    Forbidden,
    Garbled,
    KeyRefused,
    Rejected,
    Throttled,
    Unreachable,
    Untrusted,
    UpstreamError,
)
from entitlements.upstream.json_values import child, text

KEY_CODES = frozenset({"Unauthenticated", "IdentityForbidden", "AccessDeniedError"})
THROTTLED_CODES = frozenset({"RateLimitExceeded"})
MAX_MESSAGE_CHARACTERS = 500
"""So much of the API's message, or of its code, is passed on."""
MAX_TRACE_ID_CHARACTERS = 100
"""So much of its trace id: a status has to fit into the metadata that clients take."""


def error_of_exception(transport: str, exception: Exception) -> UpstreamError:
    """What a failure of the HTTP client means."""
    refused = refused_certificate(exception)
    if refused is not None:
        return Untrusted(transport, f"shows a certificate that is not trusted ({refused.verify_message})")
    if isinstance(exception, TimeoutError):
        return Unreachable(transport, "did not answer in time")
    if isinstance(exception, aiohttp.ClientError | OSError):
        return Unreachable(transport, "could not be reached")
    return Garbled(transport)


def refused_certificate(exception: BaseException) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate among what led to an exception."""
    cause: BaseException | None = exception
    while cause is not None:
        inner = getattr(cause, "certificate_error", None)  # aiohttp's error is one too, without what it says
        if inner is None and isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = inner or cause.__cause__
    return None


def error_of_status(
    transport: str, status: int, headers: Mapping[str, str], *, now_ms: int
) -> UpstreamError | None:
    """What an HTTP status means, or None when the body decides."""
    if status == HTTPStatus.UNAUTHORIZED:
        return KeyRefused(transport)
    if status == HTTPStatus.FORBIDDEN:
        return Forbidden(transport)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        retry_after = headers.get("Retry-After", "")
        return Throttled(transport, retry_after_seconds(retry_after, now_ms=now_ms))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Garbled(transport, f"answered with status {status}")
    return None


def error_of_errors(transport: str, errors: object) -> UpstreamError | None:
    """What the `errors` of an answer mean, or None when there are none."""
    if not isinstance(errors, list) or not errors:
        return None
    first = child(errors[0]) or {}
    extensions: Any = child(first.get("extensions")) or {}
    code = (text(extensions.get("code")) or "")[:MAX_MESSAGE_CHARACTERS]
    message = (text(first.get("message")) or "")[:MAX_MESSAGE_CHARACTERS]
    if code in KEY_CODES:
        return KeyRefused(transport)
    if code in THROTTLED_CODES or "ThrottlerException" in message:
        return Throttled(transport)
    return Rejected(
        transport,
        code=code,
        message=message,
        trace_id=(text(extensions.get("traceId")) or "")[:MAX_TRACE_ID_CHARACTERS] or None,
    )


def retry_after_seconds(header: str, *, now_ms: int) -> float | None:
    """The seconds that a Retry-After header asks for (a number or a date), or None."""
    try:
        return max(float(int(header)), 0.0)
    except OverflowError:
        return None
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(header)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return max(moment.timestamp() - now_ms / 1000, 0.0)
    except (ValueError, OverflowError):
        return None
