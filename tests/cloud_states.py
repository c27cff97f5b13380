"""Raw states for the emulator, as the cloud would answer them."""

from typing import Any


def boolean_state(
    *, granted: bool = True, feature_id: str = "f", updated_at: str = "2026-06-01T00:00:00.000Z"
) -> dict[str, Any]:
    """A customer with one Boolean feature."""
    reason = None if granted else "Revoked"
    return {
        "entitlementsV2": [
            _entitlement(feature_id, "BOOLEAN", accessDeniedReason=reason, entitlementUpdatedAt=updated_at)
        ]
    }


def metered_state(
    *,
    usage: float = 0,
    limit: float = 1_000_000,
    feature_id: str = "m",
    updated_at: str = "2026-06-01T00:00:00.000Z",
) -> dict[str, Any]:
    """A customer with one metered feature."""
    return {
        "entitlementsV2": [
            _entitlement(
                feature_id,
                "NUMBER",
                meter_type="Incremental",
                usageLimit=limit,
                currentUsage=usage,
                usageUpdatedAt=updated_at,
                entitlementUpdatedAt=updated_at,
            )
        ]
    }


def _entitlement(
    feature_id: str, feature_type: str, *, meter_type: str = "None", **fields: Any
) -> dict[str, Any]:
    return {
        "__typename": "FeatureEntitlement",
        "isGranted": True,
        "accessDeniedReason": None,
        "usageLimit": None,
        "hasUnlimitedUsage": False,
        "hasSoftLimit": None,
        "currentUsage": None,
        "enumValues": None,
        "entitlementUpdatedAt": "2026-06-01T00:00:00.000Z",
        "usageUpdatedAt": None,
        "usagePeriodAnchor": None,
        "usagePeriodStart": None,
        "usagePeriodEnd": None,
        "resetPeriod": None,
        "resetPeriodConfiguration": None,
        "feature": {
            "__typename": "EntitlementFeature",
            "featureType": feature_type,
            "meterType": meter_type,
            "featureUnits": None,
            "featureUnitsPlural": None,
            "description": None,
            "displayName": feature_id,
            "refId": feature_id,
            "unitTransformation": None,
        },
        "creditRate": None,
        "validUntil": None,
    } | fields


def versioned_state(number: int, *, updated_at: str) -> dict[str, Any]:
    """A customer whose three features all show one number: a limit, a word, and whether it is even."""
    return {
        "entitlementsV2": [
            _entitlement("number", "NUMBER", usageLimit=number, entitlementUpdatedAt=updated_at),
            _entitlement("word", "ENUM", enumValues=[str(number)], entitlementUpdatedAt=updated_at),
            _entitlement(
                "flag",
                "BOOLEAN",
                accessDeniedReason=None if number % 2 == 0 else "Revoked",
                entitlementUpdatedAt=updated_at,
            ),
        ]
    }


def wide_state(features: int, number: int, *, updated_at: str) -> dict[str, Any]:
    """A customer of many features, all of which show one number."""
    return {
        "entitlementsV2": [
            _entitlement(f"f{index}", "NUMBER", usageLimit=number, entitlementUpdatedAt=updated_at)
            for index in range(features)
        ]
    }
