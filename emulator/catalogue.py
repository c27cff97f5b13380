"""The customers known at the start, one for every kind of entitlement; dates count from the start.

| customer | what it shows |
|---|---|
| `customer-demo` | an active customer with every kind of entitlement, below |
| `customer-demo`, resource `resource-eu` | its own set: 2 of 100 `feature-api-calls` left, `feature-sso` |
| `customer-exhausted` | at the limit of `feature-api-calls`, and no credits left for `feature-ai-tokens` |
| `customer-inactive` | no active subscription, no entitlements |
| `customer-archived` | archived, no entitlements |

| of `customer-demo` | kind | value |
|---|---|---|
| `feature-sso` | boolean | granted |
| `feature-audit-log` | boolean | denied: Revoked |
| `feature-trial-export` | boolean | granted, valid for 14 days |
| `feature-templates` | numeric | 25 |
| `feature-projects` | numeric | unlimited |
| `feature-regions` | enum | eu, us |
| `feature-api-calls` | metered, incremental, monthly | 420 of 1,000 calls |
| `feature-seats` | metered, fluctuating | 7 of 10 seats |
| `feature-storage` | metered, incremental, soft limit | 120 of 100 GB |
| `feature-messages` | metered, incremental, daily, unlimited | 3,141 messages |
| `feature-ai-tokens` | metered, incremental, draws 0.5 `cred-ai` each | 250, unlimited of itself |
| `cred-ai` | credits, monthly | 125 of 500 drawn |
"""

from typing import Any

from emulator.dates import period_containing, to_iso
from emulator.usage import Json, Scope

DAY_MS = 86_400_000
_ANCHOR_AGE_MS = 100 * DAY_MS
_TRIAL_MS = 14 * DAY_MS

CUSTOMER = "customer-demo"
RESOURCE = "resource-eu"
EXHAUSTED = "customer-exhausted"
INACTIVE = "customer-inactive"
ARCHIVED = "customer-archived"
CURRENCY = "cred-ai"


def demo_states(now_ms: int) -> dict[Scope, Json]:
    """Build the catalogue as of now."""
    return {
        (CUSTOMER, None): _state(
            *_plain_features(now_ms), *_metered_features(now_ms), *_credits(now_ms, drawn=125)
        ),
        (CUSTOMER, RESOURCE): _state(
            _api_calls(now_ms, usage=98, limit=100), feature_entitlement("feature-sso", now_ms=now_ms)
        ),
        (EXHAUSTED, None): _state(_api_calls(now_ms, usage=1_000, limit=1_000), *_credits(now_ms, drawn=500)),
        (INACTIVE, None): {"accessDeniedReason": "NoActiveSubscription", "entitlementsV2": []},
        (ARCHIVED, None): {"accessDeniedReason": "CustomerIsArchived", "entitlementsV2": []},
    }


def feature_entitlement(
    ref_id: str,
    *,
    now_ms: int,
    feature_type: str = "BOOLEAN",
    meter_type: str = "None",
    unit: str | None = None,
    **fields: Any,
) -> Json:
    """Build a raw feature entitlement: granted unless `fields`, laid over it, say otherwise."""
    then = to_iso(now_ms)
    feature = {
        "__typename": "EntitlementFeature",
        "featureType": feature_type,
        "meterType": meter_type,
        "featureUnits": unit,
        "featureUnitsPlural": None if unit is None else f"{unit}s",
        "description": None,
        "displayName": ref_id.removeprefix("feature-").replace("-", " ").capitalize(),
        "refId": ref_id,
        "unitTransformation": None,
    }
    metered = meter_type != "None"
    usage = {"currentUsage": 0 if metered else None, "usageUpdatedAt": then if metered else None}
    unset = dict.fromkeys(
        (
            "accessDeniedReason", "usageLimit", "hasSoftLimit", "enumValues", "usagePeriodAnchor",
            "usagePeriodStart", "usagePeriodEnd", "resetPeriod", "resetPeriodConfiguration", "creditRate",
            "validUntil",
        )
    )  # fmt: skip
    granted = {"__typename": "FeatureEntitlement", "isGranted": True, "hasUnlimitedUsage": False}
    return granted | unset | usage | {"entitlementUpdatedAt": then, "feature": feature} | fields


