"""What errors say, and what they keep to themselves."""

import pytest

from entitlements.domain.errors import (
    BudgetSpent,
    CircuitOpen,
    Garbled,
    InvalidRequest,
    KeyRefused,
    Offline,
    OutboxUnavailable,
    Overloaded,
    Rejected,
    SidecarError,
    Throttled,
    Unreachable,
    Untrusted,
    UpstreamError,
)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (InvalidRequest("customer_id", "is empty"), "customer_id is empty"),
        (
            Overloaded("SIDECAR_FETCH_QUEUE_SIZE"),
            "the sidecar is at its bound SIDECAR_FETCH_QUEUE_SIZE; try again later",
        ),
        (Unreachable("edge"), "the Stigg edge could not be reached"),
        (Unreachable("api", "timed out"), "the Stigg api timed out"),
        (CircuitOpen("edge"), "the Stigg edge did not answer lately and is given a pause"),
        (KeyRefused("api"), "the Stigg api refused the API key (SERVER_API_KEY)"),
        (Throttled("api"), "the Stigg api limits the rate of requests"),
        (Throttled("api", 2.5), "the Stigg api limits the rate of requests; retry after 2.5 s"),
        (Garbled("edge"), "the Stigg edge sent an unusable answer"),
        (
            Untrusted("api"),
            "the Stigg api shows a certificate that is not trusted;"
            " set SSL_CERT_FILE to the certificate of its authority",
        ),
        (Rejected("api", code="CustomerNotFound"), "the Stigg api rejected the request: CustomerNotFound"),
        (
            Rejected("api", code="CustomerNotFound", message="Customer not found", trace_id="t-1"),
            "the Stigg api rejected the request: Customer not found (trace id t-1)",
        ),
        (
            BudgetSpent("edge"),
            "the Stigg edge was not asked: the budget of requests (SIDECAR_EDGE_REQUESTS_PER_MINUTE) is used",
        ),
        (Offline("api"), "the sidecar runs offline (OFFLINE=1)"),
        (
            OutboxUnavailable(),
            "neither the Stigg api nor the outbox could take the report; it may or may not have arrived",
        ),
    ],
)
def test_error_makes_its_own_sentence(error: SidecarError, sentence: str) -> None:
    """An error holds data and says it in one sentence."""
    assert sentence == str(error)


def test_outcomes_are_distinct_words() -> None:
    """Each class of upstream failure is a metric label of its own."""
    classes = [UpstreamError, Unreachable, CircuitOpen, KeyRefused, Throttled, Garbled, Rejected, Offline]

    outcomes = [each.outcome for each in classes]

    expected = ["failed", "unreachable", "circuit_open", "key_refused", "throttled", "garbled", "rejected"]
    assert [*expected, "offline"] == outcomes


def test_circuit_open_is_a_kind_of_unreachable() -> None:
    """Who handles an unreachable cloud also handles one that is not asked."""
    with pytest.raises(Unreachable):
        raise CircuitOpen("edge")


def test_errors_are_compared_by_identity() -> None:
    """Two equal failures stay two, so that each can be raised, chained and hashed."""
    first, second = Unreachable("edge"), Unreachable("edge")

    assert 2 == len({first, second})
