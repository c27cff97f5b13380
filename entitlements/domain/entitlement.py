"""Features, currencies and the five kinds of entitlement.

Points in time are epoch milliseconds (UTC), as on the wire and in Redis; the suffix `_ms` says so.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from entitlements.domain.reason import AccessDeniedReason

NO_TIMESTAMP_MS = 0
"""What was never stamped: it is written always and never wins (contract/redis.md, Rules)."""


class EntitlementKind(enum.Enum):
    """The arm of the wire's `oneof entitlement` that an entitlement answers in."""

    BOOLEAN = "boolean"
    NUMERIC = "numeric"
    METERED = "metered"
    ENUM = "enum"
    CREDIT = "credit"


class FeatureType(enum.Enum):
    """The API's `featureType`."""

    BOOLEAN = "BOOLEAN"
    NUMBER = "NUMBER"
    ENUM = "ENUM"


class MeterType(enum.Enum):
    """The API's `meterType`; a missing one is `None`, not `NONE`."""

    NONE = "None"
    FLUCTUATING = "Fluctuating"
    INCREMENTAL = "Incremental"


class ResetPeriod(enum.Enum):
    """How often a meter starts again at zero."""

    YEAR = "YEAR"
    MONTH = "MONTH"
    WEEK = "WEEK"
    DAY = "DAY"
    HOUR = "HOUR"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTransformation:
    """How usage is scaled for people; kept for Redis, never evaluated."""

    divide: float
    round: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetPeriodConfiguration:
    """What a reset period is counted from; kept for Redis, never evaluated."""

    field: str
    """The API's field name, such as `monthlyAccordingTo`."""
    according_to: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """What an entitlement is about."""

    id: str
    feature_type: FeatureType
    meter_type: MeterType | None = None
    display_name: str | None = None
    description: str | None = None
    units: str | None = None
    units_plural: str | None = None
    unit_transformation: UnitTransformation | None = None

    @property
    def is_metered(self) -> bool:
        """True exactly for numbers that are counted (contract/grpc.md, How values map)."""
        return self.feature_type is FeatureType.NUMBER and (
            self.meter_type is MeterType.INCREMENTAL or self.meter_type is MeterType.FLUCTUATING
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """What credits are counted in."""

    currency_id: str
    display_name: str = ""
    description: str | None = None
    unit_singular: str | None = None
    unit_plural: str | None = None
    additional_meta_data: Mapping[str, object] | None = field(default=None, hash=False)
    """A JSON object of the customer's own; shared, so never changed in place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRate:
    """What one unit of a feature costs, in credits."""

    amount: float
    currency_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a meter stood at, and when that was known."""

    current: float = 0.0
    period_start_ms: int | None = None
    period_end_ms: int | None = None
    updated_at_ms: int = NO_TIMESTAMP_MS
    is_estimate: bool = False
    """True when reports were added that the cloud has not confirmed yet."""


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class _FeatureTerms:
    """What every feature entitlement carries."""

    feature: Feature
    denied_reason: AccessDeniedReason | None = None
    valid_until_ms: int | None = None
    credit_rate: CreditRate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanEntitlement(_FeatureTerms):
    """A feature that one has or has not."""

    kind: ClassVar[EntitlementKind] = EntitlementKind.BOOLEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericEntitlement(_FeatureTerms):
    """A configured number, not counted."""

    kind: ClassVar[EntitlementKind] = EntitlementKind.NUMERIC

    value: float | None = None
    is_unlimited: bool = False
    has_soft_limit: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredEntitlement(_FeatureTerms):
    """A counted number with a limit."""

    kind: ClassVar[EntitlementKind] = EntitlementKind.METERED

    usage_limit: float | None = None
    is_unlimited: bool = False
    has_soft_limit: bool | None = None
    usage: Usage = NO_USAGE
    reset_period: ResetPeriod | None = None
    reset_period_configuration: ResetPeriodConfiguration | None = None
    period_anchor_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumEntitlement(_FeatureTerms):
    """A set of permitted values."""

    kind: ClassVar[EntitlementKind] = EntitlementKind.ENUM

    enum_values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditEntitlement:
    """A balance in a currency."""

    kind: ClassVar[EntitlementKind] = EntitlementKind.CREDIT

    currency: Currency
    denied_reason: AccessDeniedReason | None = None
    valid_until_ms: int | None = None
    usage_limit: float = 0.0
    has_soft_limit: bool = False
    usage: Usage = NO_USAGE

    @property
    def remaining(self) -> float:
        """The balance; negative when a soft limit was overdrawn."""
        return self.usage_limit - self.usage.current


FeatureEntitlement: TypeAlias = BooleanEntitlement | NumericEntitlement | MeteredEntitlement | EnumEntitlement
Entitlement: TypeAlias = FeatureEntitlement | CreditEntitlement
"""Each has its `kind`: the arm that it answers in."""