def credit_entitlement(currency_id: str, *, now_ms: int, limit: float, drawn: float, **fields: Any) -> Json:
    """Build a raw credit entitlement, `fields` laid over it."""
    then = to_iso(now_ms)
    return {
        "__typename": "CreditEntitlement",
        "isGranted": drawn < limit,
        "accessDeniedReason": None if drawn < limit else "InsufficientCredits",
        "currency": {
            "currencyId": currency_id,
            "displayName": "AI credits",
            "description": "Credits for everything that thinks",
            "unitSingular": "credit",
            "unitPlural": "credits",
            "additionalMetaData": {"icon": "spark"},
        },
        "usageLimit": limit,
        "currentUsage": drawn,
        "hasSoftLimit": False,
        "usageUpdatedAt": then,
        "entitlementUpdatedAt": then,
        "usagePeriodEnd": None,
        "validUntil": None,
    } | fields


def periodic(now_ms: int, reset_period: str) -> Json:
    """Build the fields of a usage period that contains now, anchored where the subscription began."""
    anchor_ms = now_ms - _ANCHOR_AGE_MS
    period = period_containing(now_ms, anchor_ms=anchor_ms, reset_period=reset_period)
    start, end = (None, None) if period is None else (to_iso(period[0]), to_iso(period[1]))
    return {
        "usagePeriodAnchor": to_iso(anchor_ms),
        "usagePeriodStart": start,
        "usagePeriodEnd": end,
        "resetPeriod": reset_period,
    }


def _state(*entitlements: Json) -> Json:
    return {"accessDeniedReason": None, "entitlementsV2": list(entitlements)}


def _plain_features(now_ms: int) -> list[Json]:
    return [
        feature_entitlement("feature-sso", now_ms=now_ms),
        feature_entitlement(
            "feature-audit-log", now_ms=now_ms, isGranted=False, accessDeniedReason="Revoked"
        ),
        feature_entitlement("feature-trial-export", now_ms=now_ms, validUntil=to_iso(now_ms + _TRIAL_MS)),
        feature_entitlement(
            "feature-templates", now_ms=now_ms, feature_type="NUMBER", unit="template", usageLimit=25
        ),
        feature_entitlement(
            "feature-projects", now_ms=now_ms, feature_type="NUMBER", unit="project", hasUnlimitedUsage=True
        ),
        feature_entitlement("feature-regions", now_ms=now_ms, feature_type="ENUM", enumValues=["eu", "us"]),
    ]


def _metered_features(now_ms: int) -> list[Json]:
    return [
        _api_calls(now_ms, usage=420, limit=1_000),
        _metered(
            "feature-seats", now_ms, meter_type="Fluctuating", unit="seat", usageLimit=10, currentUsage=7
        ),
        _metered("feature-storage", now_ms, unit="GB", usageLimit=100, currentUsage=120, hasSoftLimit=True),
        _metered(
            "feature-messages",
            now_ms,
            unit="message",
            hasUnlimitedUsage=True,
            currentUsage=3_141,
            **periodic(now_ms, "DAY"),
        ),
    ]


def _api_calls(now_ms: int, *, usage: float, limit: float) -> Json:
    according_to = {"__typename": "MonthlyResetPeriodConfig", "monthlyAccordingTo": "SubscriptionStart"}
    fields = periodic(now_ms, "MONTH") | {"resetPeriodConfiguration": according_to}
    return _metered("feature-api-calls", now_ms, unit="call", usageLimit=limit, currentUsage=usage, **fields)


def _credits(now_ms: int, *, drawn: float) -> list[Json]:
    rate = {"amount": 0.5, "currencyId": CURRENCY}
    period_end = periodic(now_ms, "MONTH")["usagePeriodEnd"]
    return [
        _metered(
            "feature-ai-tokens",
            now_ms,
            unit="token",
            hasUnlimitedUsage=True,
            currentUsage=drawn * 2,
            creditRate=rate,
        ),
        credit_entitlement(CURRENCY, now_ms=now_ms, limit=500, drawn=drawn, usagePeriodEnd=period_end),
    ]


def _metered(ref_id: str, now_ms: int, *, meter_type: str = "Incremental", **fields: Any) -> Json:
    return feature_entitlement(ref_id, now_ms=now_ms, feature_type="NUMBER", meter_type=meter_type, **fields)
