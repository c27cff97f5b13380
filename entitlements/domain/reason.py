"""Why access is denied, by the API's names."""

import enum


class AccessDeniedReason(enum.Enum):
    """A reason of contract/grpc.md, Enums; the value is the API's PascalCase name."""

    UNKNOWN = "Unknown"
    CUSTOMER_IS_ARCHIVED = "CustomerIsArchived"
    CUSTOMER_NOT_FOUND = "CustomerNotFound"
    CUSTOMER_RESOURCE_NOT_FOUND = "CustomerResourceNotFound"
    FEATURE_NOT_FOUND = "FeatureNotFound"
    NO_ACTIVE_SUBSCRIPTION = "NoActiveSubscription"
    NO_FEATURE_ENTITLEMENT_IN_SUBSCRIPTION = "NoFeatureEntitlementInSubscription"
    REQUESTED_USAGE_EXCEEDING_LIMIT = "RequestedUsageExceedingLimit"
    BUDGET_EXCEEDED = "BudgetExceeded"
    REQUESTED_VALUES_MISMATCH = "RequestedValuesMismatch"
    FEATURE_TYPE_MISMATCH = "FeatureTypeMismatch"
    INSUFFICIENT_CREDITS = "InsufficientCredits"
    REVOKED = "Revoked"
    ENTITLEMENT_NOT_FOUND = "EntitlementNotFound"
