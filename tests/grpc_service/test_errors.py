"""One table from errors to statuses."""

import grpc
import pytest

from entitlements.domain.errors import (
    CircuitOpen,
    FailedElsewhere,
    Garbled,
    InvalidRequest,
    KeyRefused,
    Offline,
    Overloaded,
    Rejected,
    Throttled,
    Unreachable,
)
from grpc_service.errors import UNEXPECTED, public_status

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("error", "code", "details"),
    [
        (InvalidRequest("usages[3].value", "is NaN"), Code.INVALID_ARGUMENT, "usages[3].value is NaN"),
        (Overloaded("SIDECAR_FETCH_QUEUE_SIZE"), Code.RESOURCE_EXHAUSTED, "SIDECAR_FETCH_QUEUE_SIZE"),
        (Throttled("api", 7), Code.RESOURCE_EXHAUSTED, "retry after 7 s"),
        (Throttled("api"), Code.RESOURCE_EXHAUSTED, "limits the rate"),
        (KeyRefused("api"), Code.UNAUTHENTICATED, "refused the API key"),
        (Unreachable("api"), Code.UNAVAILABLE, "could not be reached"),
        (CircuitOpen("api"), Code.UNAVAILABLE, "is given a pause"),
        (FailedElsewhere("api"), Code.UNAVAILABLE, "another process"),
        (Garbled("api"), Code.UNAVAILABLE, "unusable answer"),
        (Offline("offline"), Code.INTERNAL, UNEXPECTED),
        (RuntimeError("secret"), Code.INTERNAL, UNEXPECTED),
    ],
)
def test_an_error_has_one_status_and_one_sentence(
    error: Exception, code: grpc.StatusCode, details: str
) -> None:
    status = public_status(error)

    assert code is status.code
    assert details in status.details
    assert "secret" not in status.details


@pytest.mark.parametrize(
    ("api_code", "code"),
    [
        ("CustomerNotFound", Code.NOT_FOUND),
        ("CustomerResourceNotFound", Code.NOT_FOUND),
        ("FeatureNotFound", Code.NOT_FOUND),
        ("BadUserInput", Code.INVALID_ARGUMENT),
        ("EntitlementUsageOutOfRangeError", Code.OUT_OF_RANGE),
        ("NoActiveSubscriptionForCustomer", Code.FAILED_PRECONDITION),
        ("NoFeatureEntitlementInSubscription", Code.FAILED_PRECONDITION),
        ("NoFeatureEntitlementError", Code.FAILED_PRECONDITION),
        ("MeteringNotAvailableForFeatureType", Code.FAILED_PRECONDITION),
        ("CannotReportUsageForEntitlementWithMeterError", Code.FAILED_PRECONDITION),
        ("EntitlementLimitExceededError", Code.FAILED_PRECONDITION),
        ("SomethingNew", Code.INTERNAL),
        ("", Code.INTERNAL),
    ],
)
def test_a_rejection_has_the_status_of_the_apis_code(api_code: str, code: grpc.StatusCode) -> None:
    """With the API's own message, as contract/upstream.md says."""
    status = public_status(Rejected("api", code=api_code, message="No such thing", trace_id="t-1"))

    assert (code, "the Stigg api rejected the request: No such thing (trace id t-1)") == status
