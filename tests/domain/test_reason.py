"""The words of the API for why access is denied."""

from entitlements.domain.reason import AccessDeniedReason

WIRE_NAMES = """
    UNKNOWN CUSTOMER_IS_ARCHIVED CUSTOMER_NOT_FOUND CUSTOMER_RESOURCE_NOT_FOUND FEATURE_NOT_FOUND
    NO_ACTIVE_SUBSCRIPTION NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION REQUESTED_USAGE_EXCEEDING_LIMIT
    BUDGET_EXCEEDED REQUESTED_VALUES_MISMATCH FEATURE_TYPE_MISMATCH INSUFFICIENT_CREDITS REVOKED
    ENTITLEMENT_NOT_FOUND
"""


def test_every_reason_of_the_contract_has_its_pascal_case_name() -> None:
    """Names are the wire's, values the API's (contract/grpc.md, Enums)."""
    expected = {name: name.title().replace("_", "") for name in WIRE_NAMES.split()}

    assert expected == {reason.name: reason.value for reason in AccessDeniedReason}
