"""What is kept in the database: fallbacks that people set while the sidecar runs."""

from collections.abc import Iterable
from math import isfinite
from typing import Any, ClassVar

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from entitlements.domain.bounds import INT32_MAX, INT32_MIN
from entitlements.domain.entity import EntityKey
from entitlements.domain.fallback import FallbackValue
from entitlements.domain.override import MAX_REASON_LENGTH, Override

FEATURE_ID_LENGTH = 255
ENTITY_ID_LENGTH = 1000
"""Of customers and resources, which are not ours to name."""


def validate_finite(number: float) -> None:
    """Refuses NaN and infinities, which JSON cannot carry."""
    if not isfinite(number):
        raise ValidationError("It must be a finite number.")


def validate_texts(values: object) -> None:
    """Refuses what is not a list of texts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValidationError('It must be a JSON list of texts, such as ["basic", "pro"].')


class JsonOfAnybody(models.JSONField):
    """JSON that anybody may have written: what Python cannot read of it is found as text, not as an error.

    Django's own raises while the rows are read (over a number of 5,000 digits), so that one hides all others.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        """The value, or the text as it stands there."""
        try:
            return super().from_db_value(value, expression, connection)
        except (ValueError, RecursionError):
            return value

    def deconstruct(self) -> Any:
        """The same column as ever: nothing is to be migrated."""
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs


class CachedCustomer(models.Model):
    """A place for the cached customers in the admin: permissions and the log of actions, and no table."""

    id = models.CharField("customer id", max_length=FEATURE_ID_LENGTH, primary_key=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        managed = False
        default_permissions: ClassVar = ("view", "change")
        verbose_name = "cached customer"

    def __str__(self) -> str:
        return self.id


class FallbackRule(models.Model):
    """A configured fallback of one feature; it goes before ENTITLEMENTS_FALLBACK while it is active."""

    feature_id = models.CharField("feature id", max_length=FEATURE_ID_LENGTH, unique=True)
    is_active = models.BooleanField(
        "in force", default=True, help_text="Switched off, ENTITLEMENTS_FALLBACK or the default answers."
    )
    has_access = models.BooleanField("grants access", default=False)
    is_unlimited = models.BooleanField("unlimited", null=True, blank=True)
    has_soft_limit = models.BooleanField("soft limit", null=True, blank=True)
    usage_limit = models.FloatField(null=True, blank=True, validators=[validate_finite])
    current_usage = models.FloatField(null=True, blank=True, validators=[validate_finite])
    value = models.IntegerField(
        "numeric value",
        null=True,
        blank=True,
        validators=[MinValueValidator(INT32_MIN), MaxValueValidator(INT32_MAX)],
    )
    enum_values = JsonOfAnybody(
        null=True, blank=True, validators=[validate_texts], help_text='A JSON list, such as ["basic", "pro"].'
    )
    max_stale_seconds = models.FloatField(
        null=True,
        blank=True,
        validators=[validate_finite, MinValueValidator(0.001)],
        help_text="Confirmed by the cloud longer ago, and not confirmed again: this rule answers. Empty: "
        "SIDECAR_MAX_STALE_SECONDS.",
    )
    updated_at = models.DateTimeField("changed", auto_now=True)

    class Meta:
        """How people see it."""

        ordering: ClassVar = ["feature_id"]
        verbose_name = "fallback rule"

    def __str__(self) -> str:
        return self.feature_id

    @classmethod
    def too_long(cls, feature_ids: Iterable[str]) -> str | None:
        """The first id that does not fit, or None."""
        return next((each for each in feature_ids if len(each) > FEATURE_ID_LENGTH), None)

    @staticmethod
    def columns(value: FallbackValue) -> dict[str, object]:
        """The fields that hold this fallback, in force."""
        return {
            "is_active": True,
            "has_access": value.has_access,
            "usage_limit": value.usage_limit,
            "is_unlimited": value.is_unlimited,
            "value": value.value,
            "enum_values": None if value.enum_values is None else list(value.enum_values),
            "current_usage": value.current_usage,
            "has_soft_limit": value.has_soft_limit,
            "max_stale_seconds": value.max_stale_seconds,
        }

    def as_value(self) -> FallbackValue:
        """The fallback that it holds.

        Raises:
            ValidationError: a field holds what no form of ours would have let in.
        """
        self.clean_fields()
        return FallbackValue(
            has_access=self.has_access,
            usage_limit=self.usage_limit,
            is_unlimited=self.is_unlimited,
            value=self.value,
            enum_values=None if self.enum_values is None else tuple(self.enum_values),
            current_usage=self.current_usage,
            has_soft_limit=self.has_soft_limit,
            max_stale_seconds=self.max_stale_seconds,
        )

    def usable_value(self) -> FallbackValue | None:
        """The fallback that it holds; None when it holds none."""
        try:
            return self.as_value()
        except ValidationError:
            return None


class OutboxEntry(models.Model):
    """A place for the outbox in the admin: permissions and the log of actions, and no table."""

    id = models.CharField(max_length=FEATURE_ID_LENGTH, primary_key=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        managed = False
        default_permissions: ClassVar = ("view", "change")
        verbose_name = "outbox entry"
        verbose_name_plural = "outbox"

    def __str__(self) -> str:
        return self.id


class EntitlementOverride(models.Model):
    """What a person has answered instead of the cloud's answer; never changed but by ending it."""

    id = models.CharField(max_length=32, primary_key=True)
    customer_id = models.CharField("customer", max_length=ENTITY_ID_LENGTH)
    resource_id = models.CharField("resource", max_length=ENTITY_ID_LENGTH, null=True, blank=True)  # noqa: DJ001 - None is no resource
    feature_id = models.CharField("feature", max_length=FEATURE_ID_LENGTH, blank=True)
    currency_id = models.CharField("currency", max_length=FEATURE_ID_LENGTH, null=True, blank=True)  # noqa: DJ001 - the same
    has_access = models.BooleanField("grants access")
    usage_limit = models.FloatField(null=True, blank=True, validators=[validate_finite])
    value = models.IntegerField(null=True, blank=True)
    enum_values = JsonOfAnybody(null=True, blank=True, validators=[validate_texts])
    reason = models.CharField(max_length=MAX_REASON_LENGTH)
    author = models.CharField(max_length=FEATURE_ID_LENGTH)
    begins_ms = models.BigIntegerField()
    ends_ms = models.BigIntegerField(db_index=True)
    ended_ms = models.BigIntegerField(null=True, blank=True)
    ended_by = models.CharField(max_length=FEATURE_ID_LENGTH, blank=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        default_permissions: ClassVar = ("view",)
        permissions: ClassVar = [("break_glass", "Can grant and deny by an override")]
        verbose_name = "override"

    def __str__(self) -> str:
        return self.id

    @classmethod
    def of(cls, override: Override) -> "EntitlementOverride":
        """The row of an override, not yet written."""
        terms = override.enum_values
        return cls(
            id=override.id,
            **cls.columns_of_target(override),
            has_access=override.has_access,
            usage_limit=override.usage_limit,
            value=override.value,
            enum_values=None if terms is None else list(terms),
            reason=override.reason,
            author=override.author,
            begins_ms=override.begins_ms,
            ends_ms=override.ends_ms,
            ended_ms=override.ended_ms,
            ended_by=override.ended_by,
        )

    @staticmethod
    def columns_of_target(override: Override) -> dict[str, Any]:
        """The fields that say whom and what it is about."""
        return {
            "customer_id": override.key.customer_id,
            "resource_id": override.key.resource_id,
            "feature_id": override.feature_id,
            "currency_id": override.currency_id,
        }

    @property
    def terms(self) -> str:
        """What bounds it besides its time, in one line."""
        bounds = {"up to": self.usage_limit, "value": self.value, "values": self.enum_values}
        return ", ".join(
            f"{name} {', '.join(map(str, each)) if isinstance(each, list) else f'{each:,g}'}"
            for name, each in bounds.items()
            if each is not None
        )

    @classmethod
    def fault_of_lengths(cls, override: Override) -> str | None:
        """What does not fit into a row, in a sentence that names the field; None: all of it does."""
        for name, text in cls.columns_of_target(override).items():
            length = ENTITY_ID_LENGTH if name in {"customer_id", "resource_id"} else FEATURE_ID_LENGTH
            if text is not None and (len(text) > length or "\x00" in text):
                return f"{name} must be no longer than {length} characters, without NUL"
        return None

    def as_override(self) -> Override:
        """The override that it holds.

        Raises:
            ValidationError: a field holds what nothing of ours would have written.
        """
        self.clean_fields()
        return Override(
            id=self.id,
            key=EntityKey(self.customer_id, self.resource_id),
            feature_id=self.feature_id,
            currency_id=self.currency_id,
            has_access=self.has_access,
            usage_limit=self.usage_limit,
            value=self.value,
            enum_values=None if self.enum_values is None else tuple(self.enum_values),
            reason=self.reason,
            author=self.author,
            begins_ms=self.begins_ms,
            ends_ms=self.ends_ms,
            ended_ms=self.ended_ms,
            ended_by=self.ended_by,
        )


class AuditEntry(models.Model):
    """One change by a person or a command."""

    at_ms = models.BigIntegerField(db_index=True)
    act = models.CharField(max_length=50)
    subject = models.CharField(max_length=ENTITY_ID_LENGTH)
    who = models.CharField(max_length=FEATURE_ID_LENGTH)
    whence = models.CharField("from", max_length=FEATURE_ID_LENGTH)
    before = JsonOfAnybody(null=True, blank=True)
    after = JsonOfAnybody(null=True, blank=True)
    reason = models.CharField(max_length=MAX_REASON_LENGTH, blank=True)

    class Meta:
        """How people see it, and what they may be allowed."""

        default_permissions: ClassVar = ("view",)
        verbose_name = "change"
        verbose_name_plural = "audit trail"

    def __str__(self) -> str:
        return f"{self.act} {self.subject}"
