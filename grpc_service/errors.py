"""Domain error → status and public sentence: one table (contract/grpc.md, Status codes)."""

from typing import NamedTuple

import grpc
from google.protobuf.message import DecodeError

from entitlements.domain.errors import (
    Forbidden,
    Garbled,
    InvalidRequest,
    KeyRefused,
    OutboxUnavailable,
    Overloaded,
    Rejected,
    SidecarError,
    Throttled,
    Unreachable,
)

UNEXPECTED = "unexpected error in the sidecar; its log has the cause"
"""What a caller gets for a defect: never the exception's text."""
TOO_MANY_CALLS = "too many calls at a time"
"""What a call past the bound gets, with RESOURCE_EXHAUSTED."""
UNREADABLE = "the request is not the message that this method takes"
DEADLINE_SPENT = "the deadline passed before the Stigg api answered; the report may or may not have arrived"

_BY_CLASS: dict[type[SidecarError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Throttled: grpc.StatusCode.RESOURCE_EXHAUSTED,
    KeyRefused: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.FAILED_PRECONDITION,
    Unreachable: grpc.StatusCode.UNAVAILABLE,
    Garbled: grpc.StatusCode.UNAVAILABLE,
    OutboxUnavailable: grpc.StatusCode.UNAVAILABLE,
}

_BY_API_CODE = {
    "CustomerNotFound": grpc.StatusCode.NOT_FOUND,
    "CustomerResourceNotFound": grpc.StatusCode.NOT_FOUND,
    "FeatureNotFound": grpc.StatusCode.NOT_FOUND,
    "BadUserInput": grpc.StatusCode.INVALID_ARGUMENT,
    "EntitlementUsageOutOfRangeError": grpc.StatusCode.OUT_OF_RANGE,
    **dict.fromkeys(
        (
            "NoActiveSubscriptionForCustomer",
            "NoFeatureEntitlementInSubscription",
            "NoFeatureEntitlementError",
            "MeteringNotAvailableForFeatureType",
            "CannotReportUsageForEntitlementWithMeterError",
            "EntitlementLimitExceededError",
        ),
        grpc.StatusCode.FAILED_PRECONDITION,
    ),
}
"""contract/upstream.md, GraphQL over HTTP; an unknown code is INTERNAL with the API's message."""


class PublicStatus(NamedTuple):
    """What a caller gets."""

    code: grpc.StatusCode
    details: str


def public_status(error: Exception) -> PublicStatus:
    """The status of an error, with one sentence for the caller."""
    if isinstance(error, Rejected):
        return PublicStatus(_BY_API_CODE.get(error.code, grpc.StatusCode.INTERNAL), str(error))
    if isinstance(error, DecodeError):
        return PublicStatus(grpc.StatusCode.INTERNAL, UNREADABLE)
    for class_, code in _BY_CLASS.items():
        if isinstance(error, class_):
            return PublicStatus(code, str(error))
    return PublicStatus(grpc.StatusCode.INTERNAL, UNEXPECTED)
